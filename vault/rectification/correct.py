"""Carry out a request for rectification: correct values and their index entries, keep the former values sealed.

A request contains one or more of these::

    {"changes": {"email": "new@example.org", "salutation": null}}
    {"records": [{"collection": "purchase", "id": "0199…", "fields": {"amount": "12.90"}}]}
    {"dispute": "I never lived there.", "fields": ["address"], "restrict": true}
    {"statement": "I go by my second name."}

It is checked against the catalogue when it is submitted. The step that carries it out is one transaction on the
request, which notes the run: a step that is killed before the commit has no effect, and a second call has no further
one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from vault.access.authorization import audit_entry, subject_not_found
from vault.access.callers import system_caller
from vault.consent.expiry import BIRTH_DATE, expire_childs_consents
from vault.consent.restrictions import restrict_in
from vault.errors import Conflict, Fault, InvalidInput, NotFound
from vault.ids import RecordId
from vault.recipients.outbox import DataChange, notify_recipients
from vault.records.write import LockedRecord, Patch, write_values
from vault.rectification.store import Sealer, add_rectifications
from vault.requests.consent_changes import lock_consents
from vault.requests.kind import Ground, RequestKind
from vault.requests.transaction import changing_request
from vault.subjects.rows import Maker, Origin
from vault.subjects.store import PROFILE, locked_record
from vault.subjects.validation import fields_of, normalised

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vault.catalogue.model import Catalogue, Scope
    from vault.consent.transaction import Change
    from vault.crypto.derive import IndexKeys
    from vault.ids import TenantId
    from vault.policy.policy_set import PolicySet
    from vault.rectification.store import Rectification
    from vault.requests.transaction import RequestChange


MOST_RECORDS: Final = 100
"""Records that one request corrects."""
TEXTS: Final = ("reason", "statement", "dispute")
KEYS: Final = ("changes", "records", "fields", "restrict")


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction of one record: a JSON merge patch, and its JSON pointer in the request."""

    collection: str
    record: UUID | None
    patch: Mapping[str, Any]
    at: str


def corrections_of(details: Mapping[str, Any]) -> list[Correction]:
    """Return the corrections: of the profile first, then of records in the order of the request."""
    corrections = []
    if details.get("changes"):
        corrections.append(Correction(PROFILE, None, details["changes"], "/details/changes"))
    for position, record in enumerate(details.get("records") or ()):
        at = f"/details/records/{position}/fields"
        corrections.append(Correction(record["collection"], UUID(record["id"]), record["fields"], at))
    return corrections


def disputed_fields(catalogue: Catalogue, names: Iterable[Any]) -> list[str]:
    """Return the names of disputed fields, within the profile and without duplicates.

    Raises:
        InvalidInput: there is none, or one is no field of the profile.
    """
    profile = catalogue.collections[PROFILE].fields
    short = [name.removeprefix(f"{PROFILE}.") if isinstance(name, str) else "" for name in names]
    wrong = [position for position, name in enumerate(short, 1) if name not in profile]
    if wrong or not short:
        detail = f"name {wrong[0]} is no field of the profile" if wrong else "name at least one field of the profile"
        raise InvalidInput(
            "a dispute is about fields of the profile",
            faults=[Fault("/fields", "unknown-field", detail)],
            code="unknown-field",
        )
    return list(dict.fromkeys(short))


def details_faults(policy_set: PolicySet, _scope: Scope, details: Mapping[str, Any]) -> list[Fault]:
    """Return a fault for everything in the details that cannot be carried out."""
    if not any(details.get(name) for name in ("changes", "records", "dispute", "statement")):
        detail = "Say what is to be corrected (`changes`, `records`), or what is wrong (`dispute`, `statement`)."
        return [Fault("/details", "missing", detail)]
    faults = _shape_faults(details)
    if faults:
        return faults
    for correction in corrections_of(details):
        faults += _correction_faults(policy_set.catalogue, correction)
    if details.get("dispute"):
        try:
            disputed_fields(policy_set.catalogue, details.get("fields") or ())
        except InvalidInput as error:
            faults += [Fault(f"/details{fault.at}", fault.code, fault.detail) for fault in error.faults]
    return faults


