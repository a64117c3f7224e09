"""List the records of one collection of a subject, page by page, with the fields that the decision grants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, decide, refused_codes, whole_names
from vault.access.recording import audited
from vault.clock import rfc3339
from vault.consent.legal_ground import subject_refusals
from vault.consent.model import has_holds
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, Denied, InvalidInput, NotFound, Refusal
from vault.records.render import Item, Items, Renderer, plan_of
from vault.records.write import check_collection
from vault.retention.filter import Body, gates
from vault.subjects.store import SubjectQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import RecordId
    from vault.policy.decision import Decision
    from vault.retention.filter import Gate
    from vault.storage.columns import AnyRow
    from vault.subjects.store import PageQuery, StoredSubject

MOST = 200


class ListedRecord(msgspec.Struct, frozen=True, gc=False):
    """One record: its times (RFC 3339), the values that are shown, and why other granted fields are not."""

    id: UUID
    revision: int
    occurred_at: str | None
    created_at: str
    fields: dict[str, object]
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


@dataclass(frozen=True, slots=True)
class _Listing:
    """One page to list, with its subject and the decision about its fields.

    ``names`` has the name in the request by the whole name of each field.
    """

    services: Services
    caller: Caller
    query: PageQuery
    decision: Decision
    names: dict[str, str]
    subject: StoredSubject | None


@audited("list")
async def list_records(
    services: Services, caller: Caller, query: PageQuery, *, fields: Sequence[str], purpose: str
) -> ListAnswer:
    """List records.

    Args:
        query: of 1 to 200 records.
        fields: names within the collection (``amount``) or whole names (``purchase.amount``).

    Raises:
        InvalidInput: the collection, a field, the purpose or the limit is invalid.
        Denied: no field may be shown.
        NotFound: there is no such subject.
        TooMany, Unavailable: as in every operation.
    """
    subject, collection, limit = query.subject, query.collection, query.limit
    check_collection(services.policies.active(caller.tenant).policy_set.catalogue, collection)
    names = {name if name.startswith(f"{collection}.") else f"{collection}.{name}": name for name in fields}
    if not 1 <= limit <= MOST or not fields or len(names) != len(fields):
        raise InvalidInput(f"a page has 1 to {MOST} records and names each field once", code="invalid-page")
    await services.limits.take(caller.principal, "read", limit)
    decision = await decide(services, caller, "list", purpose, list(names), verb="read")
    if any(view.field.collection != collection for view in decision.views.values()):
        raise InvalidInput("all fields of a list belong to its collection", code="unknown-field")
    (found,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
    refusal = subject_refusals(services, caller, decision, [found])[0] if decision.granted else None
    keys = None
    if decision.granted and refusal is None:
        keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
        refusal = SUBJECT_NOT_FOUND if keys is None else None  # being erased: the key is destroyed before the row
    denied = {names[asked]: refused for asked, refused in decision.refused.items()}
    listing = _Listing(services, caller, query, decision, names, found)
    rows: list[AnyRow] = []
    records: list[ListedRecord] = []
    if keys is not None and found is not None:
        try:
            rows, records = await _page(listing, found, keys)
        except CannotOpen:
            # A partial erasure may have resealed the values since this key was cached: fetch both once more.
            services.keyring.evict(caller.tenant, subject)
            keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject, keys)
            rows, records = await _page(listing, found, keys)
    else:
        denied |= {names[asked]: refusal for asked, _view in decision.granted if refusal is not None}
    audit = await _record(listing, refusal)
    if not rows and (refusal is not None or not decision.granted):
        if refusal is SUBJECT_NOT_FOUND:
            raise NotFound(refusal.detail, code=refusal.code, audit=str(audit))
        raise Denied("none of the fields may be read in this way", denied=denied, audit=str(audit))
    return ListAnswer(records, denied, rows[limit - 1].id if len(rows) > limit else None, audit)


async def _page(listing: _Listing, found: StoredSubject, keys: SubjectKeys) -> tuple[list[AnyRow], list[ListedRecord]]:
    """Fetch a page with one record more, and render the page."""
    services, query, decision, tenant = listing.services, listing.query, listing.decision, listing.caller.tenant
    async with services.data.reading() as connection:
        rows = await services.subjects.page(connection, tenant, query._replace(limit=query.limit + 1))
    moment = services.clock.now()
    renderer = Renderer(tenant, moment)
    ((_collection, granted),) = plan_of(services, listing.caller, decision).many
    items = Items.of(  # under the names of the request
        [Item(listing.names[item.asked], item.field, item.type, item.view) for item in granted.views], granted.lasting
    )

    def show(gate: Gate | None) -> list[ListedRecord] | None:
        """Render the records; None if there is no gate and one has to decide."""
        records = []
        for row in rows[: query.limit]:
            aad = record_aad(tenant, found.id, query.collection, row.id)
            record_gate = None if gate is None else gate.before(query.collection, row.id)
            shown = renderer.show_record(items, aad, row.body, keys, record_gate)
            if shown is None:
                return None
            occurred_at = None if row.occurred_at is None else rfc3339(row.occurred_at)
            records.append(ListedRecord(row.id, row.revision, occurred_at, rfc3339(row.created_at), *shown))
        return records

    records = None if has_holds(found.standing) else show(None)
    if records is None:
        bodies = [Body(found.id, query.collection, row.id, row.body) for row in rows[: query.limit]]
        gate = (await gates(services, tenant, decision.purpose, [found], bodies, moment))[found.id]
        records = show(gate)
    return rows, records or []


async def _record(listing: _Listing, refusal: Refusal | None) -> UUID:
    services, decision, found = listing.services, listing.decision, listing.subject
    names = whole_names(decision)
    refused = dict(decision.refused)
    if refusal is not None:
        refused |= {asked: refusal for asked, _view in decision.granted}
    entry = audit_entry(
        services,
        listing.caller,
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
