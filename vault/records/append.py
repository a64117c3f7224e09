"""Append a record to one of a subject's collections, such as an interaction, a purchase or a complaint."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vault.access.authorization import SUBJECT_NOT_FOUND, decide, require_all
from vault.access.recording import WriteResult, audited, writing
from vault.catalogue.types import encode
from vault.consent.legal_ground import require_ground
from vault.crypto.seal import record_aad
from vault.errors import Conflict, Fault, InvalidInput, NotFound
from vault.ids import RecordId, new_id
from vault.lifecycle.key_fence import current_keys
from vault.retention.clocks import Newest
from vault.subjects.changes import record_by_external, still_there
from vault.subjects.record_body import Origin, unpack
from vault.subjects.rows import Maker, NewRecord, is_external_id, record_digest, record_rows
from vault.subjects.store import SubjectQuery
from vault.subjects.validation import check_moment, checked_source, fields_of, normalised, policy_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from vault.access.recording import SaveResponse
    from vault.catalogue.model import Catalogue
    from vault.catalogue.types import JsonValue
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId
    from vault.storage.columns import AnyRow


@dataclass(frozen=True, slots=True)
class RecordInput:
    """A record of a collection as a caller sends it.

    Attributes:
        collection: name of the collection.
        fields: values by field.
        purpose: name of the purpose.
        external_id: the record's id in another system, such as an order number.
        occurred_at: when it happened; retention counts from then.
        expires_at: when its values expire, whatever the retention schedule says.
        source: where the values come from; the caller's name by default.
    """

    collection: str
    fields: Mapping[str, object]
    purpose: str
    external_id: str | None = None
    occurred_at: datetime | None = None
    expires_at: datetime | None = None
    source: str | None = None


@audited("append")
async def append_record(
    services: Services, caller: Caller, subject: SubjectId, new: RecordInput, on_commit: SaveResponse | None = None
) -> WriteResult:
    """Append a record. A record with the same external id and the same values is the same record, and is stored once.

    Raises:
        InvalidInput: the collection, a field, a value or the external id is invalid.
        Denied: a field may not be written for this purpose.
        NotFound: there is no such subject.
        Conflict: the external id belongs to a record with other values.
    """
    catalogue, collection = services.policies.active(caller.tenant).policy_set.catalogue, new.collection
    check_collection(catalogue, collection)
    fields = fields_of(catalogue, collection, new.fields, at="/fields")
    source = checked_source(new.source, fallback=caller.principal.name)
    origin = Origin(source, services.clock.now(), new.purpose, new.expires_at)
    if new.external_id is not None and not is_external_id(new.external_id):
        raise InvalidInput(
            "an external id is a string of 1 to 200 printable characters",
            faults=[Fault("/external_id", "invalid-external-id", "1 to 200 printable characters")],
            code="invalid-external-id",
        )
    check_moment(new.occurred_at, at="/occurred_at")
    check_moment(new.expires_at, at="/expires_at")
    decision = await decide(services, caller, "append", new.purpose, policy_names(collection, fields), verb="write")
    await require_all(services, caller, decision, "append")
    values = normalised(fields, new.fields, at="/fields")
    tenant = caller.tenant
    (found,) = await services.subjects.find(SubjectQuery(tenant, (subject,), profile=False))
    found = await require_ground(services, caller, decision, "append", found)
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    maker = Maker(tenant, await services.keyring.index_keys(tenant), origin.collected_at)
    digest = None if new.external_id is None else record_digest(maker.index_keys, collection, new.external_id)
    record = NewRecord(subject, collection, RecordId(new_id()), fields, values, origin, new.occurred_at, digest)
    newest = Newest(maker.now)
    newest.add(subject, collection, new.occurred_at)
    pseudonym = None if found is None else found.pseudonym
    taken = Conflict("another call is writing the same record now", code="in-flight", hint="send it again")
    async with writing(services, caller, "append", decision, pseudonym, taken=taken, target=record.id) as connection:
        if found is None or keys is None or not await still_there(connection, tenant, [subject]):
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
        keys = (await current_keys(services, connection, tenant, {subject: keys}))[subject]
        existing = await record_by_external(connection, tenant, subject, collection, digest)
        if existing is not None:
            written = _same_record(keys, tenant, existing, values)
        else:
            row, index = record_rows(maker, keys, record)
            await services.subjects.add(connection, records=[row], index=index)
            await newest.keep(connection, tenant)
            written = WriteResult(id=record.id, revision=1, created=True)
        if on_commit is not None:
            await on_commit(connection, written)
    return written


def check_collection(catalogue: Catalogue, collection: str) -> None:
    """Check that the catalogue has a collection of many records of this name.

    Raises:
        InvalidInput: there is none, or it is the profile.
    """
    declared = catalogue.collections.get(collection)
    if declared is None or not declared.many:
        raise InvalidInput(
            "the catalogue declares no such collection of records",
            code="unknown-collection",
            hint="GET /v1/catalogue lists the collections",
        )


def _same_record(keys: SubjectKeys, tenant: str, existing: AnyRow, values: Mapping[str, JsonValue]) -> WriteResult:
    """Return the existing record if it has the same values; other values are an error and never dropped silently."""
    aad = record_aad(tenant, existing.subject_id, existing.collection, existing.id)
    body = unpack(existing.body)
    same = body.keys() == values.keys() and all(
        hmac.compare_digest(keys.open(name, body[name].sealed, aad), encode(value)) for name, value in values.items()
    )
    if not same:
        raise Conflict("this external id belongs to a record with other values", code="external-id-taken")
    return WriteResult(id=existing.id, revision=existing.revision, created=False)
