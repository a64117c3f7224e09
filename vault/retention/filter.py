"""Step 8 of a read, looked at closely: may this value still be shown for this purpose, or does a hold stand before it?

Most reads never come here: what they show came in so lately that no clock of anybody's can have ended it, which one
comparison a record tells (:meth:`vault.retention.schedule.Schedule.lasting`).

Values of people's profiles that are over: nobody is found, compared or written to by them. Nothing is opened.

Tell which fields of a person are over or held for a purpose, without opening any.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.catalogue.model import CLEAR, LegalBasis
from vault.clock import to_microseconds
from vault.consent.state import unpack as unpack_standing
from vault.errors import Refusal
from vault.retention.ends import Ends, Person, day_of, ends_of, value_of, values_of
from vault.retention.holds import blocking_hold, is_covered
from vault.retention.review_store import fetch_kept_days
from vault.retention.schedule import Schedule
from vault.subjects.record_body import happened_at, open_body, unpack
from vault.subjects.store import PROFILE, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from vault.catalogue.model import FieldView, Purpose
    from vault.consent.state import ConsentState
    from vault.context import Services
    from vault.ids import SubjectId, TenantId
    from vault.policy.decision import Decision
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.subjects.record_body import Sealed, Stored
    from vault.subjects.store import Found


RETENTION_OVER: Final = Refusal(
    "retention-over",
    "The time for which this value may be kept has run out. Ask the person again if you still need it.",
    "retention",
)
HELD: Final = Refusal(
    "held",
    "This value is under a legal hold, and is used for that and nothing else until the hold is lifted. Ask the data "
    "protection officer.",
    "hold",
)


class Body(NamedTuple):
    """One record that is looked at: whose, of which collection, its id, and its packed body."""

    subject: SubjectId
    collection: str
    record: UUID
    packed: bytes


class Dates(NamedTuple):
    """The days on which a record happened and came in."""

    happened: int
    arrived: int


@dataclass(frozen=True, slots=True)
class Gate:
    """Answers of one person's values whether they may be shown for a purpose.

    Attributes:
        ends: until when each is kept.
        purpose: for which it is read.
        standing: what the person said, and the holds.
        today: the day.
        kept: until when reviews keep values, by collection and record.
        dates: of records, where their bodies do not tell enough: when each happened, and when it came in.
        moment: the present, in microseconds since 1970.
        only_held: whether the purpose sees of this person, who was erased, what a hold lets it see, and nothing else.
    """

    ends: Ends
    purpose: Purpose
    standing: ConsentState
    today: int
    kept: Mapping[tuple[str, UUID], Mapping[str, int]]
    dates: Mapping[UUID, Dates]
    moment: int
    only_held: bool

    def before(self, collection: str, record: UUID) -> RecordGate:
        """Return what answers for the values of one record."""
        return RecordGate(self, collection, record)


class RecordGate(NamedTuple):
    """Answers of one record's values."""

    gate: Gate
    collection: str
    record: UUID

    def refusal(self, body: Sealed, name: str, stored: Stored, view: str | None) -> Refusal | None:
        """Tell why a value is not shown; none: it is.

        What a hold covers is there for the hold's own purpose as long as the hold is, and for purposes that answer
        people as long as anything claims it. Of somebody who was erased, a purpose for which nothing was kept sees what
        is held and nothing else.

        Args:
            body: the record's.
            name: under which the value lies in it.
            stored: the value.
            view: as which it is asked for; none: as it lies there, whole or generalised.
        """
        gate, whole = self.gate, f"{self.collection}.{name}"
        dates = gate.dates.get(self.record)
        happened = day_of(body.since) if body.since or dates is None else dates.happened
        purpose, standing = str(gate.purpose.name), gate.standing
        covering = [held for held in standing.holds if is_covered(held, whole, happened)]
        if any(held.purpose == purpose for held in covering):
            return None
        if (
            covering
            and not gate.purpose.answers_people
            and blocking_hold(standing, purpose, whole, happened) is not None
        ):
            return HELD
        if (gate.only_held and not covering) or (stored.expires_at is not None and stored.expires_at <= gate.moment):
            return RETENTION_OVER
        kept = gate.kept.get((self.collection, self.record), {}).get(name)
        value = value_of(self.collection, name, stored, happened, kept, None if dates is None else dates.arrived)
        shown = value.form or f"{whole}.{view or CLEAR}"
        ending = gate.ends.of(value)
        if ending.serves(purpose, gate.today, shown):
            return None
        if value.form is None and ending.then == shown:
            # It is to become this very view, and is shown as that whether or not a sweep has come by.
            ending = gate.ends.of(value._replace(form=shown))
            return None if ending.serves(purpose, gate.today, shown) else RETENTION_OVER
        return RETENTION_OVER


async def gates(
    services: Services,
    tenant: TenantId,
    purpose: Purpose,
    people: Sequence[Found],
    bodies: Iterable[Body],
    now: datetime,
) -> dict[SubjectId, Gate]:
    """Fetch, for all people at once, what decides over their values, and return what answers for each of them.

    Args:
        purpose: for which is read; steps 2 to 7 have let it pass for these people.
        people: who are looked at.
        bodies: the records that are.
        now: the present.

    Raises:
        CannotOpen: a body is none.
        Unavailable: the database does not answer.
    """
    subjects = list(dict.fromkeys(each.id for each in people))
    policy_set = services.policies.active(tenant).policy_set
    clocks = await services.clocks.of(tenant, subjects)
    claims_itself = _claims_itself(policy_set, purpose)
    dates = await _dates(services, tenant, bodies, every=not claims_itself)
    # A review lengthens no claim of a purpose: it matters only to those that have none of their own.
    kept = {} if claims_itself else await fetch_kept_days(services.data, tenant, subjects)
    by_person: dict[SubjectId, dict[tuple[str, UUID], Mapping[str, int]]] = {each: {} for each in subjects}
    for (subject, collection, record), days in kept.items():
        by_person[subject][collection, record] = days
    found = {}
    for each in people:
        standing, retained = unpack_standing(each.standing), each.state == "retained"
        ends = _ends(policy_set, purpose, standing, clocks[each.id], now, retained=retained)
        only_held = retained and purpose.name not in standing.kept_for
        today, moment = now.date().toordinal(), to_microseconds(now)
        found[each.id] = Gate(ends, purpose, standing, today, by_person[each.id], dates, moment, only_held)
    return found


