"""Descriptions of a subject's data from the policies, in the language of the package. Pure."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Final

from vault.catalogue.model import Article9, LegalBasis
from vault.export import schema
from vault.export.selection import PORTABLE, is_inferred
from vault.export.survey import ValueGroup

if TYPE_CHECKING:
    from vault.catalogue.model import Purpose
    from vault.catalogue.periods import Period
    from vault.catalogue.translations import Words
    from vault.export.selection import Grounds, Selection
    from vault.export.survey import Survey
    from vault.policy.policy_set import PolicySet

LETTERS: Final = "abcdefghij"
UNDECLARED: Final = "undeclared"
"""The type and category of a field that has values and is no longer declared."""


class PolicyDescriptions:
    """Describes one subject's data by the policies in force, in the language of the words."""

    def __init__(
        self, policy_set: PolicySet, words: Words, survey: Survey, grounds: Grounds, selection: Selection
    ) -> None:
        self._policy_set = policy_set
        self._words = words
        self._survey = survey
        self._grounds = grounds
        self._selection = selection
        self._counts: defaultdict[str, int] = defaultdict(int)
        for (whole, source), group in survey.groups.items():
            if selection.contains(whole, source):
                self._counts[whole] += group.values

    @property
    def values(self) -> int:
        """Return the number of values in the package."""
        return sum(self._counts.values())

    def collections(self) -> dict[str, schema.CollectionDescription]:
        """Describe the collections, in the order of the catalogue; those no longer declared come last."""
        declared = self._policy_set.catalogue.collections
        present = {whole.partition(".")[0] for whole in self._counts}
        names = [name for name in declared if name in present] + sorted(present - declared.keys())
        return {
            name: schema.CollectionDescription(title=self._collection_title(name), records=self._survey.records[name])
            for name in names
        }

    def _collection_title(self, name: str) -> str:
        declared = self._policy_set.catalogue.collections.get(name)
        return self._words.collection(name, name if declared is None else declared.title)

    def fields(self) -> dict[str, schema.FieldDescription]:
        """Describe the fields, in the order of the catalogue; those no longer declared come last."""
        return {whole: self._field(whole) for whole in self._ordered_fields()}

    def _ordered_fields(self) -> list[str]:
        declared = [field.whole for field in self._policy_set.catalogue.fields() if field.whole in self._counts]
        return [*declared, *sorted(self._counts.keys() - set(declared))]

    def _field(self, whole: str) -> schema.FieldDescription:
        field = self._selection.field(whole)
        collection, _, name = whole.partition(".")
        description = partial(schema.FieldDescription, collection=collection, name=name, values=self._counts[whole])
        if field is None:
            return description(
                title=name,
                type=UNDECLARED,
                category=UNDECLARED,
                special=False,
                origin=UNDECLARED,
                others=False,
                purposes=(),
            )
        return description(
            title=self._words.field(field),
            type=field.type,
            category=field.category,
            special=field.special,
            origin=field.origin.value,
            others=field.others,
            purposes=tuple(purpose.name for purpose in self._grounds.needing(field)),
        )

    def categories(self) -> tuple[schema.DataCategory, ...]:
        """List the categories of data (Art. 15(1)(b)), special ones first."""
        categories: defaultdict[tuple[bool, str], list[str]] = defaultdict(list)
        for whole, field in self.fields().items():
            categories[not field.special, field.category].append(whole)
        return tuple(
            schema.DataCategory(category=category, special=not plain, fields=tuple(fields))
            for (plain, category), fields in sorted(categories.items())
        )

    def purposes(self) -> tuple[schema.PurposeDescription, ...]:
        """Describe the purposes that need these fields, those in use first."""
        purposes = [self._purpose(purpose) for purpose in self._policy_set.purposes.values()]
        relevant = [
            purpose
            for purpose in purposes
            if purpose.fields
            and (not self._selection.portable or (purpose.state == "in-use" and purpose.legal_basis in PORTABLE))
        ]
        return tuple(sorted(relevant, key=lambda purpose: (purpose.state != "in-use", not purpose.collects)))

    def _purpose(self, purpose: Purpose) -> schema.PurposeDescription:
        basis, condition, words = purpose.legal_basis, purpose.article9, self._words
        return schema.PurposeDescription(
            name=purpose.name,
            title=words.purpose(purpose.name, "title", purpose.title),
            description=words.purpose(purpose.name, "description", purpose.description),
            state=self._grounds.states[purpose.name],
            legal_basis=basis.value,
            article=f"Art. 6(1)({LETTERS[list(LegalBasis).index(basis)]}) GDPR",
            law=self._translate(purpose, "law", purpose.law),
            interest=self._translate(purpose, "interest", purpose.interest),
            notice=purpose.notice,
            special_condition=None if condition is None else condition.value,
            special_article=None
            if condition is None
            else f"Art. 9(2)({LETTERS[list(Article9).index(condition)]}) GDPR",
            owner=words.other(purpose.owner),
            collects=purpose.collects,
            fields=tuple(
                whole for whole in self._ordered_fields() if any(view.startswith(f"{whole}.") for view in purpose.views)
            ),
            recipients=tuple(map(words.other, purpose.recipients)),
            retention=self._retention(purpose),
            automated_decision=purpose.automated_decision,
            logic=self._translate(purpose, "logic", purpose.logic),
            consequences=self._translate(purpose, "consequences", purpose.consequences),
            transfers={country: words.other(safeguard) for country, safeguard in purpose.transfers.items()},
        )

    def _translate(self, purpose: Purpose, key: str, text: str | None) -> str | None:
        return None if text is None else self._words.purpose(purpose.name, key, text)

    def _retention(self, purpose: Purpose) -> schema.RetentionDescription | None:
        rule = self._policy_set.retention.get(purpose.name)
        if rule is None:
            return None
        reason = self._words.purpose(purpose.name, "reason", rule.reason)
        return schema.RetentionDescription(keep=iso_duration(rule.keep), since=rule.since.value, reason=reason)

    def sources(self) -> tuple[schema.SourceSummary, ...]:
        """List the sources of the values (Art. 15(1)(g)), the source of most values first."""
        order = self._ordered_fields()
        sums: defaultdict[str, ValueGroup] = defaultdict(ValueGroup)
        fields: defaultdict[str, set[str]] = defaultdict(set)
        for (whole, source), group in self._survey.groups.items():
            if self._selection.contains(whole, source):
                sums[source].include(group)
                fields[source].add(whole)
        sources = [
            schema.SourceSummary(
                source=source,
                values=group.values,
                first=group.first,
                last=group.last,
                fields=tuple(whole for whole in order if whole in fields[source]),
            )
            for source, group in sums.items()
        ]
        return tuple(sorted(sources, key=lambda summary: (-summary.values, summary.source)))

    def inferred(self) -> tuple[schema.InferredField, ...]:
        """List the fields with conclusions about the subject."""
        counts: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        for (whole, source), group in self._survey.groups.items():
            if self._selection.contains(whole, source) and is_inferred(self._selection.field(whole), source):
                counts[whole].append((source, group.values))
        return tuple(
            schema.InferredField(
                field=whole,
                values=sum(values for _source, values in by_source),
                sources=tuple(sorted(source for source, _values in by_source)),
            )
            for whole, by_source in sorted(counts.items())
        )


def iso_duration(period: Period) -> str:
    """Write a period as an ISO 8601 duration."""
    years, months = divmod(period.months, 12)
    parts = ((years, "Y"), (months, "M"), (period.days, "D"))
    return "P" + "".join(f"{count}{unit}" for count, unit in parts if count)
