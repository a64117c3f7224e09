"""What the policies say about a person's data, in the words of a language. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from vault.catalogue.model import Article9, LegalBasis
from vault.export.schema import (
    CategoryTold,
    CollectionTold,
    FieldTold,
    InferredTold,
    PurposeTold,
    RetentionTold,
    SourceTold,
)
from vault.export.selection import is_inferred
from vault.export.survey import Group

if TYPE_CHECKING:
    from vault.catalogue.model import Purpose
    from vault.catalogue.retention import Period
    from vault.catalogue.translations import Words
    from vault.export.selection import Grounds, Selection
    from vault.export.survey import Survey
    from vault.policy.policy_set import PolicySet

LETTERS: Final = "abcdefghij"
UNDECLARED: Final = "undeclared"
"""Stands for the type and category of a field that is held and not declared any more."""


class Teller:
    """Tells of one person's data what the policies say of it.

    Args:
        policy_set: in force.
        words: of the person's language.
        survey: what there is.
        grounds: what uses it.
        selection: what of it the package holds.
    """

    def __init__(
        self, policy_set: PolicySet, words: Words, survey: Survey, grounds: Grounds, selection: Selection
    ) -> None:
        self._policy_set = policy_set
        self._words = words
        self._survey = survey
        self._grounds = grounds
        self._selection = selection
        self._values: defaultdict[str, int] = defaultdict(int)
        for (whole, source), group in survey.groups.items():
            if selection.holds(whole, source):
                self._values[whole] += group.values

    @property
    def values(self) -> int:
        """Return how many values the package holds."""
        return sum(self._values.values())

    def collections(self) -> dict[str, CollectionTold]:
        """Tell which kinds of record there are, in the order of the catalogue; those not declared any more last."""
        declared = self._policy_set.catalogue.collections
        held = {whole.partition(".")[0] for whole in self._values}
        names = [name for name in declared if name in held] + sorted(held - declared.keys())
        return {
            name: CollectionTold(title=self._collection(name), records=self._survey.records[name]) for name in names
        }

    def _collection(self, name: str) -> str:
        declared = self._policy_set.catalogue.collections.get(name)
        return self._words.collection(name, name if declared is None else declared.title)

    def fields(self) -> dict[str, FieldTold]:
        """Tell what each field is, in the order of the catalogue; those not declared any more last."""
        return {whole: self._field(whole) for whole in self._in_order()}

    def _in_order(self) -> list[str]:
        declared = [each.whole for each in self._policy_set.catalogue.fields() if each.whole in self._values]
        return [*declared, *sorted(self._values.keys() - set(declared))]

    def _field(self, whole: str) -> FieldTold:
        field = self._selection.field(whole)
        collection, _, name = whole.partition(".")
        if field is None:
            return FieldTold(
                title=name,
                collection=collection,
                name=name,
                type=UNDECLARED,
                category=UNDECLARED,
                special=False,
                origin=UNDECLARED,
                others=False,
                purposes=(),
                values=self._values[whole],
            )
        return FieldTold(
            title=self._words.field(field),
            collection=collection,
            name=name,
            type=field.type,
            category=field.category,
            special=field.special,
            origin=field.origin.value,
            others=field.others,
            purposes=tuple(each.name for each in self._grounds.needing(field)),
            values=self._values[whole],
        )

    def categories(self) -> tuple[CategoryTold, ...]:
        """Tell the categories of data (Art. 15(1)(b)), special ones first."""
        found: defaultdict[tuple[bool, str], list[str]] = defaultdict(list)
        for whole, field in self.fields().items():
            found[not field.special, field.category].append(whole)
        return tuple(
            CategoryTold(category=category, special=not plain, fields=tuple(fields))
            for (plain, category), fields in sorted(found.items())
        )

    def purposes(self) -> tuple[PurposeTold, ...]:
        """Tell of the purposes that need what is held: those in use first."""
        told = [self._purpose(each) for each in self._policy_set.purposes.values()]
        held = [each for each in told if each.fields and self._belongs(each)]
        return tuple(sorted(held, key=lambda each: (each.state != "in-use", not each.collects)))

    def _belongs(self, told: PurposeTold) -> bool:
        return not self._selection.portable or (
            told.state == "in-use" and told.legal_basis in {LegalBasis.CONSENT, LegalBasis.CONTRACT}
        )

    def _purpose(self, purpose: Purpose) -> PurposeTold:
        basis, condition, words = purpose.legal_basis, purpose.article9, self._words
        return PurposeTold(
            name=purpose.name,
            title=words.purpose(purpose.name, "title", purpose.title),
            description=words.purpose(purpose.name, "description", purpose.description),
            state=self._grounds.states[purpose.name],
            legal_basis=basis.value,
            article=f"Art. 6(1)({LETTERS[list(LegalBasis).index(basis)]}) GDPR",
            law=self._said(purpose, "law", purpose.law),
            interest=self._said(purpose, "interest", purpose.interest),
            notice=purpose.notice,
            special_condition=None if condition is None else condition.value,
            special_article=None
            if condition is None
            else f"Art. 9(2)({LETTERS[list(Article9).index(condition)]}) GDPR",
            owner=words.other(purpose.owner),
            collects=purpose.collects,
            fields=tuple(whole for whole in self._in_order() if self._needs(purpose, whole)),
            recipients=tuple(map(words.other, purpose.recipients)),
            retention=self._retention(purpose),
            automated_decision=purpose.automated_decision,
            logic=self._said(purpose, "logic", purpose.logic),
            consequences=self._said(purpose, "consequences", purpose.consequences),
            transfers={country: words.other(safeguard) for country, safeguard in purpose.transfers.items()},
        )

    def _said(self, purpose: Purpose, text: str, said: str | None) -> str | None:
        return None if said is None else self._words.purpose(purpose.name, text, said)

    def _needs(self, purpose: Purpose, whole: str) -> bool:
        return any(view.startswith(f"{whole}.") for view in purpose.views)

    def _retention(self, purpose: Purpose) -> RetentionTold | None:
        rule = self._policy_set.retention.get(purpose.name)
        if rule is None:
            return None
        reason = self._words.purpose(purpose.name, "reason", rule.reason)
        return RetentionTold(keep=iso(rule.keep), since=rule.since.value, reason=reason)

    def sources(self) -> tuple[SourceTold, ...]:
        """Tell where the values come from (Art. 15(1)(g)), the source of most of them first."""
        order = self._in_order()
        sums: defaultdict[str, Group] = defaultdict(Group)
        fields: defaultdict[str, set[str]] = defaultdict(set)
        for (whole, source), group in self._survey.groups.items():
            if self._selection.holds(whole, source):
                sums[source].include(group)
                fields[source].add(whole)
        told = [
            SourceTold(
                source=source,
                values=each.values,
                first=each.first,
                last=each.last,
                fields=tuple(whole for whole in order if whole in fields[source]),
            )
            for source, each in sums.items()
        ]
        return tuple(sorted(told, key=lambda each: (-each.values, each.source)))

    def inferred(self) -> tuple[InferredTold, ...]:
        """Tell what was concluded about the person."""
        found: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        for (whole, source), group in self._survey.groups.items():
            if self._selection.holds(whole, source) and is_inferred(self._selection.field(whole), source):
                found[whole].append((source, group.values))
        return tuple(
            InferredTold(
                field=whole,
                values=sum(values for _source, values in each),
                sources=tuple(sorted(source for source, _values in each)),
            )
            for whole, each in sorted(found.items())
        )


def iso(period: Period) -> str:
    """Write a period as ISO 8601 does."""
    years, months = divmod(period.months, 12)
    parts = ((years, "Y"), (months, "M"), (period.days, "D"))
    return "P" + "".join(f"{count}{unit}" for count, unit in parts if count)
