"""What is erased and what is kept, value by value. Pure: it looks at names and dates, and opens nothing.

Everything goes (Art. 17(1) GDPR) but what an exception of Art. 17(3) names:

- (b) a purpose that rests on a legal obligation demands it, until the least that the law asks for is over
  (:mod:`vault.retention.ends`, which all else that asks for ends goes by too).
- (e) legal claims: what staff have named, with a reason and a last day; and what a hold covers, for as long as it
  stands (:func:`also_held`).

A purpose that meets people's own rights keeps nothing: whatever is held must be handed out, which is no reason to hold
it.

What holds do to an erasure: what they cover stays for as long as they stand, and goes when they are lifted. Pure.

Look at what is there of a person, without opening a value, and decide what an erasure would do with it.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vault.catalogue.model import covers
from vault.clock import from_microseconds, to_microseconds
from vault.consent.state import unpack as unpack_standing
from vault.erasure.start import in_scope
from vault.lifecycle.erasures import Line
from vault.retention.clocks import NO_CLOCKS
from vault.retention.ends import day_of, ends_of, values_of
from vault.retention.holds import held_by
from vault.subjects.record_body import happened_at, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from vault.catalogue.model import Scope
    from vault.consent.state import ConsentState
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.retention.ends import Claim as RetentionClaim
    from vault.retention.ends import Ending, Ends, Value
    from vault.subjects.record_body import Stored


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


def with_holds(found: Verdicts, records: Sequence[Any], standing: ConsentState) -> Verdicts:
    """Add to verdicts what holds keep."""
    if not standing.holds:
        return found
    held: Verdicts = {}
    for row in records:
        key = row.collection, row.id
        day = day_of(happened_at(row, unpack(row.body)))
        for name, verdict in found.get(key, {}).items():
            by = held_by(standing, f"{row.collection}.{name}", day)
            held.setdefault(key, {})[name] = verdict if by is None else also_held(verdict, by.purpose)
    return held


def as_kept(found: Verdicts, records: Sequence[Any], now: datetime) -> Verdicts:
    """Let what an earlier erasure kept of somebody stay until the day that it set, and no law be cut short.

    The clocks and consents from which that day followed went with the earlier erasure.
    """
    moment = to_microseconds(now)
    kept: Verdicts = {}
    for row in records:
        key = row.collection, row.id
        body = unpack(row.body)
        for name, verdict in found.get(key, {}).items():
            ends = body[name].expires_at
            stays = ends is not None and ends > moment
            last = None if ends is None else from_microseconds(ends - 1).date()
            kept.setdefault(key, {})[name] = also_until(verdict, last) if stays and last is not None else verdict
    return kept


def of_rests(found: Verdicts, records: Sequence[Any], rests: Mapping[str, datetime]) -> Verdicts:
    """Leave out of verdicts what came in after the erasure that a hold kept it from: nobody asked to erase that.

    Args:
        found: the verdicts.
        records: all rows of records.
        rests: by whole name of the field, when it was to be erased; empty: all verdicts count.
    """
    if not rests:
        return found
    ends = {name: to_microseconds(moment) for name, moment in rests.items()}
    older: Verdicts = {}
    for row in records:
        key = row.collection, row.id
        body = unpack(row.body)
        for name, verdict in found.get(key, {}).items():
            collected = body[name].collected_at
            came = happened_at(row, body) if collected is None else collected
            if came <= ends.get(f"{row.collection}.{name}", -1):
                older.setdefault(key, {})[name] = verdict
    return older


def decided(
    policy_set: PolicySet,
    row: Any,
    records: Sequence[Any],
    scope: Scope,
    claims: Sequence[Claim],
    now: datetime,
    clocks: Clocks = NO_CLOCKS,
) -> Verdicts:
    """Decide about every value of a person that is in scope.

    Args:
        policy_set: in force.
        row: the person's.
        records: all rows of records.
        scope: what is to be erased.
        claims: what staff keep for legal claims.
        now: the moment.
        clocks: the person's.
    """
    standing = unpack_standing(row.standing)
    bodies = [(each, unpack(each.body)) for each in records]
    clocks = clocks.at_least({each.collection: day_of(happened_at(each, body)) for each, body in _by_age(bodies)})
    items = [Item(each.collection, each.id, values_of(each, body)) for each, body in bodies]
    test = in_scope(policy_set, scope, standing, now)
    found = verdicts(ends_of(policy_set, standing, clocks, now), items, test, claims, now.date())
    if row.state == "retained":
        found = as_kept(found, records, now)
    return with_holds(found, records, standing)


def _by_age(bodies: Iterable[tuple[Any, Mapping[str, Stored]]]) -> list[tuple[Any, Mapping[str, Stored]]]:
    return sorted(bodies, key=lambda each: happened_at(*each))
