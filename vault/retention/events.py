"""Tell how a person stands to the company, since when, and on which clocks that rests."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from vault.access.authorization import SUBJECT_NOT_FOUND, entry
from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.catalogue.retention import Relationship
from vault.consent.transaction import missing
from vault.retention.clocks import PAIRS, relationship, relationship_ended
from vault.retention.store import NO_CLOCKS, clocks_in
from vault.subjects.erasing import person
from vault.subjects.store import GONE

if TYPE_CHECKING:
    from uuid import UUID

    from vault.catalogue.retention import Retention
    from vault.context import Caller, House
    from vault.ids import SubjectId
    from vault.retention.clocks import Clocks


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


@on_record("read-retention")
async def relationship_of(house: House, caller: Caller, subject: SubjectId) -> Answer:
    """Tell how a person stands to the company today; it opens no value.

    Raises:
        Denied: no role of the caller's may see retention.
        NotFound: there is no such person, or no longer.
    """
    await require_right(house, caller, "vault:retention", "read", audited_as="read-retention")
    await house.limits.take(caller.principal, "read", 1)
    async with house.data.reading() as connection:
        row = await person(connection, caller.tenant, subject)
        clocks = (await clocks_in(connection, caller.tenant, [subject])).get(subject, NO_CLOCKS)
    active, there = house.policies.active(caller.tenant), row is not None and row.state not in GONE
    made = entry(
        house,
        caller,
        action="read-retention",
        decision="allowed" if there else "denied",
        code=None if there else SUBJECT_NOT_FOUND.code,
        subjects=() if row is None else (row.pseudonym,),
        policy=active.version,
    )
    await house.ledger.append(made)
    if row is None or not there:
        async with house.data.reading() as connection:
            error = await missing(house, caller, connection, subject)
        error.audit = str(made.id)
        raise error
    stand = _stand(clocks, active.policy_set.schedule, house.clock.now().date(), row.created_at.date())
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
