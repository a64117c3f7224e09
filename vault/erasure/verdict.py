"""The scope and the verdict of an erasure: what is erased and what is kept, value by value. It opens nothing.

A scope is everything, or named fields, collections and purposes. Everything in it is erased (Art. 17(1) GDPR), except
what Art. 17(3) exempts:

- (b) A purpose with a legal obligation demands the value, until the minimum that the law requires is over
  (:mod:`vault.retention.ends`).
- (e) Legal claims: what staff have named, with a reason and a last day; and what a hold covers, for as long as it
  stands. Once the hold is lifted, the erasure resumes.

A purpose that serves the subject's own rights keeps nothing: what is kept must be disclosed to the subject, which is no
reason to keep it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from vault.catalogue.model import HOME, LegalBasis, Scope, UnknownName, covers
from vault.clock import from_microseconds, to_microseconds
from vault.consent.legal_ground import purpose_ground, refusal
from vault.consent.model import ConsentState
from vault.consent.model import unpack as unpack_state
from vault.errors import Fault, InvalidInput
from vault.lifecycle.erasures import Line
from vault.retention.ends import day_of, ends_of, values_of
from vault.retention.holds import held_by
from vault.subjects.rows import happened_at, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from vault.catalogue.model import LegalClaim, Purpose
    from vault.policy.policy_set import PolicySet
    from vault.retention.ends import Claim, Ending, Ends, SubjectData, Value


EVERYTHING: Final = Scope()
OBLIGATION: Final = "legal-obligation"
CLAIMS: Final = "legal-claims"
HELD: Final = "hold"
ARTICLES: Final = {OBLIGATION: "17(3)(b)", CLAIMS: "17(3)(e)", HELD: "17(3)(e)"}


def checked_scope(policy_set: PolicySet, scope: Scope) -> Scope:
    """Return a scope with the canonical names of its fields.

    Raises:
        InvalidInput: a field, collection or purpose is unknown. The fault gives its position, and not the name.
    """
    catalogue = policy_set.catalogue
    fields: list[str] = []
    unknown: list[tuple[str, int]] = []
    for position, name in enumerate(scope.fields):
        try:
            fields.append(catalogue.field(name).whole)
        except UnknownName:
            unknown.append(("field", position))
    unknown += [("collection", at) for at, name in enumerate(scope.collections) if name not in catalogue.collections]
    unknown += [("purpose", at) for at, name in enumerate(scope.purposes) if name not in policy_set.purposes]
    faults = [
        Fault(f"/scope/{part}s/{position}", f"unknown-{part}", "the policies do not declare this name")
        for part, position in unknown
    ]
    if faults:
        raise InvalidInput("the scope contains unknown names", faults=faults, code="unknown-scope")
    return Scope(tuple(fields), scope.collections, scope.purposes)


def in_scope(policy_set: PolicySet, scope: Scope, state: ConsentState, now: datetime) -> Callable[[str], bool]:
    """Return a test whether a field, by its whole name, is in the scope of an erasure.

    If the scope names purposes, a field is in scope if one of them needs it and no other purpose needs it that still
    applies to this subject. Legal obligations do not count here: whether one keeps the field is for the verdict.
    """
    if scope == EVERYTHING:
        return lambda _whole: True
    names = [name if "." in name else f"{HOME}.{name}" for name in scope.fields]
    names += [f"{collection}.*" for collection in scope.collections]
    needed, needed_by_others = set(), set()
    for name, purpose in policy_set.purposes.items():
        fields = {view.rpartition(".")[0] for view in purpose.views}
        if name in scope.purposes:
            needed |= fields
        elif _applies(policy_set, purpose, state, now):
            needed_by_others |= fields
    by_purpose = {field.whole for field in policy_set.catalogue.fields()} & (needed - needed_by_others)
    return lambda whole: whole in by_purpose or any(covers(whole, name) for name in names)


def widened(scope: Scope, fields: Sequence[str]) -> Scope:
    """Return a scope with further fields, given by their whole names."""
    return replace(scope, fields=tuple(dict.fromkeys([*scope.fields, *fields])))


def _applies(policy_set: PolicySet, purpose: Purpose, state: ConsentState, now: datetime) -> bool:
    if not purpose.collects or purpose.legal_basis == LegalBasis.LEGAL_OBLIGATION or not purpose.in_force(now.date()):
        return False
    ground = purpose_ground(policy_set, purpose, now.date())
    # Only the decisions on purposes count: a restriction suspends the use of data, and not the need for it.
    return refusal(ground, ConsentState(state.purposes), to_microseconds(now)) is None


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


def decide(
    policy_set: PolicySet, data: SubjectData, scope: Scope, claims: Sequence[LegalClaim], now: datetime
) -> Verdicts:
    """Decide about every value of a subject that is in scope.

    Args:
        claims: what staff keep for legal claims.
    """
    state = unpack_state(data.row.standing)
    bodies = [(record, unpack(record.body)) for record in data.records]
    newest: dict[str, int] = {}
    for record, body in bodies:
        day = day_of(happened_at(record, body))
        newest[record.collection] = max(newest.get(record.collection, day), day)
    values = {(record.collection, record.id): values_of(record, body) for record, body in bodies}
    ends = ends_of(policy_set, state, data.clocks.at_least(newest), now)
    decided = verdicts(ends, values, in_scope(policy_set, scope, state, now), claims, now.date())
    for record, body in bodies:
        day = day_of(happened_at(record, body))
        fields = decided.get((record.collection, record.id), {})
        for name, verdict in fields.items():
            ended = _with_earlier_end(verdict, body[name].expires_at, now) if data.row.state == "retained" else verdict
            hold = held_by(state, f"{record.collection}.{name}", day)
            fields[name] = ended if hold is None else (Keep(HELD, hold.purpose, None), *ended)
    return decided


def verdicts(
    ends: Ends,
    records: Mapping[tuple[str, UUID], Mapping[str, Value]],
    is_in_scope: Callable[[str], bool],
    claims: Sequence[LegalClaim],
    today: date,
) -> Verdicts:
    """Decide about every value in scope by the laws and by what staff keep.

    Args:
        ends: until when each of the subject's values is kept, and by which law.
        records: the values of each record, by their names in the body.
        is_in_scope: whether a field, by its whole name, is to be erased unless something keeps it.
        claims: what staff keep.
        today: what ends before it keeps nothing.
    """
    decided: Verdicts = {}
    for place, values in records.items():
        for name, value in values.items():
            if is_in_scope(value.field):
                keeps = [*_by_law(ends.of(value), today), *_by_claims(claims, value.field, today)]
                decided.setdefault(place, {})[name] = tuple(sorted(keeps, key=_end, reverse=True))
    return decided


def _end(keep: Keep) -> date:
    return date.max if keep.until is None else keep.until


def _by_law(ending: Ending, today: date) -> Iterable[Keep]:
    day = today.toordinal()
    for claim in ending.claims:
        if claim.is_demanded(day):
            yield Keep(OBLIGATION, claim.ground, _until(claim, today))


def _until(claim: Claim, today: date) -> date:
    """Return until when a law demands a value."""
    if claim.counted_from is None and claim.demands is not None:
        # The period has not begun, and counts as if it began today: the clocks of an erased subject are deleted, so a
        # later beginning would go unnoticed. What takes longer needs a hold.
        return claim.demands.after(today)
    return date.fromordinal(claim.least or 0)


def _by_claims(claims: Sequence[LegalClaim], whole: str, today: date) -> Iterable[Keep]:
    ends = [
        claim.until for claim in claims if claim.until >= today and any(covers(whole, name) for name in claim.names)
    ]
    if ends:
        yield Keep(CLAIMS, None, max(ends))


def _with_earlier_end(verdict: Verdict, expires_at: int | None, now: datetime) -> Verdict:
    """Return a verdict by which the value of an erased subject stays until the day that the earlier erasure set.

    The clocks and consents from which that day followed were deleted by the earlier erasure. No law is cut short.
    """
    if expires_at is None or expires_at <= to_microseconds(now):
        return verdict
    until = from_microseconds(expires_at - 1).date()
    longest = max(verdict, key=_end, default=None)
    return verdict if longest is not None and _end(longest) >= until else (Keep(OBLIGATION, None, until), *verdict)


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
        place = row.collection, row.id
        body = unpack(row.body)
        for name, verdict in verdicts.get(place, {}).items():
            collected = body[name].collected_at
            moment = happened_at(row, body) if collected is None else collected
            if moment <= ends.get(f"{row.collection}.{name}", -1):
                older.setdefault(place, {})[name] = verdict
    return older


def keeps_any(verdicts: Verdicts) -> bool:
    """Tell whether any value is kept."""
    return any(verdict for fields in verdicts.values() for verdict in fields.values())


def purposes_kept_for(verdicts: Verdicts) -> tuple[str, ...]:
    """List the purposes for which anything is kept. Those of holds are stored with the holds."""
    keeps = (keep for fields in verdicts.values() for verdict in fields.values() for keep in verdict)
    return tuple(sorted({keep.purpose for keep in keeps if keep.purpose is not None and keep.ground != HELD}))


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
