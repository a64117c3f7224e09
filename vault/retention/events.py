"""Record what starts or stops a clock and is no record: a contract began, a claim was closed, somebody left.

Tell how a person stands to the company, since when, and on which clocks that rests.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.recording import audited
from vault.catalogue.retention import Relationship
from vault.consent.transaction import changing, missing
from vault.errors import Fault, InvalidInput
from vault.retention.clocks import (
    EVENT,
    NO_CLOCKS,
    PAIRS,
    Event,
    at_day,
    clocks_in,
    move_clocks,
    relationship,
    relationship_ended,
    turn_back,
)
from vault.subjects.changes import mark_due, person
from vault.subjects.store import GONE

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from vault.access.recording import SaveResponse
    from vault.catalogue.retention import Retention
    from vault.consent.transaction import Change
    from vault.context import Caller, Services
    from vault.ids import SubjectId
    from vault.retention.clocks import Clocks


_ENDED_BY: Final = dict(PAIRS)


class Recorded(NamedTuple):
    """An event, the day on which its clock stands now, and whether the clock was moved.

    It was not where a later day was recorded before, or the same.
    """

    event: Event
    on: date
    created: bool


@audited("record-event")
async def record_event(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    event: Event,
    on: date | None = None,
    *,
    on_commit: SaveResponse | None = None,
) -> Recorded:
    """Record that something of a person's began or ended; the next sweep looks at the person.

    A person has one clock of each kind, and it never goes back. Where several contracts or claims run side by side,
    it is the end of the last one that is recorded.

    Args:
        caller: who records it.
        subject: of whom.
        event: what happened.
        on: the day, in UTC; today by default.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: the day lies in the future.
        Denied: no role of the caller's may record events.
        NotFound: there is no such person, or no longer.
    """
    await require_permission(services, caller, "vault:retention", "record", audit_action="record-event")
    day = _past(on, services.clock.now())
    async with changing(services, caller, "record-event", subject, silent=True) as change:
        recorded = await _move(change, event, day)
        made = audit_entry(
            services,
            caller,
            action="record-event",
            decision="allowed",
            code=event,
            subjects=(change.pseudonym,),
            policy=services.policies.active(caller.tenant).version,
        )
        await services.audit_log.append_in(change.connection, [made])
        if on_commit is not None:
            await on_commit(change.connection, recorded)
    return recorded


def _past(on: date | None, now: datetime) -> int:
    today = now.date()
    if on is not None and on > today:
        fault = Fault("/on", "event-in-future", "a day until today, in UTC")
        raise InvalidInput("an event is recorded once it has happened", faults=[fault], code="event-in-future")
    return (on or today).toordinal()


async def _move(change: Change, event: Event, day: int) -> Recorded:
    """Move the clock on, with the person's row locked, so that two who record at once come one after the other."""
    connection, tenant, subject = change.connection, change.caller.tenant, change.subject
    before = (await clocks_in(connection, tenant, [subject])).get(subject, NO_CLOCKS).events
    known = before.get(event)
    moves = known is None or known < day
    if moves:
        await move_clocks(connection, tenant, {(subject, EVENT + event): at_day(day)})
        ended = _ENDED_BY.get(event)
        if ended is not None and before.get(ended) == day:
            # One contract follows another on the same day: the day belongs to the one that runs.
            await turn_back(connection, tenant, subject, ended, max(day - 1, date.min.toordinal()))
        await mark_due(connection, tenant, [subject], change.now)
    return Recorded(event, date.fromordinal(day if known is None else max(day, known)), moves)


class Stand(NamedTuple):
    """How a person stands to the company, on a day.

    Attributes:
        state: prospect, customer or former.
        since: since when: of a prospect, since they are in the vault; of a former customer, from the day after the
            relationship ended. None of a customer: the vault remembers the last order, not the first.
        last_contact: the day of the last order or message.
        until: of a customer, the last day as such if nothing else is heard of them; none: no end in sight.
        running: what has begun and not ended: ``contract``, ``claim``.
        records: the day of the newest record of each collection.
        events: the day of each event.
    """

    state: Relationship
    since: date | None
    last_contact: date | None
    until: date | None
    running: tuple[str, ...]
    records: dict[str, date]
    events: dict[str, date]


class Answer(NamedTuple):
    """How a person stands, and the audit entry that tells of the answer."""

    subject: SubjectId
    stand: Stand
    audit: UUID


@audited("read-retention")
async def relationship_of(services: Services, caller: Caller, subject: SubjectId) -> Answer:
    """Tell how a person stands to the company today; it opens no value.

    Raises:
        Denied: no role of the caller's may see retention.
        NotFound: there is no such person, or no longer.
    """
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    await services.limits.take(caller.principal, "read", 1)
    async with services.data.reading() as connection:
        row = await person(connection, caller.tenant, subject)
        clocks = (await clocks_in(connection, caller.tenant, [subject])).get(subject, NO_CLOCKS)
    active, there = services.policies.active(caller.tenant), row is not None and row.state not in GONE
    made = audit_entry(
        services,
        caller,
        action="read-retention",
        decision="allowed" if there else "denied",
        code=None if there else SUBJECT_NOT_FOUND.code,
        subjects=() if row is None else (row.pseudonym,),
        policy=active.version,
    )
    await services.audit_log.append(made)
    if row is None or not there:
        async with services.data.reading() as connection:
            error = await missing(services, caller, connection, subject)
        error.audit = str(made.id)
        raise error
    stand = _stand(clocks, active.policy_set.schedule, services.clock.now().date(), row.created_at.date())
    return Answer(subject, stand, made.id)


def _stand(clocks: Clocks, retention: Retention, today: date, created: date) -> Stand:
    state = relationship(clocks, retention, today.toordinal())
    ended = relationship_ended(clocks, retention)
    since = {
        Relationship.PROSPECT: created,
        Relationship.CUSTOMER: None,
        Relationship.FORMER: _day(None if ended is None else ended + 1),
    }[state]
    return Stand(
        state=state,
        since=since,
        last_contact=_day(clocks.last_contact),
        until=_day(ended) if state is Relationship.CUSTOMER else None,
        running=tuple(began.partition("-")[0] for began, over in PAIRS if clocks.running(began, over)),
        records={name: date.fromordinal(day) for name, day in sorted(clocks.newest.items())},
        events={name: date.fromordinal(day) for name, day in sorted(clocks.events.items())},
    )


def _day(number: int | None) -> date | None:
    return None if number is None else date.fromordinal(number)
