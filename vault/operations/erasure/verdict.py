"""What is erased and what is kept, value by value. Pure: it looks at names and dates, and opens nothing.

Everything goes (Art. 17(1) GDPR) but what an exception of Art. 17(3) names:

- (b) a purpose that rests on a legal obligation needs the field, truly applies to this person, and its period is not
  over. It applies where there is a record that brings the obligation about, such as a purchase for the books; then it
  keeps the records that it needs as long as each one's own period runs, and of the profile what it needs for as long
  as the last of the records that brought it about.
- (e) legal claims: what staff have named, with a reason and a last day.

A purpose that meets people's own rights keeps nothing: whatever is held must be handed out, which is no reason to hold
it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.catalogue.model import LegalBasis, covers
from vault.catalogue.retention import CONTACTS, Since
from vault.requests.erasures import Line
from vault.storage.columns import from_microseconds
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import date, datetime
    from uuid import UUID

    from vault.catalogue.model import Catalogue, Purpose
    from vault.catalogue.retention import Period, Rule

OBLIGATION: Final = "legal-obligation"
CLAIMS: Final = "legal-claims"
ARTICLES: Final = {OBLIGATION: "17(3)(b)", CLAIMS: "17(3)(e)"}


class Value(NamedTuple):
    """One value, without itself: its field, and why and when it was collected."""

    field: str
    purpose: str | None
    collected_at: int | None


class Item(NamedTuple):
    """One record: where it belongs, when it happened, and what it holds."""

    collection: str
    id: UUID
    happened_at: datetime
    values: tuple[Value, ...]


class Keep(NamedTuple):
    """Why a value is kept, and until when (a day that is still included)."""

    ground: str
    purpose: str | None
    until: date


class Claim(NamedTuple):
    """What staff keep for legal claims: canonical names of fields and collections (``complaint.*``), until when."""

    names: tuple[str, ...]
    until: date


Verdict = tuple[Keep, ...]
"""Why a value is kept, the longest first; empty: it is erased."""
Verdicts = dict[tuple[str, "UUID"], dict[str, Verdict]]
"""By record, then by field: those in scope. What is not in it is left as it is."""


class Law(NamedTuple):
    """A purpose that rests on a legal obligation and keeps data: how long it keeps each field that it needs.

    Attributes:
        purpose: its name.
        since_contact: whether periods count from the last contact, not from the record itself.
        brought_by: collections whose records bring the obligation about.
        periods: by whole name of the field.
    """

    purpose: str
    since_contact: bool
    brought_by: frozenset[str]
    periods: Mapping[str, Period]


def verdicts(
    laws: Sequence[Law],
    items: Sequence[Item],
    in_scope: Callable[[str], bool],
    claims: Sequence[Claim],
    today: date,
) -> Verdicts:
    """Decide about every value in scope.

    Args:
        laws: from :func:`laws_of`.
        items: all of the person's records, those out of scope too: they may bring an obligation about.
        in_scope: whether a field, by its whole name, is to be erased unless something keeps it.
        claims: what staff keep.
        today: what ends before it keeps nothing.
    """
    applied = [Applied.of(law, items, today) for law in laws]
    found: Verdicts = {}
    for item in items:
        decided = {}
        for value in item.values:
            whole = f"{item.collection}.{value.field}"
            if in_scope(whole):
                keeps = [*_by_law(applied, item, value, whole, today), *_by_claims(claims, whole, today)]
                decided[value.field] = tuple(sorted(keeps, key=lambda keep: keep.until, reverse=True))
        if decided:
            found[item.collection, item.id] = decided
    return found


def laws_of(catalogue: Catalogue, purposes: Iterable[Purpose], rules: Mapping[str, Rule], today: date) -> list[Law]:
    """Pick the purposes that can keep something from an erasure, and say what each of them needs and how long."""
    return [
        _law(catalogue, purpose, rules[purpose.name])
        for purpose in purposes
        if purpose.legal_basis == LegalBasis.LEGAL_OBLIGATION
        and purpose.collects
        and purpose.name in rules
        and purpose.in_force(today)
    ]


def lines(found: Verdicts) -> tuple[Line, ...]:
    """Sum verdicts up, field by field: erased in so many records, kept in so many on that ground until that day."""
    erased: defaultdict[str, int] = defaultdict(int)
    kept: defaultdict[tuple[str, str, str], list[date]] = defaultdict(list)
    for (collection, _record), fields in found.items():
        for field, keeps in fields.items():
            whole = f"{collection}.{field}"
            if not keeps:
                erased[whole] += 1
            for keep in keeps:
                kept[whole, keep.ground, keep.purpose or ""].append(keep.until)
    gone = [Line(field, records) for field, records in sorted(erased.items())]
    stay = [
        Line(field, len(days), ground, ARTICLES[ground], purpose or None, max(days))
        for (field, ground, purpose), days in sorted(kept.items())
    ]
    return (*gone, *stay)


def purposes_kept_for(found: Verdicts) -> tuple[str, ...]:
    """Name the purposes for which anything is kept."""
    keeps = (keep for fields in found.values() for keeps in fields.values() for keep in keeps)
    return tuple(sorted({keep.purpose for keep in keeps if keep.purpose is not None}))


class Applied(NamedTuple):
    """A law as it applies to one person.

    Attributes:
        law: which.
        since: when the newest record happened that brought it about and is in its period; none: it does not apply.
        contact: when the person was last in contact.
    """

    law: Law
    since: datetime | None
    contact: datetime | None

    @classmethod
    def of(cls, law: Law, items: Sequence[Item], today: date) -> Applied:
        """See whether a law applies."""
        contact = max((item.happened_at for item in items if item.collection in CONTACTS), default=None)
        unsure = cls(law, None, contact)
        since = [
            item.happened_at
            for item in items
            if item.collection in law.brought_by and unsure.latest(item, today) is not None
        ]
        return cls(law, max(since, default=None), contact)

    def latest(self, item: Item, today: date) -> date | None:
        """Return when the last of a record's values need not be kept any more; none where none need be."""
        ends = (self.end(f"{item.collection}.{value.field}", item.happened_at, today) for value in item.values)
        return max((end for end in ends if end is not None), default=None)

    def end(self, whole: str, start: datetime, today: date) -> date | None:
        """Return when the period of a field ends; none where it is over, or the purpose does not need the field."""
        period = self.law.periods.get(whole)
        if period is None:
            return None
        if self.law.since_contact and self.contact is not None:
            start = max(start, self.contact)
        end = period.after(start.date())
        return end if end >= today else None


