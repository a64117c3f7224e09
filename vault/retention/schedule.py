"""The retention schedule: which rules and limits apply to each field, computed once for each policy version. Pure.

Periods and rules are cached too, because a sweep asks for the same ones again and again.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.catalogue.model import CLEAR, HOME, LegalBasis
from vault.catalogue.retention_actions import views_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vault.catalogue.model import Catalogue, Field, FieldView, Purpose
    from vault.catalogue.periods import Period
    from vault.catalogue.retention import Limit, Relationship, Retention, Rule


DAY: Final = 86_400_000_000
"""Microseconds."""


class Term(NamedTuple):
    """One purpose's rule for one field. A purpose with different periods for a field's views has several terms.

    Attributes:
        shown: the views of the field that the purpose needs, all with the same periods.
        law: whether it rests on a legal obligation.
        bringing: for a legal obligation, the collections whose records bring it about.
    """

    purpose: Purpose
    rule: Rule
    shown: tuple[FieldView, ...]
    law: bool
    bringing: frozenset[str]

    @property
    def views(self) -> frozenset[str]:
        """Return the whole names of the views that the purpose needs."""
        return frozenset(str(view.name) for view in self.shown)


class Lasting(NamedTuple):
    """For how long values are at least available to a purpose, for any subject; in microseconds from their start.

    Attributes:
        least: for values of any source.
        unless: for values of none of ``sources``.
        sources: the sources that have a limit of their own, as bytes.
    """

    least: int
    unless: int
    sources: tuple[bytes, ...] = ()

    def may_be_over(self, since: int, origins: bytes, now: int) -> bool:
        """Return whether a value of a record may be over, so that it has to be checked.

        Args:
            since: the moment from which the record counts.
            origins: the packed sources of its values. A source's name found in it by chance only causes a check.
            now: the present.
        """
        if since + self.least > now:
            return False
        return since + self.unless <= now or any(source in origins for source in self.sources)


class Schedule:
    """The rules and limits by field."""

    def __init__(self, catalogue: Catalogue, purposes: Mapping[str, Purpose], retention: Retention) -> None:
        self.catalogue = catalogue
        self.purposes = purposes
        self.retention = retention
        self._terms: dict[str, tuple[Term, ...]] = {}
        self._limits: dict[str, tuple[Limit, ...]] = {}

    def terms(self, whole: str) -> tuple[Term, ...]:
        """List the purposes that claim a field (by its whole name), with their rules."""
        terms = self._terms.get(whole)
        if terms is None:
            terms = self._terms[whole] = tuple(self._terms_of(whole))
        return terms

    def limits(self, whole: str) -> tuple[Limit, ...]:
        """List the limits that may apply to values of a field."""
        limits = self._limits.get(whole)
        if limits is None:
            field = self._field(whole)
            declared = () if field is None else self.retention.limits.values()
            limits = tuple(limit for limit in declared if field is not None and limit.fits(whole, field.category))
            self._limits[whole] = limits
        return limits

    def lasting(self, purpose: str, fields: Iterable[Field]) -> Lasting:
        """Return for how long a purpose sees values of fields at least, for any subject."""
        named = list(fields)
        limits = {each.name: each for field in named for each in self.limits(field.whole) if each.sources}
        by_source = [limit.most.least_days for limit in limits.values()]
        spans = [self._span(purpose, field) for field in named]
        return Lasting(
            least=_whole_days(min([*spans, *by_source], default=0)),
            unless=_whole_days(min(spans, default=0)),
            sources=tuple(sorted({source.encode() for limit in limits.values() for source in limit.sources})),
        )

    def declares(self, whole: str) -> bool:
        """Return whether the catalogue declares a field."""
        return self._field(whole) is not None

    def _span(self, purpose: str, field: Field) -> int:
        """Return the days of the purpose's own claim, or else of a claim that cannot end before its period.

        Limits on values of single sources are left out.
        """
        terms = self.terms(field.whole)
        own = [each for each in terms if each.purpose.name == purpose]
        spans = [each.most.least_days for each in self.limits(field.whole) if not each.sources]
        spans += map(_least_days, own)
        if not own or (own[0].law and field.collection not in own[0].bringing):  # then its claim may not be there
            spans.append(max((_least_days(each) for each in terms if _is_firm(each, _coarse(terms, field))), default=0))
        return min(spans)

    def _terms_of(self, whole: str) -> list[Term]:
        field = self._field(whole)
        if field is None:
            return []
        views = [self.catalogue.view(f"{whole}.{view}") for view in (CLEAR, *sorted(field.views))]
        found = []
        for name, purpose in self.purposes.items():
            rule = self.retention.rules.get(name)
            if rule is not None and purpose.collects:
                law = purpose.legal_basis == LegalBasis.LEGAL_OBLIGATION
                bringing = rule.bringing(purpose) if law else frozenset()
                alike: dict[tuple[Period, ...], list[FieldView]] = {}
                for view in filter(purpose.covers, views):
                    alike.setdefault(rule.periods(view), []).append(view)
                found += [Term(purpose, rule, tuple(shown), law, bringing) for shown in alike.values()]
        return found

    def _field(self, whole: str) -> Field | None:
        collection, _, name = whole.partition(".")
        declared = self.catalogue.collections.get(collection or HOME)
        return None if declared is None else declared.fields.get(name)


def _whole_days(days: int) -> int:
    return max(days - 1, 0) * DAY


def _least_days(term: Term) -> int:
    return min(period.least_days for view in term.shown for period in term.rule.periods(view))


def _coarse(terms: Iterable[Term], field: Field) -> frozenset[str]:
    """Return the views that may take a field's place."""
    return frozenset(views_in(term.rule.ending(field.whole) for term in terms))


def _is_firm(term: Term, coarse: frozenset[str]) -> bool:
    """Return whether a purpose claims every value of a field that was not generalised, for any consent state."""
    # A subject cannot object to a contract (Art. 21): recording or importing such an objection is refused. A purpose
    # that needs only the view that takes the field's place does not keep the field.
    purpose = term.purpose
    if purpose.rests_on_consent or purpose.direct_marketing or purpose.sale_or_share:
        return False
    always = purpose.valid_from is None and purpose.valid_until is None
    return always and purpose.legal_basis == LegalBasis.CONTRACT and not term.views <= coarse


@lru_cache(maxsize=65_536)
def day_after(period: Period, start: int | None) -> int | None:
    """Return the last day of a period that counts from a day; None if it does not count yet."""
    return None if start is None else period.after(date.fromordinal(start)).toordinal()


@lru_cache(maxsize=16_384)
def period_of(rule: Rule, shown: FieldView, stands: Relationship) -> Period:
    """Return a rule's period for a field: :meth:`vault.catalogue.retention.Rule.period`."""
    return rule.period(shown, stands)


@lru_cache(maxsize=16_384)
def ending_of(rule: Rule, whole: str) -> str:
    """Return what happens to a field at the end of a rule: :meth:`vault.catalogue.retention.Rule.ending`."""
    return rule.ending(whole)
