"""Sealing the values of one person, each bound to its place.

On top of the format in :mod:`vault.crypto.primitive`::

    AAD       = lp(tenant) lp(subject, 16 bytes) lp(collection) lp(record, 16 bytes) lp(field)
                lp(data-key version, 2 bytes)
    plaintext = canonical JSON (UTF-8) | as many spaces as make its length a multiple of 16 bytes

Names are UTF-8. JSON never ends in a space of its own here, so the padding comes off without a length; and ``true``
is as long as ``false``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vault.crypto.primitive import FORMAT, FRAMED, PADDING, decrypt, decrypt_all, encrypt, ends, head
from vault.crypto.secret import Secret
from vault.errors import CannotOpen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from vault.ids import RecordId, SubjectId, TenantId

__all__ = ["FORMAT", "SubjectKeys", "place", "version_of"]

STEP: Final = 16
LATEST_VERSION: Final = 0xFFFF
_SPACE: Final = 0x20
_PADDING: Final = tuple(PADDING * count for count in range(STEP))
_SIXTEEN: Final = b"\x00\x10"


def place(tenant: TenantId | str, subject: SubjectId | UUID, collection: str, record: RecordId | UUID) -> bytes:
    """Say where a record's values belong: the first four parts of the associated data. Made once a record.

    Raises:
        ValueError: a name is longer than 65,535 bytes.
    """
    return FRAMED[tenant] + _SIXTEEN + subject.bytes + FRAMED[collection] + _SIXTEEN + record.bytes


def version_of(sealed: bytes) -> int:
    """Return the version of the data key under which a value was sealed."""
    return int.from_bytes(sealed[1:3], "big")


class SubjectKeys(Secret):
    """The data keys of one person, all versions that are still kept, ready to seal and to open.

    Args:
        ciphers: the data keys by version, 1 to 65,535; the highest seals.

    Raises:
        ValueError: no key at all, or a version out of range.
    """

    __slots__ = ("_by_head", "_cipher", "_ends", "_head", "current_version")

    def __init__(self, ciphers: Mapping[int, AESGCM]) -> None:
        if not ciphers or min(ciphers) < 1 or max(ciphers) > LATEST_VERSION:
            raise ValueError("a person has at least one data key, with versions from 1 to 65,535")
        # One look-up in this dict checks the format version and the key version together.
        self._by_head = {head(version): (cipher, ends(version)) for version, cipher in ciphers.items()}
        self.current_version = max(ciphers)
        self._head = head(self.current_version)
        self._cipher, self._ends = self._by_head[self._head]

    def seal(self, field: str, plaintext: bytes, place: bytes) -> bytes:
        """Seal one field's value under the current data key.

        Args:
            field: the field's name within its collection.
            plaintext: canonical JSON.
            place: from :func:`place`.

        Raises:
            ValueError: the plaintext is empty or ends in a space, which opening could not give back.
        """
        if not plaintext or plaintext[-1] == _SPACE:
            raise ValueError("a plaintext is neither empty nor ends in a space")
        padded = plaintext + _PADDING[-len(plaintext) % STEP]
        return encrypt(self._cipher, self._head, padded, place + self._ends[field])

    def open(self, field: str, sealed: bytes, place: bytes) -> bytes:
        """Open one field's value: the very bytes that were sealed.

        Raises:
            CannotOpen: for whatever reason; there is one error for all of them.
        """
        try:
            cipher, after = self._by_head[sealed[:3]]
        except KeyError:
            raise CannotOpen from None
        return decrypt(cipher, sealed, place + after[field]).rstrip(PADDING)

    def open_all(self, fields: Iterable[str], sealed: Mapping[str, bytes], place: bytes) -> list[bytes]:
        """Open several values of one record at once.

        Args:
            fields: which; all of them are in ``sealed``.
            sealed: sealed bytes by field.
            place: from :func:`place`.

        Raises:
            CannotOpen: one of them does not open; then none is given.
        """
        return decrypt_all(self._by_head, place, [(field, sealed[field]) for field in fields])

    def open_each(self, fields: Sequence[str], sealed: Sequence[bytes], place: bytes) -> list[bytes]:
        """Open several values of one record that lie in the order of their fields.

        Raises:
            CannotOpen: one of them does not open; then none is given.
        """
        return decrypt_all(self._by_head, place, zip(fields, sealed, strict=True))
