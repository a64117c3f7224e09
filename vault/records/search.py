"""Find subjects by encrypted fields: blind indexes give candidates, which are verified after unsealing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from vault.access.authorization import audit_entry, decide, refused_codes, require_all, whole_names
from vault.access.recording import audited
from vault.catalogue.types import ValueProblem, decode, index_text
from vault.catalogue.types.text import MAX_LENGTH
from vault.clock import to_microseconds
from vault.consent.legal_ground import subject_refusals
from vault.consent.model import has_holds
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, Fault, InvalidInput
from vault.records.read import MOST_FIELDS
from vault.records.render import SubjectAnswer, plan_of, show_all
from vault.retention.ends import schedule_of
from vault.retention.filter import Body, gates
from vault.subjects.rows import PREFIXES, matches, open_body, search_digest, tail_length, unpack
from vault.subjects.store import SubjectQuery
from vault.subjects.validation import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vault.catalogue.model import Catalogue, Field, Index
    from vault.catalogue.types import JsonValue
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import RecordId, SubjectId
    from vault.policy.decision import Decision
    from vault.retention.filter import Gate
    from vault.subjects.store import Row, StoredSubject

    Candidates = dict[SubjectId, list[RecordId]]
    # For one criterion: the subjects with its digest, each with the records that may have the value.

MOST_RESULTS = 100
MOST_CANDIDATES = 1_000
MOST_CRITERIA = 5


@dataclass(frozen=True, slots=True)
class Criterion:
    """One condition of a search: an index of a field, and the normalised text to match."""

    asked: str
    field: Field
    by: Index
    text: str


class SearchAnswer(msgspec.Struct, frozen=True, gc=False):
    """The subjects that match, with the requested fields.

    ``more`` is set if there may be others: beyond the limit, or beyond the candidates that one search verifies.
    """

    results: list[SubjectAnswer]
    more: bool
    audit: UUID


@audited("search")
async def find_subjects(
    services: Services,
    caller: Caller,
    *,
    match: Mapping[str, JsonValue],
    fields: Sequence[str],
    purpose: str,
    limit: int = 20,
) -> SearchAnswer:
    """Find the subjects that match all criteria, and show fields of them.

    Args:
        caller: needs ``search`` on every field to match and ``read`` on every field to show.
        match: field to value (exact), or to ``{"prefix": "Ad"}`` or ``{"last_4": "4711"}``.
        fields: names of fields and views to show.
        limit: 1 to 100.

    Raises:
        InvalidInput: a field has no such index, or a value is invalid.
        Denied: a field may not be searched, or none of the fields may be read.
        TooMany: the principal's rate limit for searches is reached; it is lower than that for reads.
        Unavailable: a database does not answer.
    """
    if not 1 <= limit <= MOST_RESULTS or len(fields) > MOST_FIELDS or len(set(fields)) != len(fields):
        raise InvalidInput(
            f"a search shows 1 to {MOST_RESULTS} subjects and names each field once", code="invalid-search"
        )
    if not services.limits.try_take(caller.principal, "search", 1):
        await services.limits.take(caller.principal, "search", 1)
    searching = await decide(services, caller, "search", purpose, list(match), verb="search", at="/match")
    await require_all(services, caller, searching, "search")
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    criteria = parse_criteria(catalogue, match)
    reading = await decide(services, caller, "search", purpose, fields, verb="read") if fields else None
    if reading is not None and not reading.granted:
        await require_all(services, caller, reading, "search")
    search = _Search(services, caller, searching, reading, criteria, services.clock.now())
    candidates, is_cut = await _candidates(search)
    try:
        keys, matched = await _verify(search, candidates)
        results = await _show(search, matched[:limit], keys)
    except CannotOpen:
        # A partial erasure may have resealed the values since the keys were cached: fetch everything once more.
        for subject in candidates[0]:
            services.keyring.evict(caller.tenant, subject)
        keys, matched = await _verify(search, candidates)
        results = await _show(search, matched[:limit], keys)
    audit = await _record(search, matched[:limit])
    return SearchAnswer(results, is_cut or len(matched) > limit, audit)


@dataclass(frozen=True, slots=True)
class _Search:
    """One search: who searches for what, and what the policies decide about the fields to match and to show."""

    services: Services
    caller: Caller
    searching: Decision
    reading: Decision | None
    criteria: list[Criterion]
    moment: datetime


def parse_criteria(catalogue: Catalogue, match: Mapping[str, JsonValue]) -> list[Criterion]:
    """Parse the criteria of a search, by the indexes that the catalogue declares.

    Raises:
        InvalidInput: no criterion or too many, a field without such an index, or an invalid value.
    """
    if not 1 <= len(match) <= MOST_CRITERIA:
        raise InvalidInput(f"a search has 1 to {MOST_CRITERIA} criteria", code="invalid-search")
    return [_criterion(catalogue.field(name), name, condition) for name, condition in match.items()]


def _criterion(field: Field, asked: str, condition: JsonValue) -> Criterion:
    kind, value = "exact", condition
    if isinstance(condition, dict) and len(condition) == 1:
        ((kind, value),) = condition.items()
    index = next((index for index in field.indexes if index.kind == kind), None)
    at = f"/match/{asked}"
    if index is None:
        raise InvalidInput(
            "the field has no such index",
            faults=[Fault(at, "not-searchable", "the catalogue declares no such search on this field")],
            code="not-searchable",
            hint="GET /v1/catalogue says how each field can be searched",
        )
    return Criterion(asked, field, index, _text(field, kind, value, at))


def _bounded(field: Field, value: JsonValue) -> JsonValue:
    """Return a value that is no longer than one of the field can be; folding a longer one would be work for nothing."""
    if isinstance(value, str) and len(value) > field.options.get("max_length", MAX_LENGTH):
        raise ValueError
    return value


def _text(field: Field, kind: str, value: JsonValue, at: str) -> str:
    try:
        if kind == "exact":
            return index_text(field.type, normalise(field, value))
        text = index_text(field.type, _bounded(field, value))
    except (ValueProblem, ValueError):
        raise InvalidInput(
            "the value to search for is invalid for its field",
            faults=[Fault(at, "invalid-value", "not a value of this field's type")],
            code="invalid-value",
        ) from None
    if (kind == "prefix" and len(text) < PREFIXES.start) or (kind != "prefix" and len(text) != tail_length(kind)):
        raise InvalidInput(
            "the value to search for is too short or too long for this index",
            faults=[Fault(at, "invalid-value", "a prefix has 2 letters or more; last_4 has exactly 4")],
            code="invalid-value",
        )
    return text


async def _candidates(search: _Search) -> tuple[list[Candidates], bool]:
    """Look up every criterion and intersect the subjects. Also return whether a criterion has too many candidates."""
    services, tenant = search.services, search.caller.tenant
    index_keys = await services.keyring.index_keys(tenant)
    by_criterion: list[Candidates] = []
    is_cut = False
    for criterion in search.criteria:
        digest = search_digest(index_keys, criterion.field, criterion.by, criterion.text)
        candidates: Candidates = {}
        rows = await services.subjects.by_digest(tenant, digest, most=MOST_CANDIDATES + 1)
        is_cut = is_cut or len(rows) > MOST_CANDIDATES
        for subject, record in rows[:MOST_CANDIDATES]:
            candidates.setdefault(subject, []).append(record)
        by_criterion.append(candidates)
    common = sorted(set.intersection(*(set(candidates) for candidates in by_criterion)))
    return [{subject: candidates[subject] for subject in common} for candidates in by_criterion], is_cut


async def _verify(
    search: _Search, candidates: list[Candidates]
) -> tuple[Mapping[SubjectId, SubjectKeys], list[StoredSubject]]:
    """Open the matched fields and return the subjects that really match, by values that may still be shown."""
    services, caller, reading = search.services, search.caller, search.reading
    ids = tuple(candidates[0])
    if not ids:
        return {}, []
    many = plan_of(services, caller, reading).collections if reading is not None else ()
    found = await services.subjects.find(SubjectQuery(caller.tenant, ids, profile=True, many=many))
    keys = await services.keyring.subject_keys(caller.tenant, list(ids))
    pairs = [(subject, record) for by_id in candidates for subject, records in by_id.items() for record in records]
    rows = await services.subjects.rows(caller.tenant, pairs)
    refusals = subject_refusals(services, caller, search.searching, found)
    subjects = [
        subject
        for subject, refusal in zip(found, refusals, strict=True)
        if subject is not None and subject.id in keys and refusal is None
    ]
    verification = _Verification(search, keys, rows, await _gates(search, subjects, rows))
    matched = [
        subject
        for subject in subjects
        if all(
            any(verification.matches(subject.id, record, criterion) for record in by_id[subject.id])
            for criterion, by_id in zip(search.criteria, candidates, strict=True)
        )
    ]
    return keys, matched


@dataclass(frozen=True, slots=True)
class _Verification:
    """The keys and records of the candidates, and the gates of subjects whose values may be expired or held."""

    search: _Search
    keys: Mapping[SubjectId, SubjectKeys]
    rows: Mapping[tuple[SubjectId, RecordId], Row]
    gates: Mapping[SubjectId, Gate]

    def matches(self, subject: SubjectId, record: RecordId, criterion: Criterion) -> bool:
        """Return whether a record has the value, and the value may still be shown."""
        row, name = self.rows.get((subject, record)), criterion.field.name
        stored = None if row is None else unpack(row.body).get(name)
        gate = self.gates.get(subject)
        # A short digest may lead to a record of another collection that has a field of the same name.
        if row is None or stored is None or row.collection != criterion.field.collection:
            return False
        if gate is not None:
            if gate.before(row.collection, row.id).refusal(open_body(row.body), name, stored, None) is not None:
                return False
        elif stored.expires_at is not None and stored.expires_at <= to_microseconds(self.search.moment):
            return False
        aad = record_aad(self.search.caller.tenant, subject, row.collection, row.id)
        value = decode(self.keys[subject].open(name, stored.sealed, aad))
        return matches(criterion.by.kind, index_text(criterion.field.type, value), criterion.text)


async def _gates(
    search: _Search, subjects: list[StoredSubject], rows: Mapping[tuple[SubjectId, RecordId], Row]
) -> Mapping[SubjectId, Gate]:
    """Fetch gates for the subjects whose values may be expired or held: such values must not match."""
    services, searching, tenant = search.services, search.searching, search.caller.tenant
    schedule = schedule_of(services.policies.active(tenant).policy_set)
    lasting = schedule.lasting(searching.purpose.name, [view.field for view in searching.views.values()])
    now, old = to_microseconds(search.moment), set()
    for (subject, _record), row in rows.items():
        body = open_body(row.body)
        if lasting.may_be_over(body.since, body.origins, now):
            old.add(subject)
    gated = {subject.id: subject for subject in subjects if subject.id in old or has_holds(subject.standing)}
    if not gated:
        return {}
    bodies = [
        Body(subject, row.collection, row.id, row.body) for (subject, _id), row in rows.items() if subject in gated
    ]
    return await gates(services, tenant, searching.purpose, list(gated.values()), bodies, search.moment)


async def _show(
    search: _Search, matched: list[StoredSubject], keys: Mapping[SubjectId, SubjectKeys]
) -> list[SubjectAnswer]:
    """Show the requested fields of the subjects that match."""
    services, caller, reading = search.services, search.caller, search.reading
    if reading is None:
        return [SubjectAnswer(subject.id, {}, {}) for subject in matched]
    plan = plan_of(services, caller, reading)
    pairs = [(subject, keys[subject.id]) for subject in matched]
    answers = await show_all(services, caller.tenant, plan, pairs, search.moment)
    return [SubjectAnswer(answer.subject, answer.values, {**answer.denied, **reading.refused}) for answer in answers]


async def _record(search: _Search, matched: list[StoredSubject]) -> UUID:
    services, searching, reading = search.services, search.searching, search.reading
    names = whole_names(reading) if reading is not None else {}
    refused = dict(reading.refused) if reading is not None else {}
    entry = audit_entry(
        services,
        search.caller,
        action="search",
        decision="partly" if refused else "allowed",
        purpose=searching.purpose.name,
        matched=tuple(whole_names(searching).values()),
        fields=tuple(name for asked, name in names.items() if asked not in refused),
        refused={} if reading is None else refused_codes(reading, refused),
        policy=searching.policy_version,
        subjects=tuple(subject.pseudonym for subject in matched),
    )
    await services.audit_log.append(entry)
    return entry.id
