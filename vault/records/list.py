"""List the records of one collection of one customer, page by page, each field shown as granted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, decide, refused_codes, whole_names
from vault.access.recording import audited
from vault.consent.legal_ground import subject_refusals
from vault.consent.state import has_holds
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, Denied, InvalidInput, NotFound, Refusal
from vault.records.append import check_collection
from vault.records.read_plan import Item, Items, Moment, opening_of
from vault.records.render import show_row
from vault.retention.filter import Body, gates
from vault.subjects.store import Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import RecordId, SubjectId
    from vault.policy.decision import Decision
    from vault.retention.filter import Gate
    from vault.subjects.store import Found

MOST = 200


class Listed(NamedTuple):
    """One record as shown: its place in time, its values, and why some of those granted are not there."""

    id: RecordId
    revision: int
    occurred_at: datetime | None
    created_at: datetime
    fields: dict[str, Any]
    denied: dict[str, Refusal]


class RecordPage(NamedTuple):
    """Some records, newest first; the refusals that hold for all of them; where to go on; the audit entry."""

    records: list[Listed]
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
) -> RecordPage:
    """List records; ``fields`` are named within the collection (``amount``) or whole (``purchase.amount``).

    Raises:
        InvalidInput: an unknown collection, field or purpose, or a limit out of 1 to 200.
        Denied: not a single field may be shown.
        NotFound: there is no such subject.
        TooMany, Unavailable: as everywhere.
    """
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    check_collection(catalogue, collection)
    whole = _whole(collection, fields)
    if not 1 <= limit <= MOST or not fields or len(whole) != len(fields):
        raise InvalidInput(f"a page has 1 to {MOST} records, and names fields, each once", code="invalid-page")
    await services.limits.take(caller.principal, "read", limit)
    decision = await decide(services, caller, "list", purpose, list(whole), verb="read")
    _require_own(decision, collection)
    (found,) = await services.subjects.find(Wanted(caller.tenant, (subject,), profile=False))
    refusal = subject_refusals(services, caller, decision, [found])[0] if decision.granted else None
    keys = None
    if decision.granted and refusal is None:
        keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
        refusal = SUBJECT_NOT_FOUND if keys is None else None  # erased a moment ago: the key is gone, the row not yet
    denied = {whole[asked]: each for asked, each in decision.refused.items()}
    rows: list[Any] = []
    if keys is not None and found is not None:
        at = _At(found, collection, before, limit)
        try:
            rows, records = await _page(services, caller, at, decision, whole, keys)
        except (
            CannotOpen
        ):  # sealed anew, perhaps, by an erasure of a part since the key was opened here: look once more
            services.keyring.evict(caller.tenant, subject)
            keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject, keys)
            rows, records = await _page(services, caller, at, decision, whole, keys)
    else:
        denied |= {whole[asked]: refusal for asked, _view in decision.granted if refusal is not None}
        records = []
    audit = await _record(services, caller, decision, found, refusal)
    if not rows and (refusal is not None or not decision.granted):
        if refusal is SUBJECT_NOT_FOUND:
            raise NotFound(refusal.detail, code=refusal.code, audit=str(audit))
        raise Denied("none of the fields may be read in this way", denied=denied, audit=str(audit))
    return RecordPage(records, denied, rows[limit - 1].id if len(rows) > limit else None, audit)


def _whole(collection: str, fields: Sequence[str]) -> dict[str, str]:
    """Map the whole name of each field to the name under which it was asked for."""
    return {name if name.startswith(f"{collection}.") else f"{collection}.{name}": name for name in fields}


def _require_own(decision: Decision, collection: str) -> None:
    if any(view.field.collection != collection for view in decision.views.values()):
        raise InvalidInput("all fields of a list belong to its collection", code="unknown-field")


class _At(NamedTuple):
    """Which page of whose records."""

    found: Found
    collection: str
    before: RecordId | None
    limit: int


async def _page(
    services: Services, caller: Caller, at: _At, decision: Decision, whole: dict[str, str], keys: SubjectKeys
) -> tuple[list[Any], list[Listed]]:
    """Fetch a page and one record more, which tells that there are others; show the page."""
    async with services.data.reading() as connection:
        rows = await services.subjects.page(
            connection, caller.tenant, at.found.id, at.collection, before=at.before, limit=at.limit + 1
        )
    shown = rows[: at.limit]
    items, moment = _items(services, caller, decision, whole), services.clock.now()
    listed = None
    if not has_holds(at.found.standing):
        listed = _show(caller, at, shown, items, moment, keys)
    if listed is None:
        bodies = [Body(at.found.id, at.collection, row.id, row.body) for row in shown]
        through = await gates(services, caller.tenant, decision.purpose, [at.found], bodies, moment)
        listed = _show(caller, at, shown, items, moment, keys, through[at.found.id])
    return rows, listed or []


def _items(services: Services, caller: Caller, decision: Decision, whole: dict[str, str]) -> Items:
    """Name what is shown as it was asked for."""
    ((_name, group),) = opening_of(services, caller, decision).many
    each = [Item(whole[item.asked], item.field, item.type, item.view) for item in group.each]
    return Items.of(each, group.lasting)


def _show(
    caller: Caller,
    at: _At,
    rows: Sequence[Any],
    items: Items,
    moment: datetime,
    keys: SubjectKeys,
    gate: Gate | None = None,
) -> list[Listed] | None:
    """Show records; none where something may be over, which is looked at closer through a gate."""
    now = Moment.of(moment)
    listed = []
    for row in rows:
        shown: dict[str, Any] = {}
        missing: dict[str, Refusal] = {}
        where = record_aad(caller.tenant, at.found.id, at.collection, row.id)
        before = None if gate is None else gate.before(at.collection, row.id)
        if not show_row(items, where, row.body, keys, now, shown, missing, before):
            return None
        listed.append(Listed(row.id, row.revision, row.occurred_at, row.created_at, shown, missing))
    return listed


async def _record(
    services: Services, caller: Caller, decision: Decision, found: Found | None, refusal: Refusal | None
) -> UUID:
    names = whole_names(decision)
    refused = dict(decision.refused)
    if refusal is not None:
        refused |= {asked: refusal for asked, _view in decision.granted}
    made = audit_entry(
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
    await services.audit_log.append(made)
    return made.id
