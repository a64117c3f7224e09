"""List the records of one collection of a subject, page by page, with the fields that the decision grants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, decide, refused_codes, whole_names
from vault.access.recording import audited
from vault.clock import rfc3339
from vault.consent.legal_ground import subject_refusals
from vault.consent.model import has_holds
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, Denied, InvalidInput, NotFound, Refusal
from vault.records.append import check_collection
from vault.records.read_plan import Item, Items, Moment, plan_of
from vault.records.render import show_row
from vault.retention.filter import Body, gates
from vault.subjects.store import SubjectQuery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import RecordId, SubjectId
    from vault.policy.decision import Decision
    from vault.retention.filter import Gate
    from vault.subjects.store import StoredSubject

MOST = 200


class ListedRecord(msgspec.Struct, frozen=True, gc=False):
    """One record: its times (RFC 3339), the values that are shown, and why other granted fields are not."""

    id: UUID
    revision: int
    occurred_at: str | None
    created_at: str
    fields: dict[str, Any]
    denied: dict[str, Refusal]


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """A page of records, newest first, and the refusals that apply to all of them.

    ``next`` is the last record of the page, from which the next one starts; None if there are no more.
    """

    records: list[ListedRecord]
    denied: dict[str, Refusal]
    next: RecordId | None
    audit: UUID


@audited("list")
async def list_records(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    collection: str,
    *,
    fields: Sequence[str],
    purpose: str,
    before: RecordId | None = None,
    limit: int = 50,
) -> ListAnswer:
    """List records.

    Args:
        fields: names within the collection (``amount``) or whole names (``purchase.amount``).
        before: the page starts after this record.
        limit: 1 to 200 records.

    Raises:
        InvalidInput: the collection, a field, the purpose or the limit is invalid.
        Denied: no field may be shown.
        NotFound: there is no such subject.
        TooMany, Unavailable: as in every operation.
    """
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    check_collection(catalogue, collection)
    whole = _whole_names(collection, fields)
    if not 1 <= limit <= MOST or not fields or len(whole) != len(fields):
        raise InvalidInput(f"a page has 1 to {MOST} records and names each field once", code="invalid-page")
    await services.limits.take(caller.principal, "read", limit)
    decision = await decide(services, caller, "list", purpose, list(whole), verb="read")
    _require_one_collection(decision, collection)
    (found,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
    refusal = subject_refusals(services, caller, decision, [found])[0] if decision.granted else None
    keys = None
    if decision.granted and refusal is None:
        keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
        refusal = SUBJECT_NOT_FOUND if keys is None else None  # being erased: the key is destroyed before the row
    denied = {whole[asked]: refused for asked, refused in decision.refused.items()}
    rows: list[Any] = []
    if keys is not None and found is not None:
        query = _PageQuery(found, collection, before, limit)
        try:
            rows, records = await _page(services, caller, query, decision, whole, keys)
        except CannotOpen:
            # A partial erasure may have resealed the values since this key was cached: fetch both once more.
            services.keyring.evict(caller.tenant, subject)
            keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject, keys)
            rows, records = await _page(services, caller, query, decision, whole, keys)
    else:
        denied |= {whole[asked]: refusal for asked, _view in decision.granted if refusal is not None}
        records = []
    audit = await _record(services, caller, decision, found, refusal)
    if not rows and (refusal is not None or not decision.granted):
        if refusal is SUBJECT_NOT_FOUND:
            raise NotFound(refusal.detail, code=refusal.code, audit=str(audit))
        raise Denied("none of the fields may be read in this way", denied=denied, audit=str(audit))
    return ListAnswer(records, denied, rows[limit - 1].id if len(rows) > limit else None, audit)


def _whole_names(collection: str, fields: Sequence[str]) -> dict[str, str]:
    """Map the whole name of each field to the name in the request."""
    return {name if name.startswith(f"{collection}.") else f"{collection}.{name}": name for name in fields}


def _require_one_collection(decision: Decision, collection: str) -> None:
    if any(view.field.collection != collection for view in decision.views.values()):
        raise InvalidInput("all fields of a list belong to its collection", code="unknown-field")


@dataclass(frozen=True, slots=True)
class _PageQuery:
    """A page of one collection of one subject."""

    found: StoredSubject
    collection: str
    before: RecordId | None
    limit: int


async def _page(
    services: Services, caller: Caller, query: _PageQuery, decision: Decision, whole: dict[str, str], keys: SubjectKeys
) -> tuple[list[Any], list[ListedRecord]]:
    """Fetch a page and one record more, which shows that there is a next page; render the page."""
    async with services.data.reading() as connection:
        rows = await services.subjects.page(
            connection, caller.tenant, query.found.id, query.collection, before=query.before, limit=query.limit + 1
        )
    shown = rows[: query.limit]
    items, moment = _items(services, caller, decision, whole), services.clock.now()
    listed = None
    if not has_holds(query.found.standing):
        listed = _show(caller, query, shown, items, moment, keys)
    if listed is None:
        bodies = [Body(query.found.id, query.collection, row.id, row.body) for row in shown]
        filters = await gates(services, caller.tenant, decision.purpose, [query.found], bodies, moment)
        listed = _show(caller, query, shown, items, moment, keys, filters[query.found.id])
    return rows, listed or []


def _items(services: Services, caller: Caller, decision: Decision, whole: dict[str, str]) -> Items:
    """Return the views to show, under the names of the request."""
    ((_collection, items),) = plan_of(services, caller, decision).many
    renamed = [Item(whole[item.asked], item.field, item.type, item.view) for item in items.each]
    return Items.of(renamed, items.lasting)


def _show(
    caller: Caller,
    query: _PageQuery,
    rows: Sequence[Any],
    items: Items,
    moment: datetime,
    keys: SubjectKeys,
    gate: Gate | None = None,
) -> list[ListedRecord] | None:
    """Render records. Returns None if a value may have expired: then a filter has to decide."""
    now = Moment.of(moment)
    listed = []
    for row in rows:
        shown: dict[str, Any] = {}
        missing: dict[str, Refusal] = {}
        aad = record_aad(caller.tenant, query.found.id, query.collection, row.id)
        record_gate = None if gate is None else gate.before(query.collection, row.id)
        if not show_row(items, aad, row.body, keys, now, shown, missing, record_gate):
            return None
        occurred_at = None if row.occurred_at is None else rfc3339(row.occurred_at)
        listed.append(ListedRecord(row.id, row.revision, occurred_at, rfc3339(row.created_at), shown, missing))
    return listed


async def _record(
    services: Services, caller: Caller, decision: Decision, found: StoredSubject | None, refusal: Refusal | None
) -> UUID:
    names = whole_names(decision)
    refused = dict(decision.refused)
    if refusal is not None:
        refused |= {asked: refusal for asked, _view in decision.granted}
    entry = audit_entry(
        services,
        caller,
        action="list",
        decision="allowed" if not refused else "partly" if len(refused) < len(names) else "denied",
        purpose=decision.purpose.name,
        fields=tuple(name for asked, name in names.items() if asked not in refused),
        refused=refused_codes(decision, refused),
        rule=next(iter(refused.values())).rule if refused else None,
        policy=decision.policy_version,
        subjects=() if found is None else (found.pseudonym,),
    )
    await services.audit_log.append(entry)
    return entry.id
