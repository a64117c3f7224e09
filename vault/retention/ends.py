"""Until when each value of a subject is kept, and on which grounds: the latest claim, bounded by limits. Pure.

Days are ordinals of the proleptic Gregorian calendar (``date.toordinal``) in UTC. A day until which something is kept
is included; None means no end yet. Reads, packages, erasures, the sweep and ``cdv retention why`` share this answer.

Consent meets retention here: a withdrawn consent, an upheld objection or a purpose that is over ends the claim of the
purpose. A restriction (Art. 18) does not: restricted data is kept and not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vault.catalogue.model import HOME
from vault.catalogue.retention_actions import ERASE, REVIEW, Effect, action_of, is_view, views_in
from vault.clock import EPOCH
from vault.consent.legal_ground import purpose_ground
from vault.consent.model import EXPLICIT, UNSAID
from vault.retention.clocks import NO_CLOCKS, anchor, relationship, relationship_ended
from vault.retention.schedule import DAY, Schedule, day_after, ending_of, period_of
from vault.subjects.rows import happened_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vault.catalogue.model import Purpose
    from vault.catalogue.periods import Period
    from vault.catalogue.retention import Limit, Relationship, Since
    from vault.consent.model import ConsentState, PurposeState
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.retention.schedule import Term
    from vault.subjects.rows import Stored


UNCLAIMED: Final = "unclaimed"
EXPIRES: Final = "expires"
REVIEWED: Final = "reviewed"
RETAINED: Final = "retained"
MOST_CACHED: Final = 4096
NEVER: Final = date.max.toordinal()
"""The last day of the calendar: at least until then a law demands what has no end yet."""
FIRST_DAY: Final = date.min.toordinal()
NOT_AT_ALL: Final = 0
_FOREVER: Final = NEVER + 1


@dataclass(frozen=True, slots=True)
class SubjectData:
    """The stored data about a subject from which the ends of its values follow.

    Attributes:
        row: the subject's.
        records: rows of the subject's records: all of them, unless a subclass says otherwise.
        clocks: the subject's clocks.
    """

    row: Any
    records: Sequence[Any]
    clocks: Clocks = NO_CLOCKS


class Value(NamedTuple):
    """The metadata of one value.

    Attributes:
        field: the whole name of its field.
        start: the day from which it counts: for the profile the day of collection, else the day of its record.
        purpose: the purpose for which it was collected.
        source: the source from which it was collected.
        collected: the day on which it was collected.
        expires: the last day on which it may be shown, if that was set with the value itself.
        form: the whole name of the view to which it was generalised; None if it is as it was collected.
        kept_until: the last day on which a review keeps it.
        arrived: the day on which its record was stored, which may be long after the collection.
    """

    field: str
    start: int
    purpose: str | None = None
    source: str | None = None
    collected: int | None = None
    expires: int | None = None
    form: str | None = None
    kept_until: int | None = None
    arrived: int | None = None


class Dates(NamedTuple):
    """The days on which a record happened and was stored; the latter is None if it is unknown."""

    happened: int
    arrived: int | None


class Claim(NamedTuple):
    """Why a value is kept.

    Attributes:
        ground: the purpose, or :data:`REVIEWED`.
        until: the last day; None if there is no end yet.
        least: the last day on which a law demands it.
        counted_from: the day from which the period counts; None if that event has not happened.
        since: what that day is.
        period: how long; None if the claim has no period.
        then: what happens at its end.
        views: the whole names of the views that it needs; empty for all.
        law: whether it is a legal obligation.
        lost: whether the ground ended before the period did.
        demands: for a legal obligation, how long it demands a value.
    """

    ground: str
    until: int | None
    least: int | None = None
    counted_from: int | None = None
    since: Since | None = None
    period: Period | None = None
    then: str = ERASE
    views: frozenset[str] = frozenset()
    law: bool = False
    lost: bool = False
    demands: Period | None = None

    def runs(self, today: int) -> bool:
        """Return whether it is not over."""
        return self.until is None or self.until >= today

    def is_demanded(self, today: int) -> bool:
        """Return whether a law still demands the value."""
        return self.law and self.least is not None and self.least >= today

    def needs(self, view: str | None) -> bool:
        """Return whether it needs a view, by its whole name; None stands for any view."""
        return view is None or not self.views or view in self.views


class Ending(NamedTuple):
    """Until when a value is kept.

    Attributes:
        claims: all of them, the latest first.
        served_until: the last day on which it may be shown for any purpose; None if there is no end yet.
        least_until: the last day on which a law demands it; None if no law does.
        by: what decides ``served_until``: a purpose, ``limit:NAME``, or one of the constants above.
        then: what happens after it: an action of :mod:`vault.catalogue.retention_actions`.
        kept_until: the last day on which a review keeps it.
        idle: claims of laws that do not concern this subject. They keep nothing, but they bound for how long the
            purpose sees the value.
    """

    claims: tuple[Claim, ...]
    served_until: int | None
    least_until: int | None
    by: str
    then: str
    kept_until: int | None = None
    idle: tuple[Claim, ...] = ()

    @property
    def until(self) -> int | None:
        """Return the last day on which it exists."""
        if self.served_until is None:
            return None
        return max(self.served_until, self.least_until or 0, self.kept_until or 0)

    def is_over(self, today: int) -> bool:
        """Return whether it may no longer be shown, except for a law that demands it."""
        return self.served_until is not None and self.served_until < today

    def may_go(self, today: int) -> bool:
        """Return whether nothing keeps it. Holds are not considered: check them in addition."""
        return self.until is not None and self.until < today

    def serves(self, purpose: str, today: int, view: str | None = None) -> bool:
        """Return whether it may be shown for a purpose: while the purpose's own claim runs, if it has one.

        Args:
            view: the view, by its whole name; None for any view that the purpose needs.
        """
        claims = [claim for claim in (*self.claims, *self.idle) if claim.ground == purpose and claim.needs(view)]
        if claims and not any(claim.runs(today) for claim in claims):
            return False
        # What is over by a limit and still demanded by a law is shown for that law's purpose only.
        return not self.is_over(today) or any(claim.is_demanded(today) for claim in claims)


@dataclass(frozen=True, slots=True)
class SubjectFacts:
    """The facts about a subject that decide over retention.

    Attributes:
        applies: the purposes that apply or did, each with the last day on which its ground exists (end of a consent,
            day before a withdrawal); None if no end is known. A purpose that never applied is left out.
        retained: whether the subject was erased and a law keeps values; each of these values has its own last day.
    """

    applies: Mapping[str, int | None]
    clocks: Clocks
    today: int
    retained: bool = False


class Ends:
    """Computes the ends of one subject's values; equal metadata is computed once."""

    def __init__(self, schedule: Schedule, subject: SubjectFacts) -> None:
        self._schedule = schedule
        self._subject = subject
        self.relationship: Relationship = relationship(subject.clocks, schedule.retention, subject.today)
        self._cache: dict[Value, Ending] = {}

    @property
    def turns_on(self) -> int | None:
        """Return the future day on which the relationship ends by inactivity, and periods change; None if unknown."""
        ended = relationship_ended(self._subject.clocks, self._schedule.retention)
        return None if ended is None or ended < self._subject.today else ended + 1

    def of(self, value: Value) -> Ending:
        """Return until when a value is kept."""
        ending = self._cache.get(value)
        if ending is None:
            if len(self._cache) >= MOST_CACHED:
                self._cache.clear()
            ending = self._cache[value] = self._compute(value)
        return ending

    def _compute(self, value: Value) -> Ending:
        if self._subject.retained:
            return Ending((), value.expires, value.expires, RETAINED, ERASE)
        all_claims = [claim for term in self._schedule.terms(value.field) if (claim := self._claim(term, value))]
        if value.form is not None:
            all_claims = [claim for claim in all_claims if value.form in claim.views]
        claims = sorted((claim for claim in all_claims if not _is_idle(claim)), key=_latest_first)
        until, by, then = _decided(claims, value) if claims else self._unclaimed(value)
        if value.kept_until is not None:
            claims = sorted([*claims, Claim(REVIEWED, value.kept_until, then=REVIEW)], key=_latest_first)
            if until is not None and until < value.kept_until:
                until, by, then = value.kept_until, REVIEWED, REVIEW
        for limit, end in self.limits(value):
            if end is not None and (until is None or end < until):
                until, by, then = end, f"limit:{limit.name}", limit.then
        if value.expires is not None and (until is None or value.expires < until):
            until, by, then = value.expires, EXPIRES, ERASE
        least = max((claim.least for claim in claims if claim.least is not None), default=None)
        return Ending(tuple(claims), until, least, by, then, value.kept_until, tuple(filter(_is_idle, all_claims)))

    def limits(self, value: Value) -> list[tuple[Limit, int | None]]:
        """List the limits on a value, each with the last day that it allows; None if there is no end yet."""
        return [
            (limit, day_after(limit.most, self._from(limit.since, value.start, value)))
            for limit in self._schedule.limits(value.field)
            if not limit.sources or value.source in limit.sources
        ]

    def _claim(self, term: Term, value: Value) -> Claim | None:
        name, rule = term.purpose.name, term.rule
        bound = self._subject.applies.get(name, NOT_AT_ALL)
        if bound is not None and bound < value.start:
            return None  # the ground ended before the value was collected
        period = period_of(rule, term.shown[0], self.relationship)
        brought = self._by_law(term, value) if term.law else value.start
        from_day = self._from(rule.since, value.start if brought is None else brought, value)
        if brought is not None and _order(day_after(period, from_day)) < value.start:
            brought, from_day = None, self._from(rule.since, value.start, value)
        end = day_after(period, from_day)
        lost = bound is not None and bound < _order(end)
        least = None
        if term.law and brought is not None:
            least = min(_order(day_after(rule.least or period, from_day)), NEVER if bound is None else bound, NEVER)
        return Claim(
            ground=name,
            until=bound if lost else end,
            least=least,
            counted_from=from_day,
            since=rule.since,
            period=period,
            then=ending_of(rule, value.field),
            views=term.views,
            law=term.law,
            lost=lost,
            demands=rule.least or period if term.law else None,
        )

    def _by_law(self, term: Term, value: Value) -> int | None:
        """Return the day from which a law demands a value; None if no record brings the obligation about.

        A record of a collection is demanded from its own day, if the obligation was running then.
        """
        days = [day for name, day in self._subject.clocks.newest.items() if name in term.bringing]
        brought = max(days, default=None)
        if not value.field.startswith(f"{HOME}."):
            return value.start if brought is not None and self._ran(term, brought, value) else None
        own = value.collected if term.purpose.name == value.purpose else None
        return max((day for day in (brought, own) if day is not None), default=None)

    def _ran(self, term: Term, brought: int, value: Value) -> bool:
        if brought >= value.start:
            return True
        rule = term.rule
        from_day = self._from(rule.since, brought, value)
        periods = (rule.keep, *rule.fields.values(), *rule.categories.values(), *rule.by_relationship.values())
        return any(_order(day_after(period, from_day)) >= value.start for period in periods)

    def _from(self, since: Since, start: int, value: Value) -> int | None:
        return anchor(since, self._subject.clocks, self._schedule.retention, start, value.source)

    def _unclaimed(self, value: Value) -> tuple[int, str, str]:
        """Return when a value that no purpose claims is over: some time after it was stored, so a ground may follow."""
        arrived = max(value.start, value.arrived or 0)
        until = self._schedule.retention.unclaimed.after(date.fromordinal(arrived)).toordinal()
        # A field that the catalogue no longer declares may have been removed by mistake: review it before it is erased.
        return until, UNCLAIMED, ERASE if self._schedule.declares(value.field) else REVIEW


