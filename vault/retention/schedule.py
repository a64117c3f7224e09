"""What the policies say of each field's retention, worked out once a policy version. Pure.

Periods reckoned by the calendar, and what rules say of fields: kept, for sweeps ask for the same again and again.
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
    from vault.catalogue.retention import Limit, Period, Relationship, Retention, Rule


DAY: Final = 86_400_000_000
"""Microseconds."""


class Term(NamedTuple):
    """One purpose's rule for one field; a purpose that has unlike periods for a field's views has a term for each.

    Attributes:
        purpose: which.
        rule: its rule.
        shown: the views of the field that the purpose needs, all of the same periods.
        law: whether it rests on a legal obligation.
        bringing: of a law, the collections whose records bring it about.
    """

    purpose: Purpose
    rule: Rule
    shown: tuple[FieldView, ...]
    law: bool
    bringing: frozenset[str]

    @property
    def views(self) -> frozenset[str]:
        """Return the whole names of the views that the purpose needs."""
        return frozenset(str(each.name) for each in self.shown)


class Lasting(NamedTuple):
    """For how long values are there for a purpose, whoever they are about; microseconds from their start.

    Attributes:
        least: wherever they come from.
        unless: where they come from none of ``sources``.
        sources: whose values have a limit of their own, as bytes.
    """

    least: int
    unless: int
    sources: tuple[bytes, ...] = ()

    def may_be_over(self, since: int, origins: bytes, now: int) -> bool:
        """Tell whether something of a record may be over, so that one has to look closer.

        Args:
            since: from when on the record counts.
            origins: where its values come from, packed. That a source's name is in there by chance does no harm.
            now: the present.
        """
        if since + self.least > now:
            return False
        return since + self.unless <= now or any(each in origins for each in self.sources)


class Schedule:
    """The rules and limits by field.

    Args:
        catalogue: the fields.
        purposes: by name.
        retention: the rules.
    """

    def __init__(self, catalogue: Catalogue, purposes: Mapping[str, Purpose], retention: Retention) -> None:
        self.catalogue = catalogue
        self.purposes = purposes
        self.retention = retention
        self._terms: dict[str, tuple[Term, ...]] = {}
        self._limits: dict[str, tuple[Limit, ...]] = {}

    def terms(self, whole: str) -> tuple[Term, ...]:
        """List the purposes that claim a field (by its whole name), with their rules."""
        found = self._terms.get(whole)
        if found is None:
            found = self._terms[whole] = tuple(self._terms_of(whole))
        return found

    def limits(self, whole: str) -> tuple[Limit, ...]:
        """List the limits under which values of a field may come."""
        found = self._limits.get(whole)
        if found is None:
            field = self._field(whole)
            every = () if field is None else self.retention.limits.values()
            found = tuple(each for each in every if field is not None and each.fits(whole, field.category))
            self._limits[whole] = found
        return found

    def lasting(self, purpose: str, fields: Iterable[Field]) -> Lasting:
        """Return for how long at least a purpose sees values of fields, whoever they are about."""
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
        """Tell whether the catalogue still declares a field."""
        return self._field(whole) is not None

    def _span(self, purpose: str, field: Field) -> int:
        """Count the days: of the purpose's own claim, else of one that nobody can end before its period does.

        Limits on values of some source are left out.
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
    """Name the views that may come to take a field's place."""
    return frozenset(views_in(term.rule.ending(field.whole) for term in terms))


def _is_firm(term: Term, coarse: frozenset[str]) -> bool:
    """Tell whether a purpose claims every value of a field that was not generalised, whatever anybody says.

    To a contract nobody can object; that is refused when it is recorded or imported. Who needs no more than the view
    that takes the field's place does not keep the field.
    """
    purpose = term.purpose
    if purpose.rests_on_consent or purpose.direct_marketing or purpose.sale_or_share:
        return False
    always = purpose.valid_from is None and purpose.valid_until is None
    return always and purpose.legal_basis == LegalBasis.CONTRACT and not term.views <= coarse


@lru_cache(maxsize=65_536)
def day_after(period: Period, start: int | None) -> int | None:
    """Return the last day of a period that counts from a day; none where it does not count yet."""
    return None if start is None else period.after(date.fromordinal(start)).toordinal()


@lru_cache(maxsize=16_384)
def period_of(rule: Rule, shown: FieldView, stands: Relationship) -> Period:
    """Return a rule's period for a field: :meth:`vault.catalogue.retention.Rule.period`."""
    return rule.period(shown, stands)


@lru_cache(maxsize=16_384)
def ending_of(rule: Rule, whole: str) -> str:
    """Return what happens to a field at the end of a rule: :meth:`vault.catalogue.retention.Rule.ending`."""
    return rule.ending(whole)
