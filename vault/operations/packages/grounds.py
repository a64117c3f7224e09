"""Which purposes use a person's data at present, and until when they keep it (Art. 15(1)(a) and (d)). Pure."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.catalogue.model import CLEAR, HOME, LegalBasis
from vault.catalogue.retention import Since
from vault.consent.ground import refusal
from vault.operations.decide import purpose_ground
from vault.operations.packages.shapes import Keeping
from vault.storage.columns import EPOCH, to_microseconds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from vault.catalogue.model import Catalogue, Field, FieldView, Purpose
    from vault.catalogue.retention import Period, Rule
    from vault.consent.standing import Standing
    from vault.operations.packages.shapes import InUse
    from vault.operations.packages.survey import Survey
    from vault.policy.policy_set import PolicySet

MOST_KEPT: Final = 4096
DAY: Final = 86_400_000_000
"""Microseconds."""
TAKEN_ALONG: Final = frozenset({LegalBasis.CONSENT, LegalBasis.CONTRACT})
"""Legal bases on which people may take their data along (Art. 20(1)(a))."""
HELD: Final[frozenset[InUse]] = frozenset({"in-use", "restricted"})
"""States of a purpose that go on keeping data; restricted data is stored and not used."""


def states(policy_set: PolicySet, standing: Standing, now: datetime) -> dict[str, InUse]:
    """Tell of each purpose whether it uses the person's data at a moment, and why it does not."""
    return {name: _state(policy_set, purpose, standing, now) for name, purpose in policy_set.purposes.items()}


def _state(policy_set: PolicySet, purpose: Purpose, standing: Standing, now: datetime) -> InUse:
    if not purpose.in_force(now.date()):
        return "not-in-force"
    refused = refusal(purpose_ground(policy_set, purpose, now.date()), standing, to_microseconds(now))
    if refused is None:
        return "in-use"
    codes: dict[str, InUse] = {"objected": "objected", "restricted": "restricted"}
    return codes.get(refused.code, "consent-missing")


def views_of(catalogue: Catalogue, field: Field) -> list[FieldView]:
    """List a field's views, the clear one among them."""
    return [catalogue.view(f"{field.whole}.{view}") for view in (CLEAR, *sorted(field.views))]


class Value(NamedTuple):
    """Where a value comes from; days as the numbers of the proleptic calendar (``date.toordinal``).

    Attributes:
        purpose: for which purpose it came in.
        collected: on which day.
        expires: the end that was set with the value itself, if there is one.
        happened: the day of its record.
    """

    purpose: str | None
    collected: int | None
    expires: int | None
    happened: int


class Term(NamedTuple):
    """How long one purpose keeps a field.

    Attributes:
        purpose: its name.
        periods: of the views that it needs; nearly always one.
        moves: whether they count from the last contact.
        law: whether it rests on a legal obligation.
        brought: the day of the newest record that brings that obligation about; none where there is no such record.
    """

    purpose: str
    periods: frozenset[Period]
    moves: bool
    law: bool
    brought: int | None

    def end(self, value: Value, last_contact: int | None, *, home: bool) -> int | None:
        """Return when a value need not be kept any more; none where the purpose does not concern the person.

        A law that obliges to keep what goes with a purchase counts from that purchase, and obliges to nothing where
        there is none, unless the value was taken down for that very purpose. An erasure decides by the same.
        """
        start = self._by_law(value, home=home) if self.law else value.collected
        if start is None:
            return None
        if self.moves:
            start = max(start, last_contact or start)
        day = date.fromordinal(start)
        return max(period.after(day) for period in self.periods).toordinal()

    def _by_law(self, value: Value, *, home: bool) -> int | None:
        starts = [value.collected] if home and self.purpose == value.purpose else []
        if self.brought is not None:
            starts.append(self.brought if home else value.happened)
        return max((each for each in starts if each is not None), default=None)


