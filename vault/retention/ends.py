"""Until when each value of a person is kept, and on which grounds: the latest claim, bounded by limits. Pure.

Days are counted as the proleptic calendar does (``date.toordinal``), in UTC; a day until which something is kept is
still included, and none stands for no end yet. There is one answer for reads, packages, erasures, the sweep and
``cdv retention why``.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.catalogue.model import HOME
from vault.catalogue.retention import ENDINGS, ERASE, RESTRICT, REVIEW, Since
from vault.retention.clocks import anchor, relationship

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vault.catalogue.retention import Limit, Period
    from vault.retention.clocks import Clocks
    from vault.retention.schedule import Schedule, Term

UNCLAIMED: Final = "unclaimed"
EXPIRES: Final = "expires"
REVIEWED: Final = "reviewed"
_STRICTEST: Final = (ERASE, RESTRICT, REVIEW)
MOST_KEPT: Final = 4096
_FOREVER: Final = date.max.toordinal() + 1


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
    """

    field: str
    start: int
    purpose: str | None = None
    source: str | None = None
    collected: int | None = None
    expires: int | None = None
    form: str | None = None
    kept_until: int | None = None


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
        views: the views that it needs; empty: all.
        law: whether a law demands it.
        lost: whether the ground ended before the period did.
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


class Ending(NamedTuple):
    """Until when a value is kept.

    Attributes:
        claims: all of them, the latest first.
        served_until: the last day on which it may be shown for anything.
        least_until: the last day on which a law demands it; none: no law does.
        by: what decided ``served_until``: a purpose, ``limit:NAME``, or one of the constants above.
        then: what happens after it: one of :data:`~vault.catalogue.retention.ENDINGS`, or the whole name of a view.
    """

    claims: tuple[Claim, ...]
    served_until: int | None
    least_until: int | None
    by: str
    then: str

    @property
    def until(self) -> int | None:
        """Return the last day on which it is there at all."""
        return None if self.served_until is None else max(self.served_until, self.least_until or 0)

    def is_over(self, today: int) -> bool:
        """Tell whether it may not be shown any more, but by the law that demands it."""
        return self.served_until is not None and self.served_until < today

    def may_go(self, today: int) -> bool:
        """Tell whether nothing keeps it any more; a hold may, and is not known here."""
        return self.until is not None and self.until < today

    def serves(self, purpose: str, today: int) -> bool:
        """Tell whether it may be shown for a purpose: as long as the purpose's own claim runs, if it has one.

        What is over by a limit, and still demanded by a law, is shown for that law's purpose only.
        """
        own = next((claim for claim in self.claims if claim.ground == purpose), None)
        if own is not None and own.until is not None and own.until < today:
            return False
        if not self.is_over(today):
            return True
        return own is not None and own.law and own.least is not None and own.least >= today


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
        self._relationship = relationship(person.clocks, schedule.retention, person.today)
        self._kept: dict[Value, Ending] = {}

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
            return Ending((), value.expires, value.expires, EXPIRES, ERASE)
        claims = [claim for term in self._schedule.terms(value.field) if (claim := self._claim(term, value))]
        if value.form is not None:
            claims = [claim for claim in claims if value.form in claim.views]
        if value.kept_until is not None:
            claims.append(Claim(REVIEWED, value.kept_until, then=REVIEW))
        claims.sort(key=_latest_first)
        until, by, then = _decided(claims, value) if claims else (self._unclaimed(value), UNCLAIMED, ERASE)
        for limit in self._schedule.limits(value.field):
            end = self._limited(limit, value)
            if end is not None and (until is None or end < until):
                until, by, then = end, f"limit:{limit.name}", limit.then
        if value.expires is not None and (until is None or value.expires < until):
            until, by, then = value.expires, EXPIRES, ERASE
        if value.form is not None and then not in ENDINGS:
            then = ERASE
        least = max((claim.least for claim in claims if claim.least is not None), default=None)
        return Ending(tuple(claims), until, least, by, then)

    def _claim(self, term: Term, value: Value) -> Claim | None:
        name = term.purpose.name
        if name not in self._person.applies:
            return None
        start = self._by_law(term, value) if term.law else value.start
        if start is None:
            return None
        rule = term.rule
        periods = [rule.period(view, self._relationship) for view in term.shown]
        from_day = anchor(rule.since, self._person.clocks, self._schedule.retention, start, value.source)
        end, period = max(((_after(each, from_day), each) for each in periods), key=lambda pair: _order(pair[0]))
        bound = self._person.applies[name]
        lost = bound is not None and bound < _order(end)
        least = _after(rule.least or period, from_day) if term.law else None
        if term.law and least is None:
            least = _FOREVER - 1
        return Claim(
            ground=name,
            until=bound if lost else end,
            least=least,
            counted_from=from_day,
            since=rule.since,
            period=period,
            then=rule.ending(value.field),
            views=term.views,
            law=term.law,
            lost=lost,
        )

    def _by_law(self, term: Term, value: Value) -> int | None:
        """Tell from which day on a law demands a value; none where nothing brings it about."""
        newest = self._person.clocks.newest
        brought = max((day for name, day in newest.items() if name in term.bringing), default=None)
        if not value.field.startswith(f"{HOME}."):
            return None if brought is None else value.start
        own = value.collected if term.purpose.name == value.purpose else None
        return max((day for day in (brought, own) if day is not None), default=None)

    def _unclaimed(self, value: Value) -> int:
        return self._schedule.retention.unclaimed.after(date.fromordinal(value.start)).toordinal()

    def _limited(self, limit: Limit, value: Value) -> int | None:
        if limit.sources and value.source not in limit.sources:
            return None
        clocks, retention = self._person.clocks, self._schedule.retention
        return _after(limit.most, anchor(limit.since, clocks, retention, value.start, value.source))


def _decided(claims: Sequence[Claim], value: Value) -> tuple[int | None, str, str]:
    """Tell when the claims on a value are over, which was the last, and what happens then.

    Where a view is to take a value's place, those who need no more than that view do not keep the value itself.
    """
    if value.form is None:
        for view in sorted({claim.then for claim in claims} - ENDINGS):
            rest = [claim for claim in claims if claim.views != {view}]
            if rest and rest[0].then == view and rest[0].until is not None and len(rest) < len(claims):
                return rest[0].until, rest[0].ground, view
    last = claims[0]
    return last.until, last.ground, last.then if last.then in ENDINGS else ERASE


def _latest_first(claim: Claim) -> tuple[int, int, str]:
    strict = _STRICTEST.index(claim.then) if claim.then in _STRICTEST else len(_STRICTEST)
    return -_order(claim.until), strict, claim.ground


def _order(until: int | None) -> int:
    return _FOREVER if until is None else until


def _after(period: Period, start: int | None) -> int | None:
    return None if start is None else period.after(date.fromordinal(start)).toordinal()
