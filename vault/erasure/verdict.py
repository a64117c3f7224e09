"""What is erased and what is kept, value by value. Pure: it looks at names and dates, and opens nothing.

Everything goes (Art. 17(1) GDPR) but what an exception of Art. 17(3) names:

- (b) a purpose that rests on a legal obligation demands it, until the least that the law asks for is over
  (:mod:`vault.retention.ends`, which all else that asks for ends goes by too).
- (e) legal claims: what staff have named, with a reason and a last day; and what a hold covers, for as long as it
  stands (:func:`also_held`).

A purpose that meets people's own rights keeps nothing: whatever is held must be handed out, which is no reason to hold
it.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.catalogue.model import covers
from vault.lifecycle.erasures import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from uuid import UUID

    from vault.retention.ends import Claim as RetentionClaim
    from vault.retention.ends import Ending, Ends, Value

OBLIGATION: Final = "legal-obligation"
CLAIMS: Final = "legal-claims"
HELD: Final = "hold"
ARTICLES: Final = {OBLIGATION: "17(3)(b)", CLAIMS: "17(3)(e)", HELD: "17(3)(e)"}


class Item(NamedTuple):
    """One record: where it belongs, and what its values are kept for, by the names under which they lie in its body."""

    collection: str
    id: UUID
    values: Mapping[str, Value]


class Keep(NamedTuple):
    """Why a value is kept, and until when (a day that is still included); none: as long as a hold stands."""

    ground: str
    purpose: str | None
    until: date | None


class Claim(NamedTuple):
    """What staff keep for legal claims: canonical names of fields and collections (``complaint.*``), until when."""

    names: tuple[str, ...]
    until: date


Verdict = tuple[Keep, ...]
"""Why a value is kept, the longest first; empty: it is erased."""
Verdicts = dict[tuple[str, "UUID"], dict[str, Verdict]]
"""By record, then by field: those in scope. What is not in it is left as it is."""


def verdicts(
    ends: Ends, items: Sequence[Item], in_scope: Callable[[str], bool], claims: Sequence[Claim], today: date
) -> Verdicts:
    """Decide about every value in scope.

    Args:
        ends: until when each of the person's values is kept, and by which law.
        items: the person's records.
        in_scope: whether a field, by its whole name, is to be erased unless something keeps it.
        claims: what staff keep.
        today: what ends before it keeps nothing.
    """
    found: Verdicts = {}
    for item in items:
        decided = {}
        for name, value in item.values.items():
            if in_scope(value.field):
                keeps = [*_by_law(ends.of(value), today), *_by_claims(claims, value.field, today)]
                decided[name] = tuple(sorted(keeps, key=_end, reverse=True))
        if decided:
            found[item.collection, item.id] = decided
    return found


def lines(found: Verdicts) -> tuple[Line, ...]:
    """Sum verdicts up, field by field: erased in so many records, kept in so many on that ground until that day."""
    erased: defaultdict[str, int] = defaultdict(int)
    kept: defaultdict[tuple[str, str, str], list[Keep]] = defaultdict(list)
    for (collection, _record), fields in found.items():
        for field, keeps in fields.items():
            whole = f"{collection}.{field}"
            if not keeps:
                erased[whole] += 1
            for keep in keeps:
                kept[whole, keep.ground, keep.purpose or ""].append(keep)
    gone = [Line(field, records) for field, records in sorted(erased.items())]
    stay = [
        Line(field, len(keeps), ground, ARTICLES[ground], purpose or None, max(keeps, key=_end).until)
        for (field, ground, purpose), keeps in sorted(kept.items())
    ]
    return (*gone, *stay)


def also_held(verdict: Verdict, purpose: str) -> Verdict:
    """Add to a verdict that a hold keeps the value, for a purpose."""
    return (Keep(HELD, purpose, None), *verdict)


def also_until(verdict: Verdict, until: date) -> Verdict:
    """Add to a verdict that an earlier erasure kept the value until a day, on a ground that is not seen any more."""
    longest = max(verdict, key=_end, default=None)
    return verdict if longest is not None and _end(longest) >= until else (Keep(OBLIGATION, None, until), *verdict)


def purposes_kept_for(found: Verdicts) -> tuple[str, ...]:
    """Name the purposes for which anything is kept; those of holds stand on the holds themselves."""
    keeps = (keep for fields in found.values() for keeps in fields.values() for keep in keeps)
    return tuple(sorted({keep.purpose for keep in keeps if keep.purpose is not None and keep.ground != HELD}))


def _end(keep: Keep) -> date:
    return date.max if keep.until is None else keep.until


def _by_law(ending: Ending, today: date) -> Iterable[Keep]:
    day = today.toordinal()
    for claim in ending.claims:
        if claim.is_demanded(day):
            yield Keep(OBLIGATION, claim.ground, _until(claim, today))


def _until(claim: RetentionClaim, today: date) -> date:
    """Return until when a law demands a value; while it has no end yet, as if what it waits for happened today.

    Somebody who was erased has no clocks any more that could tell of it. What may take longer is for a legal hold.
    """
    if claim.counted_from is None and claim.demands is not None:
        return claim.demands.after(today)
    return date.fromordinal(claim.least or 0)


def _by_claims(claims: Sequence[Claim], whole: str, today: date) -> Iterable[Keep]:
    ends = [
        claim.until for claim in claims if claim.until >= today and any(covers(whole, each) for each in claim.names)
    ]
    if ends:
        yield Keep(CLAIMS, None, max(ends))
