"""What is remembered of imports, so that one that died is taken up where it stopped.

A run is known by a keyed digest of the file and of all that decides what becomes of it. Each chunk leaves its mark in
the transaction that writes it; the marks go when the run ends. No value, and no name of a file, is kept.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID  # noqa: TC003 - as above

import msgspec
from sqlalchemy import BigInteger, Integer, LargeBinary, String, delete, insert, select, update

from vault.ids import new_id
from vault.imports.lines import LineFault
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import TenantId
    from vault.storage.database import Database


class ImportRunRow(DataTable, table=True):
    """One import of one file, under way or ended."""

    __tablename__ = "import_run"

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    fingerprint: bytes = column(LargeBinary(32))
    chunk_lines: int = column(Integer)
    started_at: datetime = column(Moment)
    finished_at: datetime | None = column(Moment, nullable=True)
    created: int = column(BigInteger)
    updated: int = column(BigInteger)
    unchanged: int = column(BigInteger)
    refused: int = column(BigInteger)


class ImportChunkRow(DataTable, table=True):
    """One chunk that is done: its counts, and what was wrong with which lines (line, code, field: never a value)."""

    __tablename__ = "import_chunk"

    tenant_id: str = column(String(64), primary_key=True)
    run_id: UUID = column(Id, primary_key=True)
    number: int = column(Integer, primary_key=True, autoincrement=False)
    created: int = column(Integer)
    updated: int = column(Integer)
    unchanged: int = column(Integer)
    refused: int = column(Integer)
    faults: bytes = column(LargeBinary)


RUN = table_of(ImportRunRow)
CHUNK = table_of(ImportChunkRow)

_faults = msgspec.json.Decoder(list[LineFault])


class Run(NamedTuple):
    """One import: its id, how many lines its chunks have, when it began, and whether it did so earlier."""

    id: UUID
    chunk_lines: int
    started_at: datetime
    resumed: bool


class Outcome(NamedTuple):
    """What became of a chunk, or of a whole file."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0
    faults: list[LineFault] = []  # noqa: RUF012 - never changed in place

    def __add__(self, other: object) -> Outcome:
        """Add counts; the faults are told chunk by chunk and not gathered."""
        if not isinstance(other, Outcome):
            return NotImplemented
        return Outcome(
            self.created + other.created,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.refused + other.refused,
        )


async def begin(database: Database, tenant: TenantId, fingerprint: bytes, *, chunk_lines: int, now: datetime) -> Run:
    """Take up the run of this fingerprint that has not ended, or begin one."""
    async with database.transaction() as connection:
        statement = select(RUN.c.id, RUN.c.chunk_lines, RUN.c.started_at).where(
            RUN.c.tenant_id == tenant, RUN.c.fingerprint == fingerprint, RUN.c.finished_at.is_(None)
        )
        found = (await connection.execute(statement.order_by(RUN.c.id).limit(1))).one_or_none()
        if found is not None:
            return Run(found.id, found.chunk_lines, found.started_at, resumed=True)
        run = Run(new_id(), chunk_lines, now, resumed=False)
        await connection.execute(
            insert(RUN).values(
                tenant_id=tenant,
                id=run.id,
                fingerprint=fingerprint,
                chunk_lines=chunk_lines,
                started_at=now,
                finished_at=None,
                created=0,
                updated=0,
                unchanged=0,
                refused=0,
            )
        )
        return run


async def done(
    connection: AsyncConnection, tenant: TenantId, run: UUID, number: int | None = None
) -> dict[int, Outcome]:
    """Fetch the chunks of a run that are done, all or one."""
    columns = (CHUNK.c.number, CHUNK.c.created, CHUNK.c.updated, CHUNK.c.unchanged, CHUNK.c.refused, CHUNK.c.faults)
    statement = select(*columns).where(CHUNK.c.tenant_id == tenant, CHUNK.c.run_id == run)
    rows = await connection.execute(statement if number is None else statement.where(CHUNK.c.number == number))
    return {row[0]: Outcome(row[1], row[2], row[3], row[4], _faults.decode(row[5])) for row in rows}


async def mark(connection: AsyncConnection, tenant: TenantId, run: UUID, number: int, outcome: Outcome) -> None:
    """Note, in the transaction of a chunk, that it is done."""
    values = {**outcome._asdict(), "faults": msgspec.json.encode(outcome.faults)}
    await connection.execute(insert(CHUNK).values(tenant_id=tenant, run_id=run, number=number, **values))


async def is_done(database: Database, tenant: TenantId, run: UUID, number: int) -> Outcome | None:
    """Find out whether somebody else, taking up the same run, did a chunk meanwhile."""
    async with database.reading() as connection:
        return (await done(connection, tenant, run, number)).get(number)


async def finish(database: Database, tenant: TenantId, run: UUID, total: Outcome, *, now: datetime) -> None:
    """End a run: keep its counts and forget its chunks."""
    counts = {name: count for name, count in total._asdict().items() if name != "faults"}
    async with database.transaction() as connection:
        await connection.execute(
            update(RUN).where(RUN.c.tenant_id == tenant, RUN.c.id == run).values(finished_at=now, **counts)
        )
        await connection.execute(delete(CHUNK).where(CHUNK.c.tenant_id == tenant, CHUNK.c.run_id == run))