def _shape_faults(details: Mapping[str, Any]) -> list[Fault]:
    """Check the types, on which the other checks rely."""
    faults = []
    if not isinstance(details.get("changes") or {}, dict):
        faults.append(Fault("/details/changes", "wrong-type", "an object of fields of the profile"))
    if not isinstance(details.get("fields") or [], list):
        faults.append(Fault("/details/fields", "wrong-type", "a list of names of fields"))
    if not isinstance(details.get("restrict") or False, bool):
        faults.append(Fault("/details/restrict", "wrong-type", "true or false"))
    records = details.get("records") or []
    if not isinstance(records, list) or len(records) > MOST_RECORDS:
        return [*faults, Fault("/details/records", "wrong-type", f"a list of at most {MOST_RECORDS} records")]
    return faults + [
        Fault(f"/details/records/{position}", "wrong-type", "an object with `collection`, `id` and `fields`")
        for position, record in enumerate(records)
        if not _is_record(record)
    ]


def _is_record(given: object) -> bool:
    return (
        isinstance(given, dict)
        and given.keys() == {"collection", "id", "fields"}
        and isinstance(given["collection"], str)
        and isinstance(given["fields"], dict)
        and _is_id(given["id"])
    )


def _is_id(given: object) -> bool:
    try:
        return isinstance(given, str) and str(UUID(given)) == given
    except ValueError:
        return False


def _correction_faults(catalogue: Catalogue, correction: Correction) -> list[Fault]:
    """Check one correction against the catalogue; whether the record exists is checked when it is corrected."""
    collection = catalogue.collections.get(correction.collection)
    if collection is None or collection.many is (correction.record is None):
        at = correction.at.removesuffix("/fields") + "/collection"
        return [Fault(at, "unknown-collection", "The catalogue declares no such collection of records.")]
    try:
        fields = fields_of(catalogue, correction.collection, correction.patch, at=correction.at)
        whole = {name: value for name, value in correction.patch.items() if not _is_partial(value)}
        # A date that has not come yet may have come when the request is carried out, and is refused then if not.
        normalised(fields, whole, at=correction.at, today=date.max)
    except InvalidInput as error:
        return list(error.faults)
    return []


def _is_partial(value: object) -> bool:
    """Return whether a value needs the stored one to be complete: null, or a patch of an object."""
    return value is None or isinstance(value, dict)


PURPOSE = "subject-rights"
"""The purpose of a value that the person adds (Art. 16, second sentence)."""
SOURCE = "person"
"""The source of corrected values."""


@dataclass(frozen=True, slots=True)
class _Context:
    """What the corrections of one request share. The person's row is locked."""

    change: RequestChange
    consents: Change
    sealer: Sealer
    maker: Maker


async def rectify(services: Any, tenant: TenantId, request: UUID) -> None:
    """Correct the values that a request names, or store the person's own statement (Art. 16)."""
    # The key store is another database, so its keys are fetched before the transaction.
    index_keys = await services.keyring.index_keys(tenant)
    async with changing_request(services, system_caller(tenant), request, action="rectify") as change:
        if change.is_due:
            await correct(change, index_keys)


async def correct(change: RequestChange, index_keys: IndexKeys) -> None:
    """Carry out a rectification: correct, note disputes, store statements, and notify recipients (Art. 19).

    Raises:
        NotFound: the person, or one of the records, does not exist any more.
        InvalidInput: the catalogue has changed since the request was submitted, and a value is not valid any more.
        Conflict: an external id belongs to another person, or differs; or a hold covers a value (``held``).
    """
    consents = await lock_consents(change)
    if change.keys is None:
        raise subject_not_found()
    tenant, request = change.caller.tenant, change.request
    by = change.caller.principal.id
    sealer = Sealer(keys=change.keys, tenant=tenant, subject=consents.subject, at=change.now, by=by, request=request.id)
    maker = Maker(tenant, index_keys, await change.services.keyring.row_keys(tenant), change.now)
    context = _Context(change, consents, sealer, maker)
    details = change.opened_details()
    rectifications = [row for correction in corrections_of(details) for row in await _correct(context, correction)]
    corrected = list(dict.fromkeys(row.whole for row in rectifications))
    rectifications += await _add_statements(context, details)
    await add_rectifications(change.connection, tenant, consents.subject, rectifications)
    change.mark_done([*(row.id for row in rectifications), *(event.id for event in consents.events)])
    await _audit(context, corrected, rectifications)
    await notify_recipients(
        change.services,
        change.connection,
        tenant,
        DataChange(
            subject=consents.subject,
            pseudonym=consents.pseudonym,
            kind="subject.rectified",
            fields=corrected,
            request=request.id,
        ),
    )


