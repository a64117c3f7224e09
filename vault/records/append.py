"""Append a record to one of a subject's collections, such as an interaction, a purchase or a complaint."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from vault.access.authorization import SUBJECT_NOT_FOUND, decide, require_all
from vault.access.recording import WriteResult, audited, writing
from vault.catalogue.types import encode
from vault.consent.legal_ground import require_ground
from vault.crypto.seal import record_aad
from vault.errors import Conflict, Fault, InvalidInput, NotFound
from vault.ids import RecordId, new_id
from vault.lifecycle.key_fence import current_keys
from vault.retention.clocks import Newest
from vault.subjects.changes import record_by_external
from vault.subjects.merged import still_there
from vault.subjects.record_body import Origin, unpack
from vault.subjects.rows import Maker, is_external_id, record_digest, record_rows
from vault.subjects.store import SubjectQuery
from vault.subjects.validation import check_moment, checked_source, fields_of, normalised, policy_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from vault.access.recording import SaveResponse
    from vault.catalogue.model import Catalogue
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId


@audited("append")
async def append_record(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    collection: str,
    *,
    fields: Mapping[str, Any],
    purpose: str,
    external_id: str | None = None,
    occurred_at: datetime | None = None,
    expires_at: datetime | None = None,
    source: str | None = None,
    on_commit: SaveResponse | None = None,
) -> WriteResult:
    """Append a record. A record with the same external id and the same values is the same record, and is stored once.

    Raises:
        InvalidInput: the collection, a field, a value or the external id is invalid.
        Denied: a field may not be written for this purpose.
        NotFound: there is no such subject.
        Conflict: the external id belongs to a record with other values.
    """
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    check_collection(catalogue, collection)
    known = fields_of(catalogue, collection, fields, at="/fields")
    origin = Origin(checked_source(source, fallback=caller.principal.name), services.clock.now(), purpose, expires_at)
    _check_external_id(external_id)
    check_moment(occurred_at, at="/occurred_at")
    check_moment(expires_at, at="/expires_at")
    decision = await decide(services, caller, "append", purpose, policy_names(collection, known), verb="write")
    await require_all(services, caller, decision, "append")
    values = normalised(known, fields, at="/fields")
    tenant = caller.tenant
    (found,) = await services.subjects.find(SubjectQuery(tenant, (subject,), profile=False))
    found = await require_ground(services, caller, decision, "append", found)
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    maker = Maker(tenant, await services.keyring.index_keys(tenant), origin.collected_at)
    digest = None if external_id is None else record_digest(maker.index_keys, collection, external_id)
    record = RecordId(new_id())
    newest = Newest(maker.now)
    newest.add(subject, collection, occurred_at)
    pseudonym = None if found is None else found.pseudonym
    taken = Conflict("another call is writing the same record now", code="in-flight", hint="send it again")
    async with writing(services, caller, "append", decision, pseudonym, taken=taken, target=record) as connection:
        if found is None or keys is None or not await still_there(connection, tenant, [subject]):
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
        keys = (await current_keys(services, connection, tenant, {subject: keys}))[subject]
        existing = await record_by_external(connection, tenant, subject, collection, digest)
        if existing is not None:
            written = _same_record(keys, tenant, existing, values)
        else:
            record_row, index = record_rows(
                maker,
                keys,
                subject,
                collection,
                record,
                known,
                values,
                origin,
                occurred_at=occurred_at,
                external_digest=digest,
            )
            await services.subjects.add(connection, records=[record_row], index=index)
            await newest.keep(connection, tenant)
            written = WriteResult(id=record, revision=1, created=True)
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


def _check_external_id(external_id: str | None) -> None:
    if external_id is not None and not is_external_id(external_id):
        raise InvalidInput(
            "an external id is a string of 1 to 200 printable characters",
            faults=[Fault("/external_id", "invalid-external-id", "1 to 200 printable characters")],
            code="invalid-external-id",
        )


def _same_record(keys: SubjectKeys, tenant: str, existing: Any, values: Mapping[str, Any]) -> WriteResult:
    """Return the existing record if it has the same values; other values are an error and never dropped silently."""
    aad = record_aad(tenant, existing.subject_id, existing.collection, existing.id)
    body = unpack(existing.body)
    same = body.keys() == values.keys() and all(
        hmac.compare_digest(keys.open(name, body[name].sealed, aad), encode(value)) for name, value in values.items()
    )
    if not same:
        raise Conflict("this external id belongs to a record with other values", code="external-id-taken")
    return WriteResult(id=existing.id, revision=existing.revision, created=False)
