"""The stored progress of imports, so that an interrupted import can be resumed.

A run is identified by a keyed digest of the file and of everything that determines the result. The transaction of each
chunk stores a mark; the marks are deleted when the run ends. No value and no file name is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """An import of a file, in progress or finished."""

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
    """The mark of a completed chunk: its counts and faults (line, code and field, never a value)."""

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


class Noted(NamedTuple):
    """How many values of a field were taken or left out for one reason."""

    code: str
    field: str
    values: int


class _Notes(msgspec.Struct, frozen=True):
    """What is stored of the lines of a chunk; a list of the faults alone is the form of earlier versions."""

    faults: list[LineFault]
    notes: list[Noted]


_faults = msgspec.json.Decoder(_Notes | list[LineFault])


@dataclass(frozen=True, slots=True)
class ImportRun:
    """An import of a file. ``resumed``: an earlier attempt began it."""

    id: UUID
    chunk_lines: int
    started_at: datetime
    resumed: bool


class Outcome(NamedTuple):
    """The result of a chunk or of a whole file."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0
    faults: list[LineFault] = []  # noqa: RUF012 - never changed in place
    notes: list[Noted] = []  # noqa: RUF012 - as above

    def __add__(self, other: object) -> Outcome:
        """Add the counts. Faults and notes are reported chunk by chunk, and not collected."""
        if not isinstance(other, Outcome):
            return NotImplemented
        return Outcome(
            self.created + other.created,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.refused + other.refused,
        )


async def begin_run(
    database: Database, tenant: TenantId, fingerprint: bytes, *, chunk_lines: int, now: datetime
) -> ImportRun:
    """Return the unfinished run of this fingerprint, or begin one."""
    async with database.transaction() as connection:
        statement = select(RUN.c.id, RUN.c.chunk_lines, RUN.c.started_at).where(
            RUN.c.tenant_id == tenant, RUN.c.fingerprint == fingerprint, RUN.c.finished_at.is_(None)
        )
        row = (await connection.execute(statement.order_by(RUN.c.id).limit(1))).one_or_none()
        if row is not None:
            return ImportRun(row.id, row.chunk_lines, row.started_at, resumed=True)
        run = ImportRun(new_id(), chunk_lines, now, resumed=False)
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


async def outcomes(
    connection: AsyncConnection, tenant: TenantId, run: UUID, number: int | None = None
) -> dict[int, Outcome]:
    """Return the outcomes of the completed chunks of a run, of all or of one."""
    columns = (CHUNK.c.number, CHUNK.c.created, CHUNK.c.updated, CHUNK.c.unchanged, CHUNK.c.refused, CHUNK.c.faults)
    statement = select(*columns).where(CHUNK.c.tenant_id == tenant, CHUNK.c.run_id == run)
    rows = await connection.execute(statement if number is None else statement.where(CHUNK.c.number == number))
    return {row[0]: Outcome(row[1], row[2], row[3], row[4], *_read_notes(row[5])) for row in rows}


def _read_notes(stored: bytes) -> tuple[list[LineFault], list[Noted]]:
    decoded = _faults.decode(stored)
    return (decoded.faults, decoded.notes) if isinstance(decoded, _Notes) else (decoded, [])


async def mark_done(connection: AsyncConnection, tenant: TenantId, run: UUID, number: int, outcome: Outcome) -> None:
    """Mark a chunk as completed, in its transaction."""
    values = {**outcome._asdict(), "faults": msgspec.json.encode(_Notes(outcome.faults, outcome.notes))}
    del values["notes"]
    await connection.execute(insert(CHUNK).values(tenant_id=tenant, run_id=run, number=number, **values))


async def find_outcome(database: Database, tenant: TenantId, run: UUID, number: int) -> Outcome | None:
    """Return the outcome of a chunk, if an earlier attempt or another process has completed it."""
    async with database.reading() as connection:
        return (await outcomes(connection, tenant, run, number)).get(number)


async def finish_run(database: Database, tenant: TenantId, run: UUID, total: Outcome, *, now: datetime) -> None:
    """Finish a run: store its counts and delete the marks of its chunks."""
    counts = {name: count for name, count in total._asdict().items() if name not in {"faults", "notes"}}
    async with database.transaction() as connection:
        await connection.execute(
            update(RUN).where(RUN.c.tenant_id == tenant, RUN.c.id == run).values(finished_at=now, **counts)
        )
        await connection.execute(delete(CHUNK).where(CHUNK.c.tenant_id == tenant, CHUNK.c.run_id == run))
