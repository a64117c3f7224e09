"""Packages: their tables and rows, and the ZIP in chunks that are sealed under the subject's data key.

The associated data of a chunk names the subject and the package; its field names its number and whether it is the last.
A chunk that is cut off, moved or taken from another package therefore does not open.

As personal data, packages hold copies of values, so every erasure deletes them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import Index, Integer, LargeBinary, String, and_, delete, insert, select, update

from vault.crypto.seal import record_aad
from vault.lifecycle.personal_data import count_rows
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence

    from sqlalchemy import ColumnElement, Row, Table, Update
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import ErasureContext, ExportContext, MergeContext, Sections


class PackageRow(DataTable, table=True):
    """A package for a subject. Its content is stored in ``package_chunk``."""

    __tablename__ = "package"
    __table_args__ = (
        Index("ix_package_subject", "tenant_id", "subject_id"),
        Index("ix_package_request", "tenant_id", "request_id"),
        Index("ix_package_expires", "tenant_id", "state", "expires_at"),
    )

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    request_id: UUID = column(Id)
    subject_id: UUID = column(Id)
    state: str = column(String(16))
    created_at: datetime = column(Moment)
    expires_at: datetime = column(Moment)
    size: int = column(Integer)
    chunks: int = column(Integer)
    digest: bytes | None = column(LargeBinary(32), nullable=True)
    body: bytes = column(LargeBinary)


class PackageChunkRow(DataTable, table=True):
    """A chunk of a package, sealed under the subject's data key."""

    __tablename__ = "package_chunk"

    tenant_id: str = column(String(64), primary_key=True)
    package_id: UUID = column(Id, primary_key=True)
    number: int = column(Integer, primary_key=True, autoincrement=False)
    body: bytes = column(LargeBinary)


PACKAGE = table_of(PackageRow)
PACKAGE_CHUNK = table_of(PackageChunkRow)


PackageState = Literal["building", "ready", "expired"]
AT_ONCE: Final = 200
"""Packages that one transaction expires, or one query lists."""


class PackageFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is stored about a package in addition to its columns. Contains no value and no name of a person.

    Attributes:
        kind: of the request that it answers.
        run: of that request; a package answers one run.
        entries: the number of files in it.
        audit: the audit entry of its creation; the manifest names it.
        announced_at: when the subject was notified.
        fields: whole names of the fields that it shows, with their views, such as ``profile.email.clear``.
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
        chunks: the number of sealed chunks, including the last one.
        digest: SHA-256 of the ZIP; None until it is ready.
    """

    id: UUID
    request: UUID
    subject: UUID
    state: PackageState
    created_at: datetime
    expires_at: datetime
    size: int
    chunks: int
    digest: bytes | None
    facts: PackageFacts


_RENAMED: Final = {"request": "request_id", "subject": "subject_id", "facts": "body"}
"""Attributes whose columns have another name."""
_encode = msgspec.json.Encoder(order="sorted").encode
_facts = msgspec.json.Decoder(PackageFacts)


async def drop_packages(connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]) -> int:
    """Delete all packages of subjects, including unfinished ones; returns how many."""
    return await _delete_locked(connection, tenant, PACKAGE.c.subject_id.in_(subjects))


async def drop_unfinished(connection: AsyncConnection, tenant: TenantId, request: UUID) -> None:
    """Delete the unfinished packages of earlier attempts to answer a request; such an attempt may still be running."""
    unfinished = and_(PACKAGE.c.request_id == request, PACKAGE.c.state == "building")
    await _delete_locked(connection, tenant, unfinished)


async def drop_package(connection: AsyncConnection, tenant: TenantId, package: UUID) -> None:
    """Delete one package, if it exists."""
    await _delete_locked(connection, tenant, PACKAGE.c.id == package)


async def add_package(connection: AsyncConnection, tenant: TenantId, package: Package) -> None:
    """Insert the row of a new package, without chunks."""
    columns = {_RENAMED.get(name, name): value for name, value in msgspec.structs.asdict(package).items()}
    row = {**columns, "tenant_id": tenant, "body": _encode(package.facts)}
    await connection.execute(insert(PACKAGE), [row])


async def add_chunk(connection: AsyncConnection, tenant: TenantId, package: UUID, number: int, sealed: bytes) -> bool:
    """Add a sealed chunk to an unfinished package; returns False if the package was deleted."""
    result = await connection.execute(_update_unfinished(tenant, package).values(chunks=number + 1))
    if not result.rowcount:
        return False
    row = {"tenant_id": tenant, "package_id": package, "number": number, "body": sealed}
    await connection.execute(insert(PACKAGE_CHUNK), [row])
    return True


async def finish_package(connection: AsyncConnection, tenant: TenantId, package: Package) -> bool:
    """Mark a package as ready, with its size, digest and facts; returns False if it was deleted."""
    statement = _update_unfinished(tenant, package.id).values(
        state="ready", size=package.size, digest=package.digest, body=_encode(package.facts)
    )
    return bool((await connection.execute(statement)).rowcount)


async def set_facts(connection: AsyncConnection, tenant: TenantId, package: UUID, facts: PackageFacts) -> None:
    """Replace the facts of a package."""
    await connection.execute(
        update(PACKAGE).where(PACKAGE.c.tenant_id == tenant, PACKAGE.c.id == package).values(body=_encode(facts))
    )


async def find_package(connection: AsyncConnection, tenant: TenantId, package: UUID) -> Package | None:
    """Fetch a package; None if it does not exist."""
    statement = select(PACKAGE).where(PACKAGE.c.tenant_id == tenant, PACKAGE.c.id == package)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _package(row)


async def find_chunk(connection: AsyncConnection, tenant: TenantId, package: UUID, number: int) -> bytes | None:
    """Fetch one sealed chunk of a package; None if it was deleted."""
    statement = select(PACKAGE_CHUNK.c.body).where(
        PACKAGE_CHUNK.c.tenant_id == tenant, PACKAGE_CHUNK.c.package_id == package, PACKAGE_CHUNK.c.number == number
    )
    sealed: bytes | None = (await connection.execute(statement)).scalar_one_or_none()
    return sealed


async def list_packages(
    connection: AsyncConnection, tenant: TenantId, *, after: UUID | None = None, limit: int = AT_ONCE
) -> list[Package]:
    """List packages, oldest first."""
    statement = select(PACKAGE).where(PACKAGE.c.tenant_id == tenant).order_by(PACKAGE.c.id).limit(limit)
    if after is not None:
        statement = statement.where(PACKAGE.c.id > after)
    return [_package(row) for row in (await connection.execute(statement)).all()]


async def expire_batch(connection: AsyncConnection, tenant: TenantId, now: datetime) -> int:
    """Delete the chunks of up to :data:`AT_ONCE` expired packages and mark these as expired; returns how many."""
    expired = select(PACKAGE.c.id).where(
        PACKAGE.c.tenant_id == tenant, PACKAGE.c.state.in_(("ready", "building")), PACKAGE.c.expires_at <= now
    )
    ids = list((await connection.execute(expired.order_by(PACKAGE.c.id).limit(AT_ONCE).with_for_update())).scalars())
    await connection.execute(delete(PACKAGE_CHUNK).where(_chunks_of(tenant, ids)))
    packages = update(PACKAGE).where(PACKAGE.c.tenant_id == tenant, PACKAGE.c.id.in_(ids))
    await connection.execute(packages.values(state="expired", chunks=0))
    return len(ids)


async def _delete_locked(connection: AsyncConnection, tenant: TenantId, condition: ColumnElement[bool]) -> int:
    # The rows are locked before their chunks are deleted: a writer of a chunk updates the row first, so no chunk
    # can be added in between and stay behind.
    packages = select(PACKAGE.c.id).where(PACKAGE.c.tenant_id == tenant, condition).order_by(PACKAGE.c.id)
    ids = list((await connection.execute(packages.with_for_update())).scalars())
    for start in range(0, len(ids), AT_ONCE):
        batch = ids[start : start + AT_ONCE]
        await connection.execute(delete(PACKAGE_CHUNK).where(_chunks_of(tenant, batch)))
        await connection.execute(delete(PACKAGE).where(PACKAGE.c.tenant_id == tenant, PACKAGE.c.id.in_(batch)))
    return len(ids)


def _update_unfinished(tenant: TenantId, package: UUID) -> Update:
    return update(PACKAGE).where(PACKAGE.c.tenant_id == tenant, PACKAGE.c.id == package, PACKAGE.c.state == "building")


def _chunks_of(tenant: TenantId, packages: Sequence[UUID]) -> ColumnElement[bool]:
    return and_(PACKAGE_CHUNK.c.tenant_id == tenant, PACKAGE_CHUNK.c.package_id.in_(packages))


def _package(row: Row[Any]) -> Package:
    values = {name: getattr(row, _RENAMED.get(name, name)) for name in Package.__struct_fields__}
    return Package(**{**values, "facts": _facts.decode(row.body)})


async def expire_packages(services: Services, tenant: TenantId | None = None) -> int:
    """Delete the chunks of all expired packages, in batches. An expired package is not handed out even before this.

    Args:
        tenant: None: all tenants.

    Returns:
        the number of packages.

    Raises:
        Unavailable: the database does not answer; the batches before stay deleted.
    """
    total = 0
    for owner in await services.keyring.tenants() if tenant is None else [tenant]:
        while True:
            async with services.data.transaction() as connection:
                expired = await expire_batch(connection, owner, services.clock.now())
            total += expired
            if expired < AT_ONCE:
                break
    return total


CHUNK_BYTES: Final = 256 * 1024
"""Bytes of a chunk. A build or a download holds a few chunks in memory."""
COLLECTION: Final = "package"
_END: Final = b"\x01"
"""Appended to each plaintext, because a plaintext that ends in white space cannot be sealed."""


def package_aad(tenant: TenantId, subject: UUID, package: UUID) -> bytes:
    """Return the associated data with which the chunks of a package are sealed."""
    return record_aad(tenant, subject, COLLECTION, package)


def seal_chunk(keys: SubjectKeys, aad: bytes, number: int, data: bytes, *, last: bool) -> bytes:
    """Seal a chunk."""
    return keys.seal(_field(number, last=last), data + _END, aad)


def open_chunk(keys: SubjectKeys, aad: bytes, number: int, sealed: bytes, *, last: bool) -> bytes:
    """Open a chunk.

    Raises:
        CannotOpen: it is not this chunk of this package, or was tampered with.
    """
    return keys.open(_field(number, last=last), sealed, aad)[: -len(_END)]


async def split_chunks(stream: AsyncIterable[bytes], size: int = CHUNK_BYTES) -> AsyncIterator[tuple[bytes, bool]]:
    """Split a stream into chunks of one size; yields each with whether it is the last, which may be shorter."""
    buffer = bytearray()
    async for piece in stream:
        buffer += piece
        while len(buffer) > size:
            yield bytes(buffer[:size]), False
            del buffer[:size]
    yield bytes(buffer), True


def _field(number: int, *, last: bool) -> str:
    return f"{'last' if last else 'chunk'}:{number}"


class ExportData:
    """Packages for access requests, finished or not."""

    tables: tuple[Table, ...] = (PACKAGE, PACKAGE_CHUNK)
    retained: tuple[Table, ...] = ()

    async def erase(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete them."""
        await drop_packages(erasing.connection, erasing.tenant, subjects)

    async def reseal(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete them too: each holds all values as they were."""
        await drop_packages(erasing.connection, erasing.tenant, subjects)

    async def move(self, merge: MergeContext) -> None:
        """Delete the duplicate's; the request can be reopened."""
        await drop_packages(merge.connection, merge.tenant, [merge.duplicate])

    async def export(self, package: ExportContext) -> Sections:  # noqa: ARG002 - the protocol's
        """Return nothing: packages are copies."""
        return {}

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count packages."""
        return await count_rows(connection, tenant, erasure, PACKAGE, older="created_at")
