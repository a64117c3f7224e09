"""Cut a package into pieces and seal each under the person's data key; open them again in the same order.

The associated data of a piece names the person, the package, its number, and whether it is the last: a piece that was
cut off, put elsewhere in the row, or taken from another package does not open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vault.crypto.seal import place

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator
    from uuid import UUID

    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId

CHUNK: Final = 256 * 1024
"""Bytes of a piece: so much of a package lies in memory, a few times."""
COLLECTION: Final = "package"
_END: Final = b"\x01"
"""Ends each plaintext, for what ends in white space cannot be sealed."""


def package_place(tenant: TenantId, subject: UUID, package: UUID) -> bytes:
    """Say where the pieces of a package belong, for sealing."""
    return place(tenant, subject, COLLECTION, package)


def seal_chunk(keys: SubjectKeys, where: bytes, number: int, data: bytes, *, last: bool) -> bytes:
    """Seal a piece."""
    return keys.seal(_field(number, last=last), data + _END, where)


def open_chunk(keys: SubjectKeys, where: bytes, number: int, sealed: bytes, *, last: bool) -> bytes:
    """Open a piece.

    Raises:
        CannotOpen: it is not this piece of this package, or was tampered with.
    """
    return keys.open(_field(number, last=last), sealed, where)[: -len(_END)]


async def cut(pieces: AsyncIterable[bytes], size: int = CHUNK) -> AsyncIterator[tuple[bytes, bool]]:
    """Cut a stream into pieces of one size; tells of each whether it is the last, which may be shorter."""
    waiting = bytearray()
    async for piece in pieces:
        waiting += piece
        while len(waiting) > size:
            yield bytes(waiting[:size]), False
            del waiting[:size]
    yield bytes(waiting), True


def _field(number: int, *, last: bool) -> str:
    return f"{'last' if last else 'chunk'}:{number}"
