"""Clocks: the moments from which the retention periods of a subject count.

A subject has a clock for the newest record of each collection, and one for each kind of event (a contract ended, a
claim was closed). A clock never goes back. The rules are pure; below them are the reader, which fetches clocks of
concurrent requests by one query, and the storage. Days are ordinals of the proleptic Gregorian calendar in UTC.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from sqlalchemy import bindparam, delete, select, update

from vault.catalogue.retention import CONTACTS, Relationship, Since
from vault.retention.tables import SUBJECT_CLOCK
from vault.storage.batcher import Batcher
from vault.storage.query import Query, any_of, insert_into

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.retention import Retention
    from vault.ids import SubjectId, TenantId
    from vault.storage.database import Database


Event = Literal[
    "contract-began", "contract-ended", "claim-opened", "claim-closed", "relationship-ended", "relationship-resumed"
]
"""Events of a subject that start or stop a clock."""
RUNNING: Final[dict[Literal["contract", "claim"], tuple[Event, Event]]] = {
    "contract": ("contract-began", "contract-ended"),
    "claim": ("claim-opened", "claim-closed"),
}
"""What runs from one event to another, by its name."""
PAIRS: Final = tuple(RUNNING.values())
ENGAGED: Final[tuple[Event, ...]] = ("contract-ended", "relationship-resumed")
"""Events after which inactivity counts from the start, as after an order or a message."""
OPEN: Final = None
"""The period does not count yet, because the event that it counts from has not happened."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The newest day of each thing from which a period may count.

    Attributes:
        newest: the newest record of each collection. It stays when the record itself is deleted.
        events: the newest event of each kind.
    """

    newest: Mapping[str, int] = field(default_factory=dict)
    events: Mapping[Event, int] = field(default_factory=dict)

    @property
    def last_contact(self) -> int | None:
        """Return the day of the last order or message."""
        return max((day for name, day in self.newest.items() if name in CONTACTS), default=None)

    def at_least(self, newest: Mapping[str, int]) -> Clocks:
        """Return the clocks moved forward to existing records."""
        merged = {name: max(day, self.newest.get(name, day)) for name, day in newest.items()}
        return Clocks({**self.newest, **merged}, self.events)

    def running(self, began: Event, ended: Event) -> bool:
        """Return whether something has begun and not ended since."""
        start = self.events.get(began)
        return start is not None and start > self.events.get(ended, start - 1)


def relationship(clocks: Clocks, retention: Retention, today: int) -> Relationship:
    """Return the relationship of a subject to the company on a day."""
    if _last_bought(clocks, retention) is None:
        return Relationship.PROSPECT
    ended = relationship_ended(clocks, retention)
    return Relationship.CUSTOMER if ended is OPEN or today <= ended else Relationship.FORMER


def relationship_ended(clocks: Clocks, retention: Retention) -> int | None:
    """Return the last day of the relationship, by an event or by inactivity; None if no end is known.

    For a subject who never was a customer it is the day of the last contact; None if there was none. Inactivity does
    not end the relationship while a contract runs.
    """
    bought = _last_bought(clocks, retention)
    if bought is None:
        return clocks.last_contact
    ended = clocks.events.get("relationship-ended")
    resumed = clocks.events.get("relationship-resumed")
    if ended is not None and (ended < bought or (resumed is not None and resumed >= ended)):
        ended = None
    silent = _silent(clocks, retention, bought)
    return min((day for day in (ended, silent) if day is not None), default=OPEN)


def anchor(since: Since, clocks: Clocks, retention: Retention, start: int, source: str | None) -> int | None:
    """Return the day from which a period counts for a value that starts on a day; None if it does not count yet."""
    if since == Since.LAST_CONTACT:
        return max(start, clocks.last_contact or start)
    if since == Since.RELATIONSHIP_ENDED:
        return _relationship_anchor(clocks, retention, start)
    if since == Since.CONTRACT_ENDED:
        return _after(clocks, "contract-began", "contract-ended", start)
    if since == Since.CLAIM_CLOSED:
        return _after(clocks, "claim-opened", "claim-closed", start)
    if since == Since.DRAW_HELD and source is not None and source in retention.draws:
        held = retention.draws[source]
        return OPEN if held is None else max(start, held.toordinal())
    return start


def _relationship_anchor(clocks: Clocks, retention: Retention, start: int) -> int | None:
    ended = relationship_ended(clocks, retention)
    if ended is None:
        return start if _last_bought(clocks, retention) is None else OPEN
    return max(start, ended)


def _after(clocks: Clocks, began: Event, ended: Event, start: int) -> int | None:
    return OPEN if clocks.running(began, ended) else max(start, clocks.events.get(ended, start))


def _silent(clocks: Clocks, retention: Retention, bought: int) -> int | None:
    """Return the day on which inactivity ends the relationship; None if it never does."""
    if retention.inactive is None or clocks.running("contract-began", "contract-ended"):
        return OPEN
    signs = (bought, clocks.last_contact, *(clocks.events.get(name) for name in ENGAGED))
    silent_since = max(day for day in signs if day is not None)
    return retention.inactive.after(date.fromordinal(silent_since)).toordinal()


def _last_bought(clocks: Clocks, retention: Retention) -> int | None:
    """Return when the subject last did what makes a customer: bought something, or began a contract."""
    days = [day for name, day in clocks.newest.items() if name in retention.customer_by]
    return max((*days, *(day for name, day in clocks.events.items() if name == "contract-began")), default=None)


class ClockReader:
    """Fetches clocks; concurrent requests for one subject each share a query."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batcher: Batcher[tuple[TenantId, SubjectId], Clocks] = Batcher(self._fetch_together)

    async def of(self, tenant: TenantId, subjects: Sequence[SubjectId]) -> dict[SubjectId, Clocks]:
        """Fetch subjects' clocks; a subject without clocks gets :data:`NO_CLOCKS`."""
        if len(subjects) == 1:
            return {subjects[0]: await self._batcher.submit((tenant, subjects[0]))}
        clocks = await clocks_of(self._database, tenant, subjects)
        return {subject: clocks.get(subject, NO_CLOCKS) for subject in subjects}

    async def _fetch_together(self, waiting: list[tuple[TenantId, SubjectId]]) -> list[Clocks]:
        by_tenant: defaultdict[TenantId, set[SubjectId]] = defaultdict(set)
        for tenant, subject in waiting:
            by_tenant[tenant].add(subject)
        clocks = {
            tenant: await clocks_of(self._database, tenant, list(subjects)) for tenant, subjects in by_tenant.items()
        }
        return [clocks[tenant].get(subject, NO_CLOCKS) for tenant, subject in waiting]


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
    """Fetch subjects' clocks by one query; a subject without clocks is left out."""
    return _read(await database.fetch(_CLOCKS, tenant=tenant, subjects=list(subjects)))


