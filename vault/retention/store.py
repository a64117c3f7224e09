"""The clocks of people in the main database: read, moved on, joined."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from vault.retention.clocks import PAIRS, Clocks
from vault.retention.tables import SUBJECT_CLOCK
from vault.storage.query import Query, any_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import SubjectId, TenantId
    from vault.retention.clocks import Event
    from vault.storage.database import Database

RECORD: Final = "record:"
EVENT: Final = "event:"
Name = TypeVar("Name", bound=str)
NO_CLOCKS: Final = Clocks()
_CLOCKS = Query(
    select(SUBJECT_CLOCK.c.subject_id, SUBJECT_CLOCK.c.kind, SUBJECT_CLOCK.c.at).where(
        SUBJECT_CLOCK.c.tenant_id == bindparam("tenant"), any_of(SUBJECT_CLOCK.c.subject_id, "subjects")
    )
)


async def clocks_of(database: Database, tenant: TenantId, subjects: Sequence[SubjectId]) -> dict[SubjectId, Clocks]:
    """Fetch people's clocks by one query; who has none is left out (:data:`NO_CLOCKS`)."""
    return _read(await database.fetch(_CLOCKS, tenant=tenant, subjects=list(subjects)))


async def clocks_in(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, Clocks]:
    """Fetch people's clocks within a transaction."""
    table = SUBJECT_CLOCK
    statement = select(table.c.subject_id, table.c.kind, table.c.at)
    rows = await connection.execute(statement.where(table.c.tenant_id == tenant, table.c.subject_id.in_(subjects)))
    return _read([tuple(row) for row in rows.all()])


async def move_clocks(
    connection: AsyncConnection, tenant: TenantId, moments: Mapping[tuple[SubjectId, str], datetime]
) -> None:
    """Move clocks on, by person and kind (``record:purchase``, ``event:contract-ended``); none ever goes back."""
    if not moments:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    rows = [
        {"tenant_id": tenant, "subject_id": subject, "kind": kind, "at": at}
        for (subject, kind), at in sorted(moments.items(), key=lambda each: (each[0][0].bytes, each[0][1]))
    ]  # in order, so that two writers cannot wait in a ring
    statement = dialect.insert(SUBJECT_CLOCK)
    newer = statement.excluded.at > SUBJECT_CLOCK.c.at
    keys = ["tenant_id", "subject_id", "kind"]
    statement = statement.on_conflict_do_update(index_elements=keys, set_={"at": statement.excluded.at}, where=newer)
    await connection.execute(statement, rows)  # one prepared statement, and on PostgreSQL one way there and back


async def clear_clocks(
    connection: AsyncConnection, tenant: TenantId, subjects: Iterable[SubjectId], *, but: Iterable[str] = ()
) -> None:
    """Delete people's clocks, but for some kinds."""
    table = SUBJECT_CLOCK
    await connection.execute(
        delete(table).where(
            table.c.tenant_id == tenant, table.c.subject_id.in_(list(subjects)), table.c.kind.not_in(list(but))
        )
    )


async def turn_back(connection: AsyncConnection, tenant: TenantId, subject: SubjectId, event: Event, day: int) -> None:
    """Set the clock of an event to an earlier day: where what had ended goes on. The person's row is locked."""
    table = SUBJECT_CLOCK
    statement = update(table).where(
        table.c.tenant_id == tenant, table.c.subject_id == subject, table.c.kind == EVENT + event
    )
    await connection.execute(statement.values(at=at_day(day)))


async def join_clocks(connection: AsyncConnection, tenant: TenantId, *, of: SubjectId, to: SubjectId) -> None:
    """Move a merged person's clocks to the one who stays; both people's rows are locked.

    Of each kind the newer counts, but that a contract or a claim of one of the two that runs is not ended by the end
    of another one, of the other's.
    """
    found = await clocks_in(connection, tenant, [of, to])
    joined = _joined(found.get(to, NO_CLOCKS), found.get(of, NO_CLOCKS))
    await clear_clocks(connection, tenant, [of, to])
    kinds = {RECORD + name: day for name, day in joined.newest.items()}
    kinds |= {EVENT + name: day for name, day in joined.events.items()}
    await move_clocks(connection, tenant, {(to, kind): at_day(day) for kind, day in kinds.items()})


def at_day(day: int) -> datetime:
    """Return the moment that stands for a day."""
    return datetime.combine(date.fromordinal(day), time(), UTC)


def _joined(mine: Clocks, theirs: Clocks) -> Clocks:
    newest = _newer(mine.newest, theirs.newest)
    events = _newer(mine.events, theirs.events)
    for began, ended in PAIRS:
        running = [each for each in (mine, theirs) if each.running(began, ended)]
        if running:
            events.pop(ended, None)
            days = [each.events[ended] for each in running if ended in each.events]
            if days:
                events[ended] = max(days)
    return Clocks(newest, events)


def _newer(mine: Mapping[Name, int], theirs: Mapping[Name, int]) -> dict[Name, int]:
    return {name: max(mine.get(name, 0), theirs.get(name, 0)) for name in (*mine, *theirs)}


def _read(rows: Iterable[tuple[object, ...]]) -> dict[SubjectId, Clocks]:
    newest: defaultdict[SubjectId, dict[str, int]] = defaultdict(dict)
    events: defaultdict[SubjectId, dict[Event, int]] = defaultdict(dict)
    for subject, kind, at in rows:
        if not isinstance(at, datetime):
            raise TypeError("a clock has a moment")
        day, name = at.date().toordinal(), str(kind)
        if name.startswith(RECORD):
            newest[subject][name.removeprefix(RECORD)] = day  # type: ignore[index]
        else:
            events[subject][name.removeprefix(EVENT)] = day  # type: ignore[index]
    return {subject: Clocks(newest[subject], events[subject]) for subject in {*newest, *events}}
