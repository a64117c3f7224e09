"""The verdict of an erasure: what is erased and what is kept, value by value. It opens nothing.

Everything is erased (Art. 17(1) GDPR), except what Art. 17(3) exempts:

- (b) A purpose with a legal obligation demands the value, until the minimum that the law requires is over
  (:mod:`vault.retention.ends`).
- (e) Legal claims: what staff have named, with a reason and a last day; and what a hold covers, for as long as it
  stands (:func:`with_hold`). Once the hold is lifted, the erasure resumes.

A purpose that serves the subject's own rights keeps nothing: what is kept must be disclosed to the subject, which is no
reason to keep it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from vault.catalogue.model import covers
from vault.clock import from_microseconds, to_microseconds
from vault.consent.model import unpack as unpack_standing
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
    from vault.consent.model import ConsentState
    from vault.lifecycle.erasures import Claim
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.retention.ends import Claim as RetentionClaim
    from vault.retention.ends import Ending, Ends, Value
    from vault.subjects.record_body import Stored


OBLIGATION: Final = "legal-obligation"
CLAIMS: Final = "legal-claims"
HELD: Final = "hold"
ARTICLES: Final = {OBLIGATION: "17(3)(b)", CLAIMS: "17(3)(e)", HELD: "17(3)(e)"}


@dataclass(frozen=True, slots=True)
class RecordValues:
    """One record, and what is known of its values, by their names in the body."""

    collection: str
    id: UUID
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Keep:
    """Why a value is kept, and the last day on which it is; None: as long as a hold stands."""

    ground: str
    purpose: str | None
    until: date | None


Verdict = tuple[Keep, ...]
"""Why a value is kept, the longest first; empty if it is erased."""
Verdicts = dict[tuple[str, "UUID"], dict[str, Verdict]]
"""The verdicts on values in scope, by record and by name. A value without a verdict stays as it is."""


def verdicts(
    ends: Ends, records: Sequence[RecordValues], in_scope: Callable[[str], bool], claims: Sequence[Claim], today: date
) -> Verdicts:
    """Decide about every value in scope.

    Args:
        ends: until when each of the subject's values is kept, and by which law.
        records: the subject's records.
        in_scope: whether a field, by its whole name, is to be erased unless something keeps it.
        claims: what staff keep.
        today: what ends before it keeps nothing.
    """
    decided: Verdicts = {}
    for record in records:
        fields = {}
        for name, value in record.values.items():
            if in_scope(value.field):
                keeps = [*_by_law(ends.of(value), today), *_by_claims(claims, value.field, today)]
                fields[name] = tuple(sorted(keeps, key=_end, reverse=True))
        if fields:
            decided[record.collection, record.id] = fields
    return decided


def summarize(verdicts: Verdicts) -> tuple[Line, ...]:
    """Sum verdicts up by field: erased in so many records; kept in so many, on which ground and until which day."""
    erased: defaultdict[str, int] = defaultdict(int)
    kept: defaultdict[tuple[str, str, str], list[Keep]] = defaultdict(list)
    for (collection, _record), fields in verdicts.items():
        for name, keeps in fields.items():
            whole = f"{collection}.{name}"
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


def with_hold(verdict: Verdict, purpose: str) -> Verdict:
    """Return a verdict with the addition that a hold keeps the value, for a purpose."""
    return (Keep(HELD, purpose, None), *verdict)


def with_end(verdict: Verdict, until: date) -> Verdict:
    """Return a verdict with the day until which an earlier erasure kept the value, on a ground no longer visible."""
    longest = max(verdict, key=_end, default=None)
    return verdict if longest is not None and _end(longest) >= until else (Keep(OBLIGATION, None, until), *verdict)


def purposes_kept_for(verdicts: Verdicts) -> tuple[str, ...]:
    """List the purposes for which anything is kept. Those of holds are stored with the holds."""
    keeps = (keep for fields in verdicts.values() for verdict in fields.values() for keep in verdict)
    return tuple(sorted({keep.purpose for keep in keeps if keep.purpose is not None and keep.ground != HELD}))


def _end(keep: Keep) -> date:
    return date.max if keep.until is None else keep.until


def _by_law(ending: Ending, today: date) -> Iterable[Keep]:
    day = today.toordinal()
    for claim in ending.claims:
        if claim.is_demanded(day):
            yield Keep(OBLIGATION, claim.ground, _until(claim, today))


def _until(claim: RetentionClaim, today: date) -> date:
    """Return until when a law demands a value. If its period has not begun, it counts as if it began today.

    The clocks of an erased subject are deleted, so a later one would go unnoticed. What takes longer needs a hold.
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