async def clocks_in(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, Clocks]:
    """Fetch subjects' clocks within a transaction."""
    table = SUBJECT_CLOCK
    statement = select(table.c.subject_id, table.c.kind, table.c.at)
    rows = await connection.execute(statement.where(table.c.tenant_id == tenant, table.c.subject_id.in_(subjects)))
    return _read([tuple(row) for row in rows.all()])


async def clocks_of_one(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> Clocks:
    """Fetch one subject's clocks within a transaction."""
    return (await clocks_in(connection, tenant, [subject])).get(subject, NO_CLOCKS)


async def move_clocks(
    connection: AsyncConnection, tenant: TenantId, moments: Mapping[tuple[SubjectId, str], datetime]
) -> None:
    """Move clocks forward, by subject and kind (``record:purchase``, ``event:contract-ended``); none goes back."""
    if not moments:
        return
    rows = [
        {"tenant_id": tenant, "subject_id": subject, "kind": kind, "at": at}
        for (subject, kind), at in sorted(moments.items(), key=lambda moved: (moved[0][0].bytes, moved[0][1]))
    ]  # in one order, so that two writers cannot deadlock
    statement = insert_into(SUBJECT_CLOCK, connection.dialect.name)
    newer = statement.excluded.at > SUBJECT_CLOCK.c.at
    keys = ["tenant_id", "subject_id", "kind"]
    statement = statement.on_conflict_do_update(index_elements=keys, set_={"at": statement.excluded.at}, where=newer)
    await connection.execute(statement, rows)  # one prepared statement, and on PostgreSQL one round trip


async def clear_clocks(
    connection: AsyncConnection, tenant: TenantId, subjects: Iterable[SubjectId], *, but: Iterable[str] = ()
) -> None:
    """Delete subjects' clocks, except for some kinds."""
    table = SUBJECT_CLOCK
    await connection.execute(
        delete(table).where(
            table.c.tenant_id == tenant, table.c.subject_id.in_(list(subjects)), table.c.kind.not_in(list(but))
        )
    )


async def turn_back(connection: AsyncConnection, tenant: TenantId, subject: SubjectId, event: Event, day: int) -> None:
    """Set the clock of an event back to an earlier day, if what had ended continues. The subject's row is locked."""
    table = SUBJECT_CLOCK
    statement = update(table).where(
        table.c.tenant_id == tenant, table.c.subject_id == subject, table.c.kind == EVENT + event
    )
    await connection.execute(statement.values(at=at_day(day)))


async def join_clocks(connection: AsyncConnection, tenant: TenantId, *, of: SubjectId, to: SubjectId) -> None:
    """Move a merged subject's clocks to the survivor; the rows of both subjects are locked.

    Of each kind the newer clock counts. A running contract or claim of one subject is not ended by the end of a
    contract or claim of the other.
    """
    found = await clocks_in(connection, tenant, [of, to])
    joined = _joined(found.get(to, NO_CLOCKS), found.get(of, NO_CLOCKS))
    await clear_clocks(connection, tenant, [of, to])
    kinds = {RECORD + name: day for name, day in joined.newest.items()}
    kinds |= {EVENT + name: day for name, day in joined.events.items()}
    await move_clocks(connection, tenant, {(to, kind): at_day(day) for kind, day in kinds.items()})


def at_day(day: int) -> datetime:
    """Return the moment that represents a day: its midnight in UTC."""
    return datetime.combine(date.fromordinal(day), time(), UTC)


def _joined(survivor: Clocks, duplicate: Clocks) -> Clocks:
    newest = _newer(survivor.newest, duplicate.newest)
    events = _newer(survivor.events, duplicate.events)
    for began, ended in PAIRS:
        running = [clocks for clocks in (survivor, duplicate) if clocks.running(began, ended)]
        if running:
            events.pop(ended, None)
            days = [clocks.events[ended] for clocks in running if ended in clocks.events]
            if days:
                events[ended] = max(days)
    return Clocks(newest, events)


def _newer(one: Mapping[Name, int], other: Mapping[Name, int]) -> dict[Name, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in (*one, *other)}


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


class Newest:
    """The day of the newest record of each subject and collection, among records that are about to be written.

    Only the day (UTC) is stored, because periods count in days: the time of day of a purchase is not needed, and a
    second order on the same day changes no clock.

    Args:
        now: the present. A record with a later date (an agreed delivery, a mistyped year) counts as a contact of today:
            otherwise one wrong date would keep a subject in the vault for decades.
    """

    __slots__ = ("_days", "_today")

    def __init__(self, now: datetime) -> None:
        self._today = _day(now)
        self._days: dict[tuple[SubjectId, str], datetime] = {}

    def add(self, subject: SubjectId, collection: str, occurred_at: datetime | None) -> None:
        """Add a record; without ``occurred_at`` it happened now."""
        kind = subject, RECORD + collection
        day = self._today if occurred_at is None else min(_day(occurred_at), self._today)
        known = self._days.get(kind)
        if known is None or known < day:
            self._days[kind] = day

    async def keep(self, connection: AsyncConnection, tenant: TenantId) -> None:
        """Move all clocks forward by one statement, in the transaction that writes the records.

        Raises:
            Unavailable: the database does not answer.
        """
        await move_clocks(connection, tenant, self._days)


def _day(moment: datetime) -> datetime:
    return datetime.combine(moment.astimezone(UTC), time(), UTC)
