"""Record what starts or stops a clock and is no record: a contract began, a claim was closed, somebody left."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.access.authorization import entry
from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.consent.transaction import changing
from vault.errors import Fault, InvalidInput
from vault.retention.clocks import PAIRS, Event
from vault.retention.store import EVENT, NO_CLOCKS, at_day, clocks_in, move_clocks, turn_back
from vault.subjects.changes import mark_due

if TYPE_CHECKING:
    from datetime import datetime

    from vault.access.recording import Keep
    from vault.consent.transaction import Change
    from vault.context import Caller, House
    from vault.ids import SubjectId

_ENDED_BY: Final = dict(PAIRS)


class Recorded(NamedTuple):
    """An event, the day on which its clock stands now, and whether the clock was moved.

    It was not where a later day was recorded before, or the same.
    """

    event: Event
    on: date
    created: bool


@on_record("record-event")
async def record_event(
    house: House,
    caller: Caller,
    subject: SubjectId,
    event: Event,
    on: date | None = None,
    *,
    keep: Keep | None = None,
) -> Recorded:
    """Record that something of a person's began or ended; the next sweep looks at the person.

    A person has one clock of each kind, and it never goes back. Where several contracts or claims run side by side,
    it is the end of the last one that is recorded.

    Args:
        house: the rooms.
        caller: who records it.
        subject: of whom.
        event: what happened.
        on: the day, in UTC; today by default.
        keep: keeps the answer under an idempotency key.

    Raises:
        InvalidInput: the day lies in the future.
        Denied: no role of the caller's may record events.
        NotFound: there is no such person, or no longer.
    """
    await require_right(house, caller, "vault:retention", "record", audited_as="record-event")
    day = _past(on, house.clock.now())
    async with changing(house, caller, "record-event", subject, silent=True) as change:
        recorded = await _move(change, event, day)
        made = entry(
            house,
            caller,
            action="record-event",
            decision="allowed",
            code=event,
            subjects=(change.pseudonym,),
            policy=house.policies.active(caller.tenant).version,
        )
        await house.ledger.append_in(change.connection, [made])
        if keep is not None:
            await keep(change.connection, recorded)
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
