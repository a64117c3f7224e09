"""Until when each value of a person is kept, and on which grounds: the latest claim, bounded by limits. Pure.

Days are counted as the proleptic calendar does (``date.toordinal``), in UTC; a day until which something is kept is
still included, and none stands for no end yet. There is one answer for reads, packages, erasures, the sweep and
``cdv retention why``.

Which purposes apply to a person, since when not any more, and so until when each of their values is kept. Pure.

This is where consent meets retention: a consent taken back, an objection upheld or a purpose that is over ends the
claim of the purpose. A restriction (Art. 18) does not: restricted data is kept, and not used.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vault.catalogue.model import HOME
from vault.catalogue.retention_actions import ERASE, REVIEW, Effect, action_of, is_view, views_in
from vault.clock import EPOCH
from vault.consent.event import EXPLICIT
from vault.consent.legal_ground import purpose_ground
from vault.consent.state import UNSAID
from vault.retention.clocks import anchor, relationship, relationship_ended
from vault.retention.schedule import DAY, Schedule, day_after, ending_of, period_of
from vault.subjects.record_body import happened_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vault.catalogue.model import Purpose
    from vault.catalogue.retention import Limit, Period, Relationship, Since
    from vault.consent.state import ConsentState, PurposeState
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.retention.schedule import Term
    from vault.subjects.record_body import Stored


UNCLAIMED: Final = "unclaimed"
EXPIRES: Final = "expires"
REVIEWED: Final = "reviewed"
RETAINED: Final = "retained"
MOST_KEPT: Final = 4096
NEVER: Final = date.max.toordinal()
"""The last day of the calendar: until then at least a law demands what has no end yet."""
NOT_AT_ALL: Final = 0
_FOREVER: Final = NEVER + 1


class Value(NamedTuple):
    """One value, without itself.

    Attributes:
        field: its whole name.
        start: the day from which on it counts: of the profile when it was collected, else when its record happened.
        purpose: for which purpose it came in.
        source: from which source.
        collected: on which day it was collected.
        expires: the last day on which it may be shown, where that was set with the value itself.
        form: the whole name of the view to which it was generalised; none: it is as it was collected.
        kept_until: the last day on which a review keeps it.
        arrived: on which day its record came into the vault, which may be long after it was collected.
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


class Claim(NamedTuple):
    """Why a value is kept.

    Attributes:
        ground: the purpose, or :data:`REVIEWED`.
        until: the last day; none: no end yet.
        least: until when a law demands it.
        counted_from: the day from which the period counts; none: what it waits for has not happened.
        since: what that day is.
        period: how long; none where the claim ended with its ground (consent withdrawn) or has no period.
        then: what happens at its end.
        views: the whole names of the views that it needs; empty: all.
        law: whether a law demands it.
        lost: whether the ground ended before the period did.
        demands: of a law, how long it demands a value.
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
        """Tell whether it is not over."""
        return self.until is None or self.until >= today

    def is_demanded(self, today: int) -> bool:
        """Tell whether a law demands the value still."""
        return self.law and self.least is not None and self.least >= today

    def needs(self, view: str | None) -> bool:
        """Tell whether it is about a view, by its whole name; none stands for any."""
        return view is None or not self.views or view in self.views


class Ending(NamedTuple):
    """Until when a value is kept.

    Attributes:
        claims: all of them, the latest first.
        served_until: the last day on which it may be shown for anything; none: no end yet.
        least_until: the last day on which a law demands it; none: no law does.
        by: what decided ``served_until``: a purpose, ``limit:NAME``, or one of the constants above.
        then: what happens after it: an action of :mod:`vault.catalogue.retention_actions`.
        kept_until: the last day on which a review keeps it, whatever else ends it.
        idle: of laws that nothing has brought about for this person, until when they would claim it: they keep nothing,
            and do not see it for longer.
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
        """Return the last day on which it is there at all."""
        if self.served_until is None:
            return None
        return max(self.served_until, self.least_until or 0, self.kept_until or 0)

    def is_over(self, today: int) -> bool:
        """Tell whether it may not be shown any more, but by the law that demands it."""
        return self.served_until is not None and self.served_until < today

    def may_go(self, today: int) -> bool:
        """Tell whether nothing keeps it any more; a hold may, and is not known here."""
        return self.until is not None and self.until < today

    def serves(self, purpose: str, today: int, view: str | None = None) -> bool:
        """Tell whether it may be shown for a purpose: as long as the purpose's own claim runs, if it has one.

        What is over by a limit, and still demanded by a law, is shown for that law's purpose only.

        Args:
            purpose: for which.
            today: the day.
            view: as which view, by its whole name; none: as any that the purpose needs.
        """
        own = [each for each in (*self.claims, *self.idle) if each.ground == purpose and each.needs(view)]
        if own and not any(each.runs(today) for each in own):
            return False
        return not self.is_over(today) or any(each.is_demanded(today) for each in own)