def with_holds(verdicts: Verdicts, records: Sequence[Any], standing: ConsentState) -> Verdicts:
    """Return verdicts with what holds keep."""
    if not standing.holds:
        return verdicts
    held: Verdicts = {}
    for row in records:
        key = row.collection, row.id
        day = day_of(happened_at(row, unpack(row.body)))
        for name, verdict in verdicts.get(key, {}).items():
            hold = held_by(standing, f"{row.collection}.{name}", day)
            held.setdefault(key, {})[name] = verdict if hold is None else with_hold(verdict, hold.purpose)
    return held


def with_earlier_ends(verdicts: Verdicts, records: Sequence[Any], now: datetime) -> Verdicts:
    """Return verdicts in which what an earlier erasure kept stays until the day that it set: no law is cut short.

    The clocks and consents from which that day followed were deleted by the earlier erasure.
    """
    moment = to_microseconds(now)
    kept: Verdicts = {}
    for row in records:
        key = row.collection, row.id
        body = unpack(row.body)
        for name, verdict in verdicts.get(key, {}).items():
            ends = body[name].expires_at
            is_kept = ends is not None and ends > moment
            last = None if ends is None else from_microseconds(ends - 1).date()
            kept.setdefault(key, {})[name] = with_end(verdict, last) if is_kept and last is not None else verdict
    return kept


def without_later_values(verdicts: Verdicts, records: Sequence[Any], rests: Mapping[str, datetime]) -> Verdicts:
    """Drop the verdicts on values collected after the erasure that a hold stopped: they are not in its scope.

    Args:
        records: all rows of records.
        rests: when each field was to be erased, by its whole name; empty: all verdicts count.
    """
    if not rests:
        return verdicts
    ends = {name: to_microseconds(moment) for name, moment in rests.items()}
    older: Verdicts = {}
    for row in records:
        key = row.collection, row.id
        body = unpack(row.body)
        for name, verdict in verdicts.get(key, {}).items():
            collected = body[name].collected_at
            moment = happened_at(row, body) if collected is None else collected
            if moment <= ends.get(f"{row.collection}.{name}", -1):
                older.setdefault(key, {})[name] = verdict
    return older


def decide(
    policy_set: PolicySet,
    row: Any,
    records: Sequence[Any],
    scope: Scope,
    claims: Sequence[Claim],
    now: datetime,
    clocks: Clocks = NO_CLOCKS,
) -> Verdicts:
    """Decide about every value of a subject that is in scope.

    Args:
        row: the subject's.
        records: all rows of its records.
        claims: what staff keep for legal claims.
    """
    standing = unpack_standing(row.standing)
    bodies = [(record, unpack(record.body)) for record in records]
    newest = {record.collection: day_of(happened_at(record, body)) for record, body in _by_age(bodies)}
    values = [RecordValues(record.collection, record.id, values_of(record, body)) for record, body in bodies]
    is_in_scope = in_scope(policy_set, scope, standing, now)
    ends = ends_of(policy_set, standing, clocks.at_least(newest), now)
    decided = verdicts(ends, values, is_in_scope, claims, now.date())
    if row.state == "retained":
        decided = with_earlier_ends(decided, records, now)
    return with_holds(decided, records, standing)


def _by_age(bodies: Iterable[tuple[Any, Mapping[str, Stored]]]) -> list[tuple[Any, Mapping[str, Stored]]]:
    return sorted(bodies, key=lambda record: happened_at(*record))