def bodies_of(found: Found) -> Iterator[Body]:
    """Go through the records of a person that were fetched."""
    if found.profile is not None:
        yield Body(found.id, PROFILE, found.id, found.profile)
    for rows in found.many.values():
        for row in rows:
            yield Body(found.id, row.collection, row.id, row.body)


def _ends(
    policy_set: PolicySet, purpose: Purpose, standing: ConsentState, clocks: Clocks, now: datetime, *, retained: bool
) -> Ends:
    if not _claims_itself(policy_set, purpose):
        return ends_of(policy_set, standing, clocks, now, retained=retained)
    # Its own claim and the limits decide alone: as long as that claim runs the value is not over. All other purposes
    # need not be worked out, and that it applies to the person, steps 6 and 7 have seen.
    person = Person({str(purpose.name): None}, clocks, now.date().toordinal(), retained)
    return Ends(_schedule_of_one(policy_set, purpose), person)


@lru_cache(maxsize=1024)
def _schedule_of_one(policy_set: PolicySet, purpose: Purpose) -> Schedule:
    return Schedule(policy_set.catalogue, {str(purpose.name): purpose}, policy_set.schedule)


def _claims_itself(policy_set: PolicySet, purpose: Purpose) -> bool:
    """Tell whether a purpose claims all that it may read, of everybody to whom it applies."""
    has_rule = purpose.name in policy_set.schedule.rules
    return purpose.collects and has_rule and purpose.legal_basis != LegalBasis.LEGAL_OBLIGATION


async def _dates(services: Services, tenant: TenantId, bodies: Iterable[Body], *, every: bool) -> dict[UUID, Dates]:
    """Find out when records happened and came in, of those whose bodies do not tell (those of before there were ends).

    When they came in matters only to what nothing claims: then it is found out of every record.
    """
    wanted = {(each.subject, each.record): each for each in bodies if every or not open_body(each.packed).since}
    if not wanted:
        return {}
    subjects = list(dict.fromkeys(each.subject for each in wanted.values()))
    collections = sorted({each.collection for each in wanted.values()})
    moments = await services.subjects.moments(tenant, subjects, collections)
    found: dict[UUID, Dates] = {}
    for (subject, record), row in moments.items():
        body = wanted.get((subject, record))
        if body is not None:
            happened = day_of(happened_at(row, unpack(body.packed)))
            found[record] = Dates(happened, row.created_at.date().toordinal())
    return found


async def over_values(
    services: Services, tenant: TenantId, people: Iterable[Found | None]
) -> dict[SubjectId, frozenset[str]]:
    """Name the values of people's profiles that are over, though no sweep may have come by.

    Args:
        people: with their profiles.

    Returns:
        the names by person; who has no profile, or has just lost it, is left out.

    Raises:
        CannotOpen: a profile is none.
        Unavailable: the database does not answer.
    """
    present = {each.id: each for each in people if each is not None and each.profile is not None}
    if not present:
        return {}
    subjects, now = list(present), services.clock.now()
    policy_set = services.policies.active(tenant).policy_set
    clocks = await services.clocks.of(tenant, subjects)
    kept = await fetch_kept_days(services.data, tenant, subjects)
    found = {}
    for (subject, record), row in (await services.subjects.moments(tenant, subjects, [PROFILE])).items():
        each = present[subject]
        ends = ends_of(
            policy_set, unpack_standing(each.standing), clocks[subject], now, retained=each.state == "retained"
        )
        values = values_of(row, unpack(each.profile or b""), kept.get((subject, PROFILE, record)), collection=PROFILE)
        today = now.date().toordinal()
        found[subject] = frozenset(name for name, value in values.items() if ends.of(value).is_over(today))
    return found


async def kept_back(services: Services, tenant: TenantId, subject: SubjectId, decision: Decision) -> dict[str, Refusal]:
    """Tell, by the name asked for, why no value of a field is shown although there is one; others are left out.

    Raises:
        CannotOpen: a record is none.
        Unavailable: the database does not answer.
    """
    many = tuple(sorted({view.field.collection for _asked, view in decision.granted} - {PROFILE}))
    (found,) = await services.subjects.find(Wanted(tenant, (subject,), profile=True, many=many))
    if found is None:
        return {}
    bodies = list(bodies_of(found))
    gate = (await gates(services, tenant, decision.purpose, [found], bodies, services.clock.now()))[subject]
    told = {}
    for asked, view in decision.granted:
        answers = list(_answers(gate, bodies, view))
        if answers and all(answers):
            told[asked] = HELD if HELD in answers else RETENTION_OVER
    return told


def _answers(gate: Gate, bodies: list[Body], view: FieldView) -> Iterator[Refusal | None]:
    """Ask for each value of a field, as it lies there."""
    field = view.field
    for body in bodies:
        if body.collection != field.collection:
            continue
        sealed, values = open_body(body.packed), unpack(body.packed)
        general = f"{field.name}.{view.view}"
        name = general if field.name not in values and general in values else field.name
        stored = values.get(name)
        if stored is None:
            continue
        yield gate.before(body.collection, body.record).refusal(sealed, name, stored, view.view)
