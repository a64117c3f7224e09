"""Step 8 of a read: may a value still be shown for a purpose, or is its retention over, or does a hold prevent it?

No value is opened. Most reads skip this: one comparison for each record shows that its values are too new to be over
(:meth:`vault.retention.schedule.Schedule.lasting`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.catalogue.model import CLEAR, LegalBasis
from vault.clock import to_microseconds
from vault.consent.model import unpack as unpack_state
from vault.errors import Refusal
from vault.retention.ends import Dates, Ends, SubjectFacts, day_of, ends_of, value_of, values_of
from vault.retention.holds import blocking_hold, is_covered
from vault.retention.reviews import fetch_kept_days
from vault.retention.schedule import Schedule
from vault.subjects.rows import happened_at, open_body, unpack
from vault.subjects.store import PROFILE, SubjectQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from vault.catalogue.model import FieldView, Purpose
    from vault.consent.model import ConsentState
    from vault.context import Services
    from vault.ids import SubjectId, TenantId
    from vault.policy.decision import Decision
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.subjects.rows import Sealed, Stored
    from vault.subjects.store import StoredSubject


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
    """One record: its subject, collection, id and packed body."""

    subject: SubjectId
    collection: str
    record: UUID
    packed: bytes


@dataclass(frozen=True, slots=True)
class Gate:
    """Decides whether one subject's values may be shown for a purpose.

    Attributes:
        consent_state: the subject's consent state, with the holds.
        kept: the last days on which reviews keep values, by collection and record.
        dates: when records happened and were stored, for records whose bodies do not have that.
        moment: the present, in microseconds since 1970.
        only_held: whether the subject is erased and the purpose sees only values under a hold.
    """

    ends: Ends
    purpose: Purpose
    consent_state: ConsentState
    today: int
    kept: Mapping[tuple[str, UUID], Mapping[str, int]]
    dates: Mapping[UUID, Dates]
    moment: int
    only_held: bool

    def before(self, collection: str, record: UUID) -> RecordGate:
        """Return the gate of one record."""
        return RecordGate(self, collection, record)


class RecordGate(NamedTuple):
    """Decides about one record's values."""

    gate: Gate
    collection: str
    record: UUID

    def refusal(self, body: Sealed, name: str, stored: Stored, view: str | None) -> Refusal | None:
        """Return why a value is not shown; None if it is.

        Args:
            view: the view that is requested; None for the value as it is stored.
        """
        gate, whole = self.gate, f"{self.collection}.{name}"
        dates = gate.dates.get(self.record)
        happened = day_of(body.since) if body.since or dates is None else dates.happened
        purpose, consent_state = str(gate.purpose.name), gate.consent_state
        covering = [held for held in consent_state.holds if is_covered(held, whole, happened)]
        if any(held.purpose == purpose for held in covering):
            return None
        # Purposes that answer the subject see a value under a hold while anything claims it.
        if (
            covering
            and not gate.purpose.answers_people
            and blocking_hold(consent_state, purpose, whole, happened) is not None
        ):
            return HELD
        # Of an erased subject, a purpose for which nothing was kept sees only values under a hold.
        if (gate.only_held and not covering) or (stored.expires_at is not None and stored.expires_at <= gate.moment):
            return RETENTION_OVER
        kept = gate.kept.get((self.collection, self.record), {}).get(name)
        arrived = None if dates is None else dates.arrived
        value = value_of(self.collection, name, stored, Dates(happened, arrived), kept)
        shown = value.form or f"{whole}.{view or CLEAR}"
        ending = gate.ends.of(value)
        if ending.serves(purpose, gate.today, shown):
            return None
        if value.form is None and ending.then == shown:
            # The sweep will replace the value by this view, so the view is shown whether or not a sweep has run yet.
            ending = gate.ends.of(value._replace(form=shown))
            return None if ending.serves(purpose, gate.today, shown) else RETENTION_OVER
        return RETENTION_OVER