def _is_idle(claim: Claim) -> bool:
    return claim.law and claim.least is None


def _decided(claims: Sequence[Claim], value: Value) -> tuple[int | None, str, str]:
    """Return when the claims on a value are over, which of them is the last, and what happens then.

    If a claim says that a view takes the value's place, claims that need only this view do not keep the value itself.
    The view takes its place only if one of them still runs then.
    """
    last = claims[0]
    if value.form is None:
        for view in views_in(claim.then for claim in claims):
            rest = [claim for claim in claims if claim.views != {view}]
            if any(claim.then == view for claim in rest) and _order(last.until) > _order(rest[0].until):
                then = rest[0].then if action_of(rest[0].then).effect is Effect.RETAIN else view
                return rest[0].until, rest[0].ground, then
    return last.until, last.ground, ERASE if is_view(last.then) else last.then


def _latest_first(claim: Claim) -> tuple[int, int, str]:
    return -_order(claim.until), action_of(claim.then).strictness, claim.ground


def _order(until: int | None) -> int:
    return _FOREVER if until is None else until


@lru_cache(maxsize=64)
def schedule_of(policy_set: PolicySet) -> Schedule:
    """Return the retention schedule of a policy version."""
    return Schedule(policy_set.catalogue, policy_set.purposes, policy_set.schedule)