class Person(NamedTuple):
    """What of a person decides.

    Attributes:
        applies: the purposes that apply or did, each with the last day on which it does by itself (consent given
            until, taken back on); none: no end in sight. A purpose that never applied is left out.
        clocks: their clocks.
        today: the day.
        retained: whether the person was erased and a law keeps something: then each value says itself until when.
    """

    applies: Mapping[str, int | None]
    clocks: Clocks
    today: int
    retained: bool = False


class Ends:
    """The ends of one person's values; what is worked out once is kept for its like.

    Args:
        schedule: what the policies say.
        person: what of the person decides.
    """

    def __init__(self, schedule: Schedule, person: Person) -> None:
        self._schedule = schedule
        self._person = person
        self.relationship: Relationship = relationship(person.clocks, schedule.retention, person.today)
        self._kept: dict[Value, Ending] = {}

    @property
    def turns_on(self) -> int | None:
        """Return the day on which the relationship ends by itself, and periods with it; none: no such day ahead."""
        ended = relationship_ended(self._person.clocks, self._schedule.retention)
        return None if ended is None or ended < self._person.today else ended + 1

    def of(self, value: Value) -> Ending:
        """Tell until when a value is kept."""
        found = self._kept.get(value)
        if found is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            found = self._kept[value] = self._of(value)
        return found

    def _of(self, value: Value) -> Ending:
        if self._person.retained:
            return Ending((), value.expires, value.expires, RETAINED, ERASE)
        found = [claim for term in self._schedule.terms(value.field) if (claim := self._claim(term, value))]
        if value.form is not None:
            found = [claim for claim in found if value.form in claim.views]
        claims = sorted((each for each in found if not _is_idle(each)), key=_latest_first)
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
        return Ending(tuple(claims), until, least, by, then, value.kept_until, tuple(filter(_is_idle, found)))

    def limits(self, value: Value) -> list[tuple[Limit, int | None]]:
        """List the limits under which a value comes, each with the last day that it allows; none: no end yet."""
        return [
            (limit, day_after(limit.most, self._from(limit.since, value.start, value)))
            for limit in self._schedule.limits(value.field)
            if not limit.sources or value.source in limit.sources
        ]

    def _claim(self, term: Term, value: Value) -> Claim | None:
        name, rule = term.purpose.name, term.rule
        bound = self._person.applies.get(name, NOT_AT_ALL)
        if bound is not None and bound < value.start:
            return None  # it was over before the value came in
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
        """Tell from which day on a law demands a value; none where nothing brings it about.

        A record of many is demanded from its own day on, if the obligation was running then.
        """
        days = [day for name, day in self._person.clocks.newest.items() if name in term.bringing]
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
        return anchor(since, self._person.clocks, self._schedule.retention, start, value.source)

    def _unclaimed(self, value: Value) -> tuple[int, str, str]:
        """Tell when what nobody claims is over: some time after it came in, so that a ground may follow.

        What the catalogue declares no longer may be missing there by mistake: somebody has to look at it first.
        """
        came_in = max(value.start, value.arrived or 0)
        until = self._schedule.retention.unclaimed.after(date.fromordinal(came_in)).toordinal()
        return until, UNCLAIMED, ERASE if self._schedule.declares(value.field) else REVIEW


def _is_idle(claim: Claim) -> bool:
    return claim.law and claim.least is None


def _decided(claims: Sequence[Claim], value: Value) -> tuple[int | None, str, str]:
    """Tell when the claims on a value are over, which was the last, and what happens then.

    Where one of those who need more says that a view is to take the value's place, those who need no more than that
    do not keep the value itself. It does so only for somebody who still needs it then.
    """
    last = claims[0]
    if value.form is None:
        for view in views_in(claim.then for claim in claims):
            rest = [claim for claim in claims if claim.views != {view}]
            if any(each.then == view for each in rest) and _order(last.until) > _order(rest[0].until):
                then = rest[0].then if action_of(rest[0].then).effect is Effect.RETAIN else view
                return rest[0].until, rest[0].ground, then
    return last.until, last.ground, ERASE if is_view(last.then) else last.then


def _latest_first(claim: Claim) -> tuple[int, int, str]:
    return -_order(claim.until), action_of(claim.then).strictness, claim.ground


def _order(until: int | None) -> int:
    return _FOREVER if until is None else until


@lru_cache(maxsize=64)
def schedule_of(policy_set: PolicySet) -> Schedule:
    """Return what a policy version says of each field's retention."""
    return Schedule(policy_set.catalogue, policy_set.purposes, policy_set.schedule)


