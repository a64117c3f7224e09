"""Events of a subject that start or stop a clock and are no record: a contract began, a claim was closed."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited, begin_once
from vault.consent.transaction import changing
from vault.errors import Fault, InvalidInput
from vault.moments import check_day
from vault.retention.clocks import EVENT, PAIRS, Event, at_day, clocks_of_one, move_clocks, turn_back
from vault.retention.views import RetentionEvent
from vault.subjects.store import mark_due

if TYPE_CHECKING:
    from datetime import datetime

    from vault.access.recording import SaveResponse
    from vault.consent.transaction import Change
    from vault.context import Caller, Services
    from vault.ids import SubjectId


_ENDED_BY: Final = dict(PAIRS)


@audited("record-event")
async def record_event(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    event: Event,
    on: date | None = None,
    *,
    on_commit: SaveResponse | None = None,
) -> RetentionEvent:
    """Record that something of a subject began or ended; the next sweep evaluates the subject.

    A subject has one clock of each kind, and it never goes back. If several contracts or claims run in parallel, record
    the end of the last one.

    Args:
        on: the day, in UTC; today by default.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: the day is out of range, or in the future.
        Denied: the caller may not record events.
        NotFound: the subject does not exist or is erased.
    """
    await require_permission(services, caller, "vault:retention", "record", audit_action="record-event")
    await begin_once(on_commit)
    day = _past_day(on, services.clock.now())
    async with changing(services, caller, "record-event", subject, silent=True) as change:
        recorded = await _move(change, event, day)
        entry = audit_entry(
            services,
            caller,
            action="record-event",
            decision="allowed",
            code=event,
            subjects=(change.pseudonym,),
            policy=services.policies.active(caller.tenant).version,
        )
        await services.audit_log.append_in(change.connection, [entry])
        if on_commit is not None:
            await on_commit(change.connection, recorded)
    return recorded


def _past_day(on: date | None, now: datetime) -> int:
    today = now.date()
    check_day(on, at="/on")
    if on is not None and on > today:
        fault = Fault("/on", "event-in-future", "today or a past day, in UTC")
        raise InvalidInput("an event cannot be recorded before it has happened", faults=[fault], code="event-in-future")
    return (on or today).toordinal()


async def _move(change: Change, event: Event, day: int) -> RetentionEvent:
    """Move the clock forward. The subject's row is locked, so that concurrent events are recorded one by one."""
    connection, tenant, subject = change.connection, change.caller.tenant, change.subject
    before = (await clocks_of_one(connection, tenant, subject)).events
    known = before.get(event)
    moved = known is None or known < day
    if moved:
        await move_clocks(connection, tenant, {(subject, EVENT + event): at_day(day)})
        ended = _ENDED_BY.get(event)
        if ended is not None and before.get(ended) == day:
            # One contract follows another on the same day: the day belongs to the running one.
            await turn_back(connection, tenant, subject, ended, max(day - 1, date.min.toordinal()))
        await mark_due(connection, tenant, [subject], change.now)
    return RetentionEvent(event=event, on=date.fromordinal(day if known is None else max(day, known)), moved=moved)
