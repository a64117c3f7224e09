"""Find subjects by encrypted fields: blind indexes give candidates, which are verified after unsealing."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from vault.access.authorization import audit_entry, decide, refused_codes, require_all, whole_names
from vault.access.cursor import open_cursor, seal_cursor
from vault.access.recording import audited
from vault.errors import CannotOpen, InvalidInput
from vault.ids import SubjectId
from vault.records.criteria import parse_criteria
from vault.records.matching import Search, find_page
from vault.records.read import MOST_FIELDS
from vault.records.render import SubjectAnswer, plan_of, show_all
from vault.subjects.index_builds import require_built
from vault.subjects.leads import START

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vault.catalogue.types import JsonValue
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.subjects.store import StoredSubject

MOST_RESULTS = 100


class SearchAnswer(msgspec.Struct, frozen=True, gc=False):
    """The subjects that match, with the requested fields, in the order of their ids.

    ``next`` is the cursor of the next page, and ``more`` is set if there is one. A page may be short and still have a
    next one: it ends after the candidates that one search opens.
    """

    results: list[SubjectAnswer]
    more: bool
    next: str | None
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
    cursor: str | None = None,
) -> SearchAnswer:
    """Find the subjects that match all criteria, and show fields of them.

    Args:
        caller: needs ``search`` on every field to match and ``read`` on every field to show.
        match: field to value (exact), or to ``{"prefix": "Ad"}`` or ``{"last_4": "4711"}``.
        fields: names of fields and views to show.
        limit: 1 to 100.
        cursor: ``next`` of the page before.

    Raises:
        InvalidInput: a field has no such index, a value or the cursor is invalid, or each of several criteria is
            shared by too many records.
        Denied: a field may not be searched, or none of the fields may be read.
        TooMany: the principal's rate limit for searches is reached; it is lower than that for reads.
        Unavailable: an index does not lead to all people yet (``index-building``), or a database does not answer.
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
    await require_built(services.data, caller.tenant, [(each.field, each.by.kind) for each in criteria])
    reading = await decide(services, caller, "search", purpose, fields, verb="read") if fields else None
    if reading is not None and not reading.granted:
        await require_all(services, caller, reading, "search")
    search = Search(services, caller, searching, reading, criteria, services.clock.now())
    asked = _asked(search)
    after = START
    if cursor is not None:
        after = SubjectId(UUID(bytes=await open_cursor(services, caller, asked, cursor)))
    seen: set[SubjectId] = set()
    try:
        page = await find_page(search, after, limit, seen)
        results = await _show(search, page.matched, page.keys)
    except CannotOpen:
        # A partial erasure may have resealed the values since the keys were cached: fetch everything once more.
        for subject in seen:
            services.keyring.evict(caller.tenant, subject)
        page = await find_page(search, after, limit, seen)
        results = await _show(search, page.matched, page.keys)
    following = None if page.end is None else await seal_cursor(services, caller, asked, page.end.bytes)
    audit = await _record(search, page.matched)
    return SearchAnswer(results, following is not None, following, audit)


def _asked(search: Search) -> object:
    """Return the question whose pages belong together: its order does not matter, nor do the fields to show."""
    criteria = sorted((each.field.whole, each.by.kind, each.text) for each in search.criteria)
    return ["search", search.searching.purpose.name, criteria]


async def _show(
    search: Search, matched: list[StoredSubject], keys: Mapping[SubjectId, SubjectKeys]
) -> list[SubjectAnswer]:
    """Show the requested fields of the subjects that match."""
    services, caller, reading = search.services, search.caller, search.reading
    if reading is None:
        return [SubjectAnswer(subject.id, {}, {}) for subject in matched]
    plan = plan_of(services, caller, reading)
    pairs = [(subject, keys[subject.id]) for subject in matched]
    answers = await show_all(services, caller.tenant, plan, pairs, search.moment)
    return [SubjectAnswer(answer.subject, answer.values, {**answer.denied, **reading.refused}) for answer in answers]


async def _record(search: Search, matched: list[StoredSubject]) -> UUID:
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