async def _correct(context: _Context, correction: Correction) -> list[Rectification]:
    """Correct one record; return the values that really changed."""
    change, subject = context.change, context.consents.subject
    catalogue = change.services.policies.active(change.caller.tenant).policy_set.catalogue
    fields_of(catalogue, correction.collection, correction.patch, at=correction.at)  # refuses unknown names
    record = RecordId(correction.record or subject)
    row = await locked_record(change.connection, change.caller.tenant, subject, correction.collection, record)
    if row is None:
        raise NotFound("there is no such record", code="record-not-found", hint="it may have been deleted since")
    origin = Origin(SOURCE, change.now, PURPOSE, verified_at=change.now)
    try:
        target = LockedRecord(row, context.sealer.keys, context.consents.state)
        patch = Patch(correction.patch, catalogue.collections[correction.collection].fields, origin)
        before, after = await write_values(change.connection, context.maker, target, patch, corrects=True)
    except IntegrityError:
        raise Conflict("an external id belongs to another person already", code="external-id-taken") from None
    if correction.collection == PROFILE and BIRTH_DATE in after:
        await expire_childs_consents(change.services, change.caller, change.connection, subject, after[BIRTH_DATE])
    return [
        context.sealer.correction(correction.collection, record, name, before.get(name), after.get(name))
        for name in correction.patch
        if before.get(name) != after.get(name)
    ]


async def _add_statements(context: _Context, details: dict[str, Any]) -> list[Rectification]:
    """Note what the person disputes or states; restrict the data if the dispute asks for it."""
    rows = []
    if details.get("statement"):
        rows.append(context.sealer.statement("stated", details["statement"]))
    if details.get("dispute"):
        catalogue = context.change.services.policies.active(context.change.caller.tenant).policy_set.catalogue
        names = disputed_fields(catalogue, details.get("fields") or ())
        rows += [context.sealer.statement("disputed", details["dispute"], name) for name in names]
        if details.get("restrict"):
            await restrict_in(context.consents, "accuracy", None, request=context.change.request.id)
    return rows


async def _audit(context: _Context, corrected: Sequence[str], rectifications: Sequence[Rectification]) -> None:
    """Record the names of the fields in the audit log, and no value."""
    services, caller = context.change.services, context.change.caller
    policy_set = services.policies.active(caller.tenant).policy_set
    facts = {
        "purpose": PURPOSE if PURPOSE in policy_set.purposes else None,
        "subjects": (context.consents.pseudonym,),
        "target": context.change.request.id,
        "policy": policy_set.version,
    }
    disputed = dict.fromkeys(row.whole for row in rectifications if row.state == "disputed")
    entries = [
        audit_entry(
            services,
            caller,
            action=action,
            decision="allowed",
            fields=tuple(f"{name}.clear" for name in names),
            **facts,
        )
        for action, names in (("rectify", corrected), ("dispute", disputed))
        if names or action == "rectify"
    ]
    if context.consents.events:
        entries += context.consents.entries("restrict")
    await services.audit_log.append_in(context.change.connection, entries)


RECTIFICATION: Final = RequestKind(
    name="rectification",
    holds_values=True,
    steps=(("rectify", rectify),),
    texts=TEXTS,
    keys=KEYS,
    check=details_faults,
    grounds=(Ground("data-accurate", "the data is accurate and complete", "Art. 16 GDPR", "11 CCR § 7023(b)"),),
    # A new address could be used to take over the person's account.
    needs_fresh_identity=True,
)