def ends_of(
    policy_set: PolicySet, standing: ConsentState, clocks: Clocks, now: datetime, *, retained: bool = False
) -> Ends:
    """Return what tells until when each value of a person is kept.

    Args:
        policy_set: in force.
        standing: what the person said.
        clocks: when what happened last.
        now: the present.
        retained: whether the person was erased and a law keeps something: then each value says itself until when.
    """
    person = Person(applies(policy_set, standing, now), clocks, now.date().toordinal(), retained)
    return Ends(schedule_of(policy_set), person)


def applies(policy_set: PolicySet, standing: ConsentState, now: datetime) -> dict[str, int | None]:
    """Tell which purposes apply to a person, or did, and until which day each does by itself (none: no end in sight).

    A purpose that rests on a consent which was never given is left out, and one that is still to come.
    """
    today = now.date()
    found: dict[str, int | None] = {}
    for name, purpose in policy_set.purposes.items():
        said = standing.purposes.get(name, UNSAID)
        if not _ever_applied(policy_set, purpose, said, today):
            continue
        ends = [None if purpose.valid_until is None else purpose.valid_until.toordinal()]
        if purpose.rests_on_consent:
            ends += _consented_until(policy_set, purpose, said, today)
        if said.objection == "upheld" and said.objected_at is not None:
            ends.append(day_of(said.objected_at) - 1)
        found[name] = min((day for day in ends if day is not None), default=None)
    return found


def values_of(
    row: Any, body: Mapping[str, Stored], kept: Mapping[str, int] | None = None, *, collection: str | None = None
) -> dict[str, Value]:
    """Describe the values of a record, by the names under which they lie in its body.

    Args:
        row: the record's.
        body: its values.
        kept: the last day on which a review keeps a value, by those names.
        collection: of the record; none: the row tells.
    """
    collection = collection or str(row.collection)
    happened, arrived = day_of(happened_at(row, body)), row.created_at.date().toordinal()
    return {
        name: value_of(collection, name, stored, happened, None if kept is None else kept.get(name), arrived)
        for name, stored in body.items()
    }


def value_of(
    collection: str,
    name: str,
    stored: Stored,
    happened: int,
    kept_until: int | None = None,
    arrived: int | None = None,
) -> Value:
    """Describe one value.

    Args:
        collection: of its record.
        name: under which it lies in the body: of what was generalised, ``field.view``.
        stored: the value.
        happened: the day of its record.
        kept_until: the last day on which a review keeps it.
        arrived: the day on which its record came into the vault.
    """
    field, _, view = name.partition(".")
    collected = None if stored.collected_at is None else day_of(stored.collected_at)
    start = collected if collection == HOME and collected is not None else happened
    return Value(
        field=f"{collection}.{field}",
        start=start,
        purpose=stored.purpose,
        source=stored.source,
        collected=collected,
        expires=None if stored.expires_at is None else day_of(stored.expires_at - 1),
        form=f"{collection}.{name}" if view else None,
        kept_until=kept_until,
        arrived=arrived,
    )


def day_of(microseconds: int) -> int:
    """Return the number of the day (UTC) of a moment, as the proleptic calendar counts days."""
    return microseconds // DAY + EPOCH.toordinal()


def _ever_applied(policy_set: PolicySet, purpose: Purpose, said: PurposeState, today: date) -> bool:
    if purpose.valid_from is not None and today < purpose.valid_from:
        return False
    if not purpose.rests_on_consent:
        return True
    explicit = purpose_ground(policy_set, purpose, today).explicit
    if said.state == "given" and explicit and said.method not in EXPLICIT:
        return False  # never a consent at all to what needs an explicit one (Art. 9(2)(a))
    return said.state not in {"none", "pending"}


def _consented_until(
    policy_set: PolicySet, purpose: Purpose, said: PurposeState, today: date
) -> tuple[int | None, ...]:
    """Tell the last days of a consent.

    One that was taken back ended with the day before. One to a text of which a newer version asks for more is not used
    any more, and what rests on it is kept a while longer, so that people can be asked anew.
    """
    expires = None if said.valid_until is None else day_of(said.valid_until - 1)
    if said.state in {"refused", "withdrawn"}:
        return (expires, day_of(said.since) - 1)
    if said.state == "expired":
        return (expires, day_of(said.since - 1))
    if said.notice in purpose_ground(policy_set, purpose, today).notices:
        return (expires,)
    return (expires, _overtaken_until(policy_set, purpose, said, today))


def _overtaken_until(policy_set: PolicySet, purpose: Purpose, said: PurposeState, today: date) -> int:
    """Tell until when what rests on a consent to an older text is kept; where nobody knows since when, no longer."""
    name, _, number = (said.notice or "").partition("@")
    days = [
        each.valid_from
        for each in policy_set.notices.versions(name)
        if number.isdecimal() and each.version > int(number) and each.material and each.in_force(today)
    ]
    if purpose.notice is None or purpose.notice.partition("@")[0] != name or not days or None in days:
        return today.toordinal() - 1
    first = min(day for day in days if day is not None)
    return policy_set.schedule.unclaimed.after(first).toordinal()