async def gates(
    services: Services,
    tenant: TenantId,
    purpose: Purpose,
    people: Sequence[StoredSubject],
    bodies: Iterable[Body],
    now: datetime,
) -> dict[SubjectId, Gate]:
    """Fetch what decides over the values of several subjects, and return a gate for each.

    Args:
        purpose: of the read; steps 2 to 7 have allowed it for these subjects.
        bodies: the records that are read.

    Raises:
        CannotOpen: a body is corrupt.
        Unavailable: the database does not answer.
    """
    subjects = list(dict.fromkeys(person.id for person in people))
    policy_set = services.policies.active(tenant).policy_set
    clocks = await services.clocks.of(tenant, subjects)
    claims_itself = _claims_itself(policy_set, purpose)
    dates = await _dates(services, tenant, bodies, every=not claims_itself)
    # A review does not extend a purpose's own claim, so it matters only to purposes without one.
    kept = {} if claims_itself else await fetch_kept_days(services.data, tenant, subjects)
    by_person: dict[SubjectId, dict[tuple[str, UUID], Mapping[str, int]]] = {subject: {} for subject in subjects}
    for (subject, collection, record), days in kept.items():
        by_person[subject][collection, record] = days
    today, moment = now.date().toordinal(), to_microseconds(now)
    by_subject = {}
    for person in people:
        state, retained = unpack_state(person.standing), person.state == "retained"
        ends = _ends(policy_set, purpose, state, clocks[person.id], now, retained=retained)
        only_held = retained and purpose.name not in state.kept_for
        by_subject[person.id] = Gate(ends, purpose, state, today, by_person[person.id], dates, moment, only_held)
    return by_subject


def bodies_of(found: StoredSubject) -> Iterator[Body]:
    """Yield the fetched records of a subject."""
    if found.profile is not None:
        yield Body(found.id, PROFILE, found.id, found.profile)
    for rows in found.many.values():
        for row in rows:
            yield Body(found.id, row.collection, row.id, row.body)


def _ends(
    policy_set: PolicySet,
    purpose: Purpose,
    consent_state: ConsentState,
    clocks: Clocks,
    now: datetime,
    *,
    retained: bool,
) -> Ends:
    if not _claims_itself(policy_set, purpose):
        return ends_of(policy_set, consent_state, clocks, now, retained=retained)
    # While the purpose's own claim runs, the value is not over, so this claim and the limits decide alone. Steps 6 and
    # 7 have checked that the purpose applies to the subject.
    subject = SubjectFacts({str(purpose.name): None}, clocks, now.date().toordinal(), retained)
    return Ends(_schedule_of_one(policy_set, purpose), subject)


@lru_cache(maxsize=1024)
def _schedule_of_one(policy_set: PolicySet, purpose: Purpose) -> Schedule:
    return Schedule(policy_set.catalogue, {str(purpose.name): purpose}, policy_set.schedule)


def _claims_itself(policy_set: PolicySet, purpose: Purpose) -> bool:
    """Return whether a purpose claims every value that it may read, of each subject to whom it applies."""
    has_rule = purpose.name in policy_set.schedule.rules
    return purpose.collects and has_rule and purpose.legal_basis != LegalBasis.LEGAL_OBLIGATION


async def _dates(services: Services, tenant: TenantId, bodies: Iterable[Body], *, every: bool) -> dict[UUID, Dates]:
    """Fetch when records happened and were stored, for records whose bodies do not have it (older ones).

    The day of storage matters only to values that no purpose claims; then it is fetched for every record.
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
    services: Services, tenant: TenantId, people: Iterable[StoredSubject | None]
) -> dict[SubjectId, frozenset[str]]:
    """Return the names of profile values that are over, whether or not a sweep has run yet.

    Such values must not be used to find, compare or contact a subject.

    Returns:
        the names by subject; a subject without a profile is left out.

    Raises:
        CannotOpen: a profile is corrupt.
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
        ends = ends_of(policy_set, unpack_state(each.standing), clocks[subject], now, retained=each.state == "retained")
        values = values_of(row, unpack(each.profile or b""), kept.get((subject, PROFILE, record)), collection=PROFILE)
        today = now.date().toordinal()
        found[subject] = frozenset(name for name, value in values.items() if ends.of(value).is_over(today))
    return found


async def kept_back(services: Services, tenant: TenantId, subject: SubjectId, decision: Decision) -> dict[str, Refusal]:
    """Return why no value of a field is shown although there is one, by the requested name.

    Raises:
        CannotOpen: a record is corrupt.
        Unavailable: the database does not answer.
    """
    many = tuple(sorted({view.field.collection for _name, view in decision.granted} - {PROFILE}))
    (found,) = await services.subjects.find(SubjectQuery(tenant, (subject,), profile=True, many=many))
    if found is None:
        return {}
    bodies = list(bodies_of(found))
    gate = (await gates(services, tenant, decision.purpose, [found], bodies, services.clock.now()))[subject]
    refusals = {}
    for name, view in decision.granted:
        answers = list(_answers(gate, bodies, view))
        if answers and all(answers):
            refusals[name] = HELD if HELD in answers else RETENTION_OVER
    return refusals


def _answers(gate: Gate, bodies: list[Body], view: FieldView) -> Iterator[Refusal | None]:
    """Yield the refusal of each value of a field; None for a value that is shown."""
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
