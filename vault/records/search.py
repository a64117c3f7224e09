"""Find customers by encrypted fields: blind indexes give candidates, which are checked again after unsealing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vault.access.authorization import audit_entry, decide, refused_codes, require_all, whole_names
from vault.access.recording import audited
from vault.catalogue.types import ValueProblem, decode, index_text
from vault.clock import to_microseconds
from vault.consent.legal_ground import subject_refusals
from vault.consent.state import has_holds
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, Fault, InvalidInput
from vault.records.read import MOST_FIELDS
from vault.records.read_plan import opening_of
from vault.records.render import Shown, show_all
from vault.retention.ends import schedule_of
from vault.retention.filter import Body, gates
from vault.subjects.blind_index import PREFIXES, matches, sought, tail_length
from vault.subjects.record_body import open_body, unpack
from vault.subjects.store import Wanted
from vault.subjects.validation import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from vault.catalogue.model import Catalogue, Field, Index
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import RecordId, SubjectId
    from vault.policy.decision import Decision
    from vault.retention.filter import Gate
    from vault.subjects.store import Found

    Leads = dict[SubjectId, list[RecordId]]
    # For one criterion: the subjects to whom its digest leads, each with the records that may hold the value.

MOST_RESULTS = 100
MOST_CANDIDATES = 1_000
MOST_CRITERIA = 5


class Criterion(NamedTuple):
    """One thing to match: an index of a field, and the normalised text to look for."""

    asked: str
    field: Field
    by: Index
    text: str


class SearchAnswer(NamedTuple):
    """Who was found, with the fields asked for.

    ``more`` says that there may be others: beyond the limit, or beyond the candidates that one search looks at.
    """

    results: list[Shown]
    more: bool
    audit: UUID


@audited("search")
async def find_subjects(
    services: Services,
    caller: Caller,
    *,
    match: Mapping[str, Any],
    fields: Sequence[str],
    purpose: str,
    limit: int = 20,
) -> SearchAnswer:
    """Find the subjects that match all criteria and show fields of them.

    Args:
        caller: who asks; it needs ``search`` on every field matched and ``read`` on every field shown.
        match: field to value (exact), or to ``{"prefix": "Ad"}`` or ``{"last_4": "4711"}``.
        fields: names of fields and views to show.
        purpose: why.
        limit: 1 to 100.

    Raises:
        InvalidInput: no such index, or a value without its form.
        Denied: a field may not be searched, or none of the fields may be read.
        TooMany: the principal has searched too often; searching is metered more strictly than reading.
        Unavailable: a part did not answer.
    """
    if not 1 <= limit <= MOST_RESULTS or len(fields) > MOST_FIELDS or len(set(fields)) != len(fields):
        raise InvalidInput(
            f"a search shows 1 to {MOST_RESULTS} people and names each field once", code="invalid-search"
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
    at, is_cut = await _candidates(services, caller, criteria)
    moment = services.clock.now()
    try:
        keys, matched = await _checked(services, caller, at, criteria, reading, searching, moment)
        results = await _shown(services, caller, reading, matched[:limit], keys, moment)
    except CannotOpen:  # sealed anew, perhaps, by an erasure of a part since the key was opened here: look once more
        for person in at[0]:
            services.keyring.evict(caller.tenant, person)
        keys, matched = await _checked(services, caller, at, criteria, reading, searching, moment)
        results = await _shown(services, caller, reading, matched[:limit], keys, moment)
    audit = await _record(services, caller, searching, reading, matched[:limit])
    return SearchAnswer(results, is_cut or len(matched) > limit, audit)


def parse_criteria(catalogue: Catalogue, match: Mapping[str, Any]) -> list[Criterion]:
    """Read what is to be matched against the indexes that the catalogue declares.

    Raises:
        InvalidInput: no criterion or too many, a field without such an index, or a value without its form.
    """
    if not 1 <= len(match) <= MOST_CRITERIA:
        raise InvalidInput(f"a search has 1 to {MOST_CRITERIA} criteria", code="invalid-search")
    return [_criterion(catalogue.field(asked), asked, wanted) for asked, wanted in match.items()]


def _criterion(field: Field, asked: str, wanted: Any) -> Criterion:
    kind, value = "exact", wanted
    if isinstance(wanted, dict) and len(wanted) == 1:
        ((kind, value),) = wanted.items()
    index = next((each for each in field.indexes if each.kind == kind), None)
    at = f"/match/{asked}"
    if index is None:
        raise InvalidInput(
            "the field has no such index",
            faults=[Fault(at, "not-searchable", "the catalogue declares no such search on this field")],
            code="not-searchable",
            hint="GET /v1/catalogue says how each field can be searched",
        )
    return Criterion(asked, field, index, _text(field, kind, value, at))


def _text(field: Field, kind: str, value: Any, at: str) -> str:
    try:
        if kind == "exact":
            return index_text(field.type, normalise(field, value))
        text = index_text(field.type, value)
    except (ValueProblem, ValueError):
        raise InvalidInput(
            "what is searched for does not have the form of its field",
            faults=[Fault(at, "invalid-value", "not a value of this field's type")],
            code="invalid-value",
        ) from None
    if (kind == "prefix" and len(text) < PREFIXES.start) or (kind != "prefix" and len(text) != tail_length(kind)):
        raise InvalidInput(
            "what is searched for is too short or too long for this index",
            faults=[Fault(at, "invalid-value", "a prefix has 2 letters or more; last_4 has exactly 4")],
            code="invalid-value",
        )
    return text


async def _candidates(services: Services, caller: Caller, criteria: list[Criterion]) -> tuple[list[Leads], bool]:
    """Look every criterion up; keep whom all of them lead to. Also say whether one had more than are looked at."""
    index_keys = await services.keyring.index_keys(caller.tenant)
    found: list[Leads] = []
    is_cut = False
    for criterion in criteria:
        digest = sought(index_keys, criterion.field, criterion.by, criterion.text)
        people: Leads = {}
        rows = await services.subjects.by_digest(caller.tenant, digest, most=MOST_CANDIDATES + 1)
        is_cut = is_cut or len(rows) > MOST_CANDIDATES
        for subject, record in rows[:MOST_CANDIDATES]:
            people.setdefault(subject, []).append(record)
        found.append(people)
    common = set.intersection(*(set(people) for people in found))
    return [{subject: people[subject] for subject in sorted(common)} for people in found], is_cut


async def _checked(
    services: Services,
    caller: Caller,
    at: list[Leads],
    criteria: list[Criterion],
    reading: Decision | None,
    searching: Decision,
    moment: datetime,
) -> tuple[Mapping[SubjectId, SubjectKeys], list[Found]]:
    """Open the matched fields of the candidates and keep those who really match, by a value that may still be shown."""
    people = tuple(at[0])
    if not people:
        return {}, []
    opening = opening_of(services, caller, reading) if reading is not None else None
    many = opening.collections if opening is not None else ()
    found = await services.subjects.find(Wanted(caller.tenant, people, profile=True, many=many))
    keys = await services.keyring.subject_keys(caller.tenant, list(people))
    pairs = [(subject, record) for each in at for subject, records in each.items() for record in records]
    rows = await services.subjects.rows(caller.tenant, pairs)
    refusals = subject_refusals(services, caller, searching, found)
    there = [
        each
        for each, refusal in zip(found, refusals, strict=True)
        if each is not None and each.id in keys and refusal is None
    ]
    look = _Look(
        caller, keys, rows, to_microseconds(moment), await _closely(services, caller, searching, there, rows, moment)
    )
    matched = [
        each
        for each in there
        if all(
            any(_matches(look, each.id, record, criterion) for record in by_subject[each.id])
            for criterion, by_subject in zip(criteria, at, strict=True)
        )
    ]
    return keys, matched


class _Look(NamedTuple):
    """What it takes to look whether a candidate matches; ``gates`` are those of people who are looked at closer."""

    caller: Caller
    keys: Mapping[SubjectId, SubjectKeys]
    rows: Mapping[tuple[Any, Any], Any]
    now: int
    gates: Mapping[SubjectId, Gate]


async def _closely(
    services: Services,
    caller: Caller,
    searching: Decision,
    people: list[Found],
    rows: Mapping[tuple[Any, Any], Any],
    moment: datetime,
) -> Mapping[SubjectId, Gate]:
    """Fetch gates for those by whose values, should they be over or held, they must not be found."""
    schedule = schedule_of(services.policies.active(caller.tenant).policy_set)
    lasting = schedule.lasting(searching.purpose.name, [view.field for view in searching.views.values()])
    now, old = to_microseconds(moment), set()
    for (subject, _record), row in rows.items():
        body = open_body(row.body)
        if lasting.may_be_over(body.since, body.origins, now):
            old.add(subject)
    closer = [each for each in people if each.id in old or has_holds(each.standing)]
    if not closer:
        return {}
    whom = {each.id for each in closer}
    bodies = [Body(at[0], row.collection, row.id, row.body) for at, row in rows.items() if at[0] in whom]
    return await gates(services, caller.tenant, searching.purpose, closer, bodies, moment)


def _matches(look: _Look, subject: SubjectId, record: RecordId, criterion: Criterion) -> bool:
    row, name = look.rows.get((subject, record)), criterion.field.name
    stored = None if row is None else unpack(row.body).get(name)
    gate = look.gates.get(subject)
    if row is None or stored is None:
        return False
    if gate is not None:
        if gate.before(row.collection, row.id).refusal(open_body(row.body), name, stored, None) is not None:
            return False
    elif stored.expires_at is not None and stored.expires_at <= look.now:
        return False
    where = record_aad(look.caller.tenant, subject, row.collection, row.id)
    value = decode(look.keys[subject].open(name, stored.sealed, where))
    return matches(criterion.by.kind, index_text(criterion.field.type, value), criterion.text)


async def _shown(
    services: Services,
    caller: Caller,
    reading: Decision | None,
    matched: list[Found],
    keys: Mapping[SubjectId, SubjectKeys],
    moment: datetime,
) -> list[Shown]:
    """Show fields of those who match; of whom something may be over or held, after a closer look."""
    if reading is None:
        return [Shown(each.id, {}, {}) for each in matched]
    people = [(each, keys[each.id]) for each in matched]
    shown = await show_all(
        services, caller.tenant, reading.purpose, opening_of(services, caller, reading), people, moment
    )
    return [Shown(each.subject, each.values, {**each.denied, **reading.refused}) for each in shown]


async def _record(
    services: Services, caller: Caller, searching: Decision, reading: Decision | None, matched: list[Found]
) -> UUID:
    names = whole_names(reading) if reading is not None else {}
    refused = dict(reading.refused) if reading is not None else {}
    made = audit_entry(
        services,
        caller,
        action="search",
        decision="partly" if refused else "allowed",
        purpose=searching.purpose.name,
        matched=tuple(whole_names(searching).values()),
        fields=tuple(name for asked, name in names.items() if asked not in refused),
        refused={} if reading is None else refused_codes(reading, refused),
        policy=searching.policy_version,
        subjects=tuple(each.pseudonym for each in matched),
    )
    await services.audit_log.append(made)
    return made.id