def ends_of(
    policy_set: PolicySet, consent_state: ConsentState, clocks: Clocks, now: datetime, *, retained: bool = False
) -> Ends:
    """Return the ends of a subject's values, by the subject's consent state and clocks.

    Args:
        retained: whether the subject was erased and a law keeps values.
    """
    subject = SubjectFacts(applies(policy_set, consent_state, now), clocks, now.date().toordinal(), retained)
    return Ends(schedule_of(policy_set), subject)


def applies(policy_set: PolicySet, consent_state: ConsentState, now: datetime) -> dict[str, int | None]:
    """Return the purposes that apply to a subject, or did, each with its last day; None if no end is known.

    A purpose whose consent was never given is left out, and so is one that is not yet in force.
    """
    today = now.date()
    purposes: dict[str, int | None] = {}
    for name, purpose in policy_set.purposes.items():
        said = consent_state.purposes.get(name, UNSAID)
        if not _ever_applied(policy_set, purpose, said, today):
            continue
        ends = [None if purpose.valid_until is None else purpose.valid_until.toordinal()]
        if purpose.rests_on_consent:
            ends += _consented_until(policy_set, purpose, said, today)
        if said.objection == "upheld" and said.objected_at is not None:
            ends.append(_day_before(said.objected_at))
        purposes[name] = min((day for day in ends if day is not None), default=None)
    return purposes


