"""What the policies say of each field's retention, worked out once a policy version. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from vault.catalogue.model import CLEAR, HOME, LegalBasis

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vault.catalogue.model import Catalogue, Field, FieldView, Purpose
    from vault.catalogue.retention import Limit, Retention, Rule

DAY: Final = 86_400_000_000
"""Microseconds."""


class Term(NamedTuple):
    """One purpose's rule for one field.

    Attributes:
        purpose: which.
        rule: its rule.
        shown: the views of the field that the purpose needs.
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

    def shortest(self, purpose: str, fields: Iterable[Field]) -> int:
        """Return for how many microseconds at least a purpose sees values of fields, whoever they are about.

        Nought where that has to be looked at each time.
        """
        if purpose not in self.retention.rules:
            return 0
        spans = [span for field in fields for span in self._spans(purpose, field)]
        return max(min(spans, default=0) - 1, 0) * DAY

    def _spans(self, purpose: str, field: Field) -> list[int]:
        own = [each for each in self.terms(field.whole) if each.purpose.name == purpose]
        spans = [period.least_days for each in own for view in each.shown for period in each.rule.periods(view)]
        return [*(spans or [0]), *(each.most.least_days for each in self.limits(field.whole))]

    def _terms_of(self, whole: str) -> list[Term]:
        field = self._field(whole)
        if field is None:
            return []
        views = [self.catalogue.view(f"{whole}.{view}") for view in (CLEAR, *sorted(field.views))]
        found = []
        for name, purpose in self.purposes.items():
            rule = self.retention.rules.get(name)
            shown = tuple(view for view in views if purpose.covers(view))
            if rule is not None and shown and purpose.collects:
                law = purpose.legal_basis == LegalBasis.LEGAL_OBLIGATION
                found.append(Term(purpose, rule, shown, law, rule.bringing(purpose) if law else frozenset()))
        return found

    def _field(self, whole: str) -> Field | None:
        collection, _, name = whole.partition(".")
        declared = self.catalogue.collections.get(collection or HOME)
        return None if declared is None else declared.fields.get(name)