def day_of(microseconds: int) -> int:
    """Return the number of the day (UTC) of a moment."""
    return microseconds // DAY + EPOCH.toordinal()


class Grounds:
    """What keeps and uses each field of one person.

    Args:
        policy_set: the policies in force.
        standing: what the person said.
        survey: what there is of the person.
        now: the present.
        retained: whether the person was erased, and a law keeps something.
    """

    def __init__(
        self, policy_set: PolicySet, standing: Standing, survey: Survey, now: datetime, *, retained: bool = False
    ) -> None:
        self._policy_set = policy_set
        self._last_contact = None if survey.last_contact is None else day_of(survey.last_contact)
        self._newest = survey.newest
        self._kept: dict[tuple[tuple[Term, ...], bool, Value], Keeping] = {}
        self._terms: dict[str, tuple[Term, ...]] = {}
        self._needing: dict[str, list[Purpose]] = {}
        told = states(policy_set, standing, now)
        if retained:
            told |= {name: "not-in-force" for name in told if name not in standing.kept_for}
        self.states: Mapping[str, InUse] = told

    def needing(self, field: Field) -> list[Purpose]:
        """List the purposes that need a field for this person, in the order of the policies."""
        found = self._needing.get(field.whole)
        if found is None:
            views = views_of(self._policy_set.catalogue, field)
            found = self._needing[field.whole] = [
                purpose
                for name, purpose in self._policy_set.purposes.items()
                if self.states[name] in HELD and any(map(purpose.covers, views))
            ]
        return found

    def is_for(self, field: Field, purposes: Collection[str]) -> bool:
        """Tell whether one of some purposes needs a field, whether or not it uses it for this person at present."""
        views = views_of(self._policy_set.catalogue, field)
        known = [each for name, each in self._policy_set.purposes.items() if name in purposes]
        return any(any(map(each.covers, views)) for each in known)

    def may_be_taken_along(self, field: Field) -> bool:
        """Tell whether a field is used on consent or for a contract (Art. 20(1)(a))."""
        return any(each.legal_basis in TAKEN_ALONG and each.collects for each in self.needing(field))

    def keeping(self, field: Field | None, value: Value) -> Keeping:
        """Tell until when a value is kept; what is worked out once is kept for its like.

        Args:
            field: the field; none where the catalogue declares it no longer.
            value: where the value comes from.
        """
        if field is None:
            return Keeping()
        key = (self._terms_of(field), field.collection == HOME, value)
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            found = self._kept[key] = self._keeping(*key)
        return found

    def _keeping(self, terms: tuple[Term, ...], home: bool, value: Value) -> Keeping:
        ends = [(end, each) for each in terms if (end := each.end(value, self._last_contact, home=home)) is not None]
        if not ends:
            return Keeping()
        end, term = max(ends, key=lambda each: each[0])
        if value.expires is not None and value.expires < end:
            return Keeping(date.fromordinal(value.expires).isoformat(), term.purpose)
        return Keeping(date.fromordinal(end).isoformat(), term.purpose, term.moves)

    def _terms_of(self, field: Field) -> tuple[Term, ...]:
        found = self._terms.get(field.whole)
        if found is None:
            views = views_of(self._policy_set.catalogue, field)
            found = self._terms[field.whole] = tuple(
                self._term(purpose, rule, [view for view in views if purpose.covers(view)])
                for purpose in self.needing(field)
                if purpose.collects and (rule := self._policy_set.retention.get(purpose.name)) is not None
            )
        return found

    def _term(self, purpose: Purpose, rule: Rule, views: list[FieldView]) -> Term:
        return Term(
            purpose=purpose.name,
            periods=frozenset(map(rule.period, views)),
            moves=rule.since == Since.LAST_CONTACT,
            law=purpose.legal_basis == LegalBasis.LEGAL_OBLIGATION,
            brought=max(
                (day_of(self._newest[name]) for name in rule.bringing(purpose) if name in self._newest), default=None
            ),
        )