def _law(catalogue: Catalogue, purpose: Purpose, rule: Rule) -> Law:
    shown = {name.rpartition(".")[0]: catalogue.view(name) for name in sorted(purpose.views)}
    periods = {whole: rule.period(view) for whole, view in shown.items()}
    return Law(purpose.name, rule.since == Since.LAST_CONTACT, rule.bringing(purpose), periods)


def _by_law(applied: Sequence[Applied], item: Item, value: Value, whole: str, today: date) -> Iterable[Keep]:
    for each in applied:
        starts = [] if each.since is None else [each.since if item.collection == PROFILE else item.happened_at]
        if item.collection == PROFILE and value.purpose == each.law.purpose:  # collected for that very purpose
            starts.append(_collected(item, value))
        ends = [end for start in starts if (end := each.end(whole, start, today)) is not None]
        if ends:
            yield Keep(OBLIGATION, each.law.purpose, max(ends))


def _by_claims(claims: Sequence[Claim], whole: str, today: date) -> Iterable[Keep]:
    ends = [
        claim.until for claim in claims if claim.until >= today and any(covers(whole, each) for each in claim.names)
    ]
    if ends:
        yield Keep(CLAIMS, None, max(ends))


def _collected(item: Item, value: Value) -> datetime:
    return item.happened_at if value.collected_at is None else from_microseconds(value.collected_at)
