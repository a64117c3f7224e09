"""Find packages and write them: rows in, rows out. The bytes of a package are sealed before they come here.

Delete packages whose time has run out: what lies around can be lost.

Cut a package into pieces and seal each under the person's data key; open them again in the same order.

The associated data of a piece names the person, the package, its number, and whether it is the last: a piece that was
cut off, put elsewhere in the row, or taken from another package does not open.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import delete, insert, select, update

from vault.crypto.seal import record_aad
from vault.export.tables import PACKAGE, PACKAGE_CHUNK

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId


State = Literal["building", "ready", "expired"]
AT_ONCE: Final = 200
"""Packages that one transaction expires, or one query lists."""


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of a package beside its columns: no value, and nobody's name.

    Attributes:
        kind: of the request that it answers.
        run: of that request; a package answers one run.
        entries: how many files lie in it.
        audit: the audit entry of its making, named in its manifest.
        announced_at: when the person was told that it is there.
        fields: whole names of what it shows, with the views, such as ``profile.email.clear``.
    """

    kind: str
    run: int
    entries: int = 0
    audit: UUID | None = None
    announced_at: datetime | None = None
    fields: tuple[str, ...] = ()


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A package.

    Attributes:
        size: bytes of the ZIP.
        chunks: into how many sealed pieces it is cut, the last one included.
        digest: SHA-256 of the ZIP; none until it is ready.
    """

    id: UUID
    request: UUID
    subject: UUID
    state: State
    created_at: datetime
    expires_at: datetime
    size: int
    chunks: int
    digest: bytes | None
    facts: Facts


_encode = msgspec.json.Encoder(order="sorted").encode
_facts = msgspec.json.Decoder(Facts)


async def drop_packages(connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]) -> int:
    """Delete all packages of subjects, unfinished ones too; returns how many.

    The rows are locked first: adding a chunk to a package locks its row, so that no chunk is left behind.
    """
    theirs = select(PACKAGE.c.id).where(PACKAGE.c.tenant_id == tenant, PACKAGE.c.subject_id.in_(subjects))
    ids = list((await connection.execute(theirs.order_by(PACKAGE.c.id).with_for_update())).scalars())
    await _delete(connection, tenant, ids)
    return len(ids)


async def drop_unfinished(connection: AsyncConnection, tenant: TenantId, request: UUID) -> None:
    """Delete what an earlier try at a request's package left behind: it was killed, or is about to be outrun."""
    begun = select(PACKAGE.c.id).where(
        PACKAGE.c.tenant_id == tenant, PACKAGE.c.request_id == request, PACKAGE.c.state == "building"
    )
    ids = list((await connection.execute(begun.order_by(PACKAGE.c.id).with_for_update())).scalars())
    await _delete(connection, tenant, ids)


async def drop_package(connection: AsyncConnection, tenant: TenantId, package: UUID) -> None:
    """Delete one package, if it is there."""
    one = select(PACKAGE.c.id).where(PACKAGE.c.tenant_id == tenant, PACKAGE.c.id == package).with_for_update()
    await _delete(connection, tenant, list((await connection.execute(one)).scalars()))


async def add_package(connection: AsyncConnection, tenant: TenantId, package: Package) -> None:
    """Insert a package that is about to be filled."""
    row = {
        "tenant_id": tenant,
        "id": package.id,
        "request_id": package.request,
        "subject_id": package.subject,
        "state": package.state,
        "created_at": package.created_at,
        "expires_at": package.expires_at,
        "size": package.size,
        "chunks": package.chunks,
        "digest": package.digest,
        "body": _encode(package.facts),
    }
    await connection.execute(insert(PACKAGE), [row])


async def add_chunk(connection: AsyncConnection, tenant: TenantId, package: UUID, number: int, sealed: bytes) -> bool:
    """Add a sealed piece to a package under way; tells whether the package is still there to take it."""
    held = await connection.execute(_under_way(tenant, package).values(chunks=number + 1))
    if not held.rowcount:
        return False
    row = {"tenant_id": tenant, "package_id": package, "number": number, "body": sealed}
    await connection.execute(insert(PACKAGE_CHUNK), [row])
    return True


async def finish_package(connection: AsyncConnection, tenant: TenantId, whole: Package) -> bool:
    """Say that a package is whole: its size, digest and facts; tells whether it is still there."""
    said = {"state": "ready", "size": whole.size, "digest": whole.digest, "body": _encode(whole.facts)}
    done = await connection.execute(_under_way(tenant, whole.id).values(**said))
    return bool(done.rowcount)


