"""Consent events in storage: tables, queries, appending, and repair of the state on the subjects' rows.

Events are only ever added, by :func:`append_events`: it updates the state on the subject's row in the same transaction.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from typing import TYPE_CHECKING, Final
from uuid import UUID  # noqa: TC003 - as above

from msgspec import DecodeError
from msgspec.structs import replace
from sqlalchemy import LargeBinary, String, select

from vault.access.authorization import audit_entry, subject_not_found
from vault.access.callers import operator_caller
from vault.clock import to_microseconds
from vault.consent.model import NOTHING, apply, bare, decode, encode, fold, pack, unpack
from vault.crypto.row_mac import MacedTable
from vault.errors import NotFound
from vault.storage.columns import DataTable, Id, Moment, column, table_of
from vault.subjects.store import GONE, mark_due

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.model import ConsentState, Event
    from vault.context import Services
    from vault.ids import SubjectId, TenantId
    from vault.storage.database import Database


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events of a person, newest first, and the id after which the next page begins."""

    events: list[Event]
    next: UUID | None


class ConsentEvents:
    """The events of all tenants in the main database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, connection: AsyncConnection, tenant: TenantId, events: Sequence[Event]) -> None:
        """Insert events within a transaction."""
        rows = [
            (
                tenant,
                event.subject,
                event.id,
                event.purpose,
                event.kind,
                event.occurred_at,
                event.recorded_at,
                encode(event),
            )
            for event in events
        ]
        await self._database.bulk(connection, EVENT, rows)

    async def history(
        self, tenant: TenantId, subject: SubjectId, *, before: UUID | None = None, limit: int = 100
    ) -> EventPage:
        """List a person's events, newest first."""
        statement = (
            select(EVENT.c.body)
            .where(EVENT.c.tenant_id == tenant, EVENT.c.subject_id == subject)
            .order_by(EVENT.c.id.desc())
            .limit(limit + 1)
        )
        if before is not None:
            statement = statement.where(EVENT.c.id < before)
        async with self._database.reading() as connection:
            bodies = (await connection.execute(statement)).scalars().all()
        events = [decode(body) for body in bodies[:limit]]
        return EventPage(events, events[-1].id if len(bodies) > limit else None)

    async def event(self, tenant: TenantId, subject: SubjectId, event: UUID) -> Event:
        """Fetch one event.

        Raises:
            NotFound: this person has no such event.
        """
        statement = select(EVENT.c.body).where(
            EVENT.c.tenant_id == tenant, EVENT.c.subject_id == subject, EVENT.c.id == event
        )
        async with self._database.reading() as connection:
            body = (await connection.execute(statement)).scalar_one_or_none()
        if body is None:
            raise NotFound("this person has no such event", code="consent-event-not-found")
        return decode(body)

    async def events_of(
        self, connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
    ) -> dict[SubjectId, list[Event]]:
        """Fetch all events of several people, each person's in their order."""
        statement = (
            select(EVENT.c.subject_id, EVENT.c.body)
            .where(EVENT.c.tenant_id == tenant, EVENT.c.subject_id.in_(subjects))
            .order_by(EVENT.c.id)
        )
        events: dict[SubjectId, list[Event]] = defaultdict(list)
        for subject, body in (await connection.execute(statement)).all():
            events[subject].append(decode(body))
        return events


class ConsentEventRow(DataTable, table=True):
    """One event: its canonical bytes, and the columns that queries need."""

    __tablename__ = "consent_event"

    tenant_id: str = column(String(64), primary_key=True)
    subject_id: UUID = column(Id, primary_key=True)
    id: UUID = column(Id, primary_key=True)
    purpose: str | None = column(String(64), nullable=True)
    kind: str = column(String(32))
    occurred_at: datetime = column(Moment)
    recorded_at: datetime = column(Moment)
    body: bytes = column(LargeBinary)


class ConfirmationRow(DataTable, table=True):
    """A double opt-in that waits for its token; only the digest of the token is stored."""

    __tablename__ = "consent_confirmation"

    tenant_id: str = column(String(64), primary_key=True)
    event_id: UUID = column(Id, primary_key=True)
    subject_id: UUID = column(Id)
    token_hash: bytes = column(LargeBinary(32))
    expires_at: datetime = column(Moment)
    used_at: datetime | None = column(Moment, nullable=True)
    mac: bytes | None = column(LargeBinary, nullable=True)


EVENT = table_of(ConsentEventRow)
CONFIRMATION = table_of(ConfirmationRow)
CONFIRMATIONS = MacedTable(CONFIRMATION, "tenant_id", "event_id", "subject_id", "token_hash", "expires_at", "used_at")


PAGE: Final = 500
DENIALS: Final = frozenset({"refused", "withdrawn", "objected", "objection-upheld", "restricted"})
"""Kinds of events that a restore must not undo. A consent that expires does so again without its event."""


async def append_events(
    services: Services, connection: AsyncConnection, tenant: TenantId, subject: SubjectId, events: Sequence[Event]
) -> ConsentState:
    """Append events of one person, in this order; the person's row is locked until the transaction ends.

    Returns:
        the state after them.

    Raises:
        NotFound: there is no such person, or no longer.
        Unavailable: an event is a denial, and the restore ledger does not answer.
    """
    # The lock orders concurrent events of one person: each is applied to the state that the one before left.
    row = await services.subjects.locked(connection, tenant, subject)
    if row is None or row.state in GONE:
        raise subject_not_found()
    state = unpack(row.standing)
    for event in events:
        state = apply(state, event)
    await services.consents.add(connection, tenant, events)
    # The state on the row is what reads decide by: in the transaction of the events, so that it is never behind.
    await services.subjects.set_standing(connection, row, pack(state), restricted=stays_restricted(row, state))
    # A failure of the restore ledger aborts the transaction: a restore must never forget a denial that was accepted.
    await record_denials(services, tenant, events)
    await mark_due(connection, tenant, [subject], services.clock.now())
    return state