def values_of(
    row: Any, body: Mapping[str, Stored], kept: Mapping[str, int] | None = None, *, collection: str | None = None
) -> dict[str, Value]:
    """Return the metadata of a record's values, by their names in its body.

    Args:
        kept: the last day on which a review keeps a value, by name.
        collection: the record's collection, if the row does not have it.
    """
    collection = collection or str(row.collection)
    dates = Dates(day_of(happened_at(row, body)), row.created_at.date().toordinal())
    return {
        name: value_of(collection, name, stored, dates, None if kept is None else kept.get(name))
        for name, stored in body.items()
    }


def value_of(collection: str, name: str, stored: Stored, dates: Dates, kept_until: int | None = None) -> Value:
    """Return the metadata of one value.

    Args:
        name: its name in the body: ``field``, or for a generalised value ``field.view``.
        dates: of its record.
        kept_until: the last day on which a review keeps it.
    """
    field, _, view = name.partition(".")
    collected = None if stored.collected_at is None else day_of(stored.collected_at)
    start = collected if collection == HOME and collected is not None else dates.happened
    return Value(
        field=f"{collection}.{field}",
        start=start,
        purpose=stored.purpose,
        source=stored.source,
        collected=collected,
        expires=None if stored.expires_at is None else day_of(stored.expires_at - 1),
        form=f"{collection}.{name}" if view else None,
        kept_until=kept_until,
        arrived=dates.arrived,
    )


def day_of(microseconds: int) -> int:
    """Return the ordinal of the day (UTC) of a moment; of one before the calendar, that of its first day."""
    # The moment before 0001-01-01, the last one of a value that ended then: earlier versions took such times.
    return max(microseconds // DAY + EPOCH.toordinal(), FIRST_DAY)


def _day_before(microseconds: int) -> int:
    return max(day_of(microseconds) - 1, FIRST_DAY)


def _ever_applied(policy_set: PolicySet, purpose: Purpose, said: PurposeState, today: date) -> bool:
    if purpose.valid_from is not None and today < purpose.valid_from:
        return False
    if not purpose.rests_on_consent:
        return True
    explicit = purpose_ground(policy_set, purpose, today).explicit
    if said.state == "given" and explicit and said.method not in EXPLICIT:
        return False  # Art. 9(2)(a): an implicit consent is no consent where an explicit one is needed
    return said.state not in {"none", "pending"}


def _consented_until(
    policy_set: PolicySet, purpose: Purpose, said: PurposeState, today: date
) -> tuple[int | None, ...]:
    """Return the last days of a consent.

    A withdrawn consent ended with the day before. A consent to a notice with a newer material version is no longer
    used, but its values are kept for a while, so that subjects can be asked again.
    """
    expires = None if said.valid_until is None else day_of(said.valid_until - 1)
    if said.state in {"refused", "withdrawn"}:
        return (expires, _day_before(said.since))
    if said.state == "expired":
        return (expires, day_of(said.since - 1))
    if said.notice in purpose_ground(policy_set, purpose, today).notices:
        return (expires,)
    return (expires, _overtaken_until(policy_set, purpose, said, today))


def _overtaken_until(policy_set: PolicySet, purpose: Purpose, said: PurposeState, today: date) -> int:
    """Return the last day of values that rest on a consent to an older notice; yesterday if the start is unknown."""
    name, _, number = (said.notice or "").partition("@")
    days = [
        notice.valid_from
        for notice in policy_set.notices.versions(name)
        if number.isdecimal() and notice.version > int(number) and notice.material and notice.in_force(today)
    ]
    if purpose.notice is None or purpose.notice.partition("@")[0] != name or not days or None in days:
        return today.toordinal() - 1
    first = min(day for day in days if day is not None)
    return policy_set.schedule.unclaimed.after(first).toordinal()