async def set_facts(connection: AsyncConnection, tenant: TenantId, package: UUID, facts: Facts) -> None:
    """Write what is said of a package anew."""
    await connection.execute(
        update(PACKAGE).where(PACKAGE.c.tenant_id == tenant, PACKAGE.c.id == package).values(body=_encode(facts))
    )


async def find_package(connection: AsyncConnection, tenant: TenantId, package: UUID) -> Package | None:
    """Fetch a package; none where there is none."""
    statement = select(PACKAGE).where(PACKAGE.c.tenant_id == tenant, PACKAGE.c.id == package)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _package(row)


async def find_chunk(connection: AsyncConnection, tenant: TenantId, package: UUID, number: int) -> bytes | None:
    """Fetch one sealed piece of a package; none where it is gone."""
    statement = select(PACKAGE_CHUNK.c.body).where(
        PACKAGE_CHUNK.c.tenant_id == tenant, PACKAGE_CHUNK.c.package_id == package, PACKAGE_CHUNK.c.number == number
    )
    found: bytes | None = (await connection.execute(statement)).scalar_one_or_none()
    return found


async def list_packages(
    connection: AsyncConnection, tenant: TenantId, *, after: UUID | None = None, limit: int = AT_ONCE
) -> list[Package]:
    """List packages, oldest first."""
    statement = select(PACKAGE).where(PACKAGE.c.tenant_id == tenant).order_by(PACKAGE.c.id).limit(limit)
    if after is not None:
        statement = statement.where(PACKAGE.c.id > after)
    return [_package(row) for row in (await connection.execute(statement)).all()]


async def expire_some(connection: AsyncConnection, tenant: TenantId, now: datetime) -> int:
    """Delete the bytes of some packages whose time has run out; their rows stay and say so. Returns how many."""
    over = select(PACKAGE.c.id).where(
        PACKAGE.c.tenant_id == tenant, PACKAGE.c.state.in_(("ready", "building")), PACKAGE.c.expires_at <= now
    )
    ids = list((await connection.execute(over.order_by(PACKAGE.c.id).limit(AT_ONCE).with_for_update())).scalars())
    for some in _parts(ids):
        await connection.execute(delete(PACKAGE_CHUNK).where(_chunks_of(tenant, some)))
        gone = update(PACKAGE).where(PACKAGE.c.tenant_id == tenant, PACKAGE.c.id.in_(some))
        await connection.execute(gone.values(state="expired", chunks=0))
    return len(ids)


async def _delete(connection: AsyncConnection, tenant: TenantId, ids: list[UUID]) -> None:
    for some in _parts(ids):
        await connection.execute(delete(PACKAGE_CHUNK).where(_chunks_of(tenant, some)))
        await connection.execute(delete(PACKAGE).where(PACKAGE.c.tenant_id == tenant, PACKAGE.c.id.in_(some)))


def _under_way(tenant: TenantId, package: UUID) -> Any:
    return update(PACKAGE).where(PACKAGE.c.tenant_id == tenant, PACKAGE.c.id == package, PACKAGE.c.state == "building")


def _chunks_of(tenant: TenantId, packages: list[UUID]) -> Any:
    return (PACKAGE_CHUNK.c.tenant_id == tenant) & PACKAGE_CHUNK.c.package_id.in_(packages)


def _parts(ids: list[UUID]) -> list[list[UUID]]:
    return [ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE)]


def _package(row: Any) -> Package:
    return Package(
        id=row.id,
        request=row.request_id,
        subject=row.subject_id,
        state=row.state,
        created_at=row.created_at,
        expires_at=row.expires_at,
        size=row.size,
        chunks=row.chunks,
        digest=row.digest,
        facts=_facts.decode(row.body),
    )


async def expire_packages(services: Services, tenant: TenantId | None = None) -> int:
    """Delete the bytes of all packages that are over, some at a time; done twice, it finds none.

    Nobody has to wait for this: a package that is over is handed to nobody, whether or not its bytes are gone.

    Args:
        tenant: only this one's; none: everybody's.

    Returns:
        how many packages.

    Raises:
        Unavailable: the database does not answer; what was deleted stays so.
    """
    gone = 0
    for each in await services.keyring.tenants() if tenant is None else [tenant]:
        while True:
            async with services.data.transaction() as connection:
                some = await expire_some(connection, each, services.clock.now())
            gone += some
            if some < AT_ONCE:
                break
    return gone


CHUNK: Final = 256 * 1024
"""Bytes of a piece: so much of a package lies in memory, a few times."""
COLLECTION: Final = "package"
_END: Final = b"\x01"
"""Ends each plaintext, for what ends in white space cannot be sealed."""


def package_aad(tenant: TenantId, subject: UUID, package: UUID) -> bytes:
    """Say where the pieces of a package belong, for sealing."""
    return record_aad(tenant, subject, COLLECTION, package)


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