def stays_restricted(row: Row[tuple[object, ...]], state: ConsentState) -> bool:
    """Return whether a person is restricted: by an event, or because the row was restricted without an event.

    Args:
        row: the person's row before the events.
        state: the state after them.
    """
    without_event = row.state == "restricted" and unpack(row.standing).restricted_at is None
    return without_event or state.restricted_at is not None


async def record_denials(services: Services, tenant: TenantId, events: Iterable[Event]) -> None:
    """Write denials, objections and restrictions to the restore ledger; call it in the transaction that adds them.

    Raises:
        Unavailable: the restore ledger does not answer; the events must not be added then.
    """
    # Bare: a restored vault may not have the key of the evidence, and the state does not depend on the rest.
    lines = [(event.subject, encode(bare(event))) for event in events if event.kind in DENIALS]
    await services.restore_ledger.add(tenant, "consent", services.clock.now(), lines)


@dataclass(frozen=True, slots=True)
class Difference:
    """A person whose row does not have the state that follows from the events, or is not as the vault wrote it."""

    subject: SubjectId
    by_events: ConsentState
    on_row: ConsentState


@dataclass(frozen=True, slots=True)
class Comparison:
    """One page of a comparison: how many people were checked, and the differences."""

    people: int
    differences: list[Difference]


async def compare(services: Services, tenant: TenantId) -> AsyncIterator[Comparison]:
    """Fold the events of every person again and compare with the rows, a page of people at a time."""
    after: SubjectId | None = None
    while True:
        async with services.data.reading() as connection:
            rows = await services.subjects.standings(connection, tenant, after=after, limit=PAGE)
            if not rows:
                return
            events = await services.consents.events_of(connection, tenant, [row.id for row in rows])
        genuine = {row.id for row in await services.subjects.genuine(tenant, rows)}
        differences = [
            _difference(row, events.get(row.id, []))
            if row.id in genuine
            else Difference(row.id, fold(events.get(row.id, [])), NOTHING)
            for row in rows
        ]
        yield Comparison(len(rows), [difference for difference in differences if difference is not None])
        after = rows[-1].id


def _difference(row: Row[tuple[object, ...]], events: Sequence[Event]) -> Difference | None:
    if row.state in GONE:
        return None  # the events that remain are proof only; no state follows from them
    # Holds are no events of the person, and follow from no event.
    by_events, on_row = fold(events), replace(unpack(row.standing), holds=())
    restricted = row.state == "restricted"
    if by_events == on_row and restricted == (by_events.restricted_at is not None):
        return None
    return Difference(row.id, by_events, on_row)


async def repair_state(services: Services, tenant: TenantId, subject: SubjectId) -> None:
    """Repair one person's state from the events, in a transaction of its own, with an audit entry."""
    async with services.data.transaction() as connection:
        row = await services.subjects.locked_as_it_is(connection, tenant, subject)
        if row is None or not await repair(services, connection, tenant, subject):
            return
        entry = audit_entry(
            services,
            operator_caller(tenant),
            action="record-consent",
            decision="allowed",
            subjects=(row.pseudonym,),
        )
        await services.audit_log.append_in(connection, [entry])


async def repair(services: Services, connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> bool:
    """Write the state that follows from the events to a person's row, also to one that others have changed.

    Who could change the row could delete an event too. So the denials on the restore ledger, which is a database of its
    own, are added where they are missing.

    Returns:
        whether the row was written. That of an erased person is not: no state follows from the events that remain.

    Raises:
        Unavailable: the restore ledger does not answer.
    """
    row = await services.subjects.locked_as_it_is(connection, tenant, subject)
    if row is None or row.state in GONE:
        return False
    events = (await services.consents.events_of(connection, tenant, [subject])).get(subject, [])
    known = {event.id for event in events}
    denials = [decode(body) for body in await services.restore_ledger.lines_of(tenant, "consent", subject)]
    missing = list({event.id: event for event in denials if event.id not in known}.values())
    await services.consents.add(connection, tenant, missing)
    state = fold(sorted([*events, *missing], key=lambda event: event.id))
    # Holds do not follow from events: a repair must not lift them.
    with suppress(DecodeError):  # what others wrote there need not be a state
        state = replace(state, holds=unpack(row.standing).holds)
    await services.subjects.set_standing(connection, row, pack(state), restricted=state.restricted_at is not None)
    await mark_due(connection, tenant, [subject], services.clock.now())
    return True


async def count_by_notice(services: Services, tenant: TenantId, purpose: str) -> Counter[str]:
    """Count the people whose consent to a purpose is in force, by the version of the notice that they agreed to."""
    now = to_microseconds(services.clock.now())
    people: Counter[str] = Counter()
    async for rows in pages_with_state(services, tenant):
        for row in rows:
            current = unpack(row.standing).purposes.get(purpose)
            if current is None or current.state != "given" or current.notice is None:
                continue
            if current.valid_until is None or now < current.valid_until:
                people[current.notice] += 1
    return people


async def pages_with_state(services: Services, tenant: TenantId) -> AsyncIterator[list[Row[tuple[object, ...]]]]:
    """Go through the ids, states and consent states of all people with at least one event, a page at a time."""
    after: SubjectId | None = None
    while True:
        async with services.data.reading() as connection:
            rows = await services.subjects.standings(connection, tenant, after=after, limit=PAGE, said=True)
        if not rows:
            return
        yield await services.subjects.genuine(tenant, rows)
        after = rows[-1].id
