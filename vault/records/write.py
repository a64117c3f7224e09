"""Write subjects and their records: create, upsert, patch a profile, and append a record to a collection.

A patch is a JSON merge patch (RFC 7396).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace
from sqlalchemy.exc import IntegrityError

from vault.access.authorization import decide, require_all, require_permission, subject_not_found
from vault.access.recording import WriteResult, audited, begin_once, writing
from vault.catalogue.types import decode, encode
from vault.consent.expiry import BIRTH_DATE, expire_childs_consents
from vault.consent.legal_ground import ground_refusal, locked_ground, require_ground
from vault.consent.model import unpack as unpack_consent_state
from vault.contacts.changes import ContactHolder, add_changes, changes_of
from vault.crypto.seal import record_aad
from vault.errors import Conflict, InvalidInput, RevisionRequired, StaleRevision, Unavailable
from vault.ids import RecordId, SubjectId, new_id
from vault.lifecycle.key_fence import current_keys
from vault.lifecycle.tombstones import (
    OVERRIDDEN,
    is_part_of_name_and_birth,
    require_no_tombstone,
)
from vault.moments import check_moment
from vault.recipients.outbox import WrittenValues, notify_of_writes
from vault.records.together import (
    Append,
    Call,
    Creation,
    Outcome,
    Write,
    append_together,
    create_together,
)
from vault.retention.clocks import Newest
from vault.retention.holds import require_not_held, unchanged_under_hold
from vault.subjects.rows import (
    EXTERNAL_IDS,
    Maker,
    NewRecord,
    Origin,
    checked_external_ids,
    coarser,
    external_digest,
    external_id_fault,
    external_rows,
    happened_at,
    index_of,
    may_collide,
    pack,
    record_digest,
    record_rows,
    seal_values,
    subject_row,
    unknown,
    unpack,
)
from vault.subjects.store import (
    PROFILE,
    IndexChange,
    SubjectQuery,
    add_external,
    change_index,
    change_record,
    locked_record,
    record_by_external,
)
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT
from vault.subjects.validation import checked_source, fields_of, merged, normalised, policy_names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.catalogue.model import Catalogue, Field
    from vault.catalogue.types import JsonValue
    from vault.consent.model import ConsentState
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.policy.decision import Decision
    from vault.storage.columns import AnyRow


@dataclass(frozen=True, slots=True)
class ProfileInput:
    """Values of a profile as a caller sends them.

    Attributes:
        values: by field. In a patch (RFC 7396), null removes a field, and an object is merged into the existing one.
        source: where the values come from; the caller's name by default.
        external_ids: the customer's ids in other systems.
        returning: whether the person was erased earlier and has come back by their own choice.
    """

    values: Mapping[str, object]
    purpose: str
    source: str | None = None
    external_ids: Mapping[str, object] = field(default_factory=dict)
    returning: bool = False


@dataclass(frozen=True, slots=True)
class Patch:
    """A merge patch of one record, the declared fields of its collection, and the origin of the new values."""

    values: Mapping[str, object]
    fields: Mapping[str, Field]
    origin: Origin


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """A patch of a profile whose fields are valid and granted, and the revision on which it is based, if it has one."""

    decision: Decision
    patch: Patch
    returning: bool
    revision: int | None = None


@audited("update")
async def patch_profile(
    services: Services, caller: Caller, subject: SubjectId, profile: ProfileInput, *, revision: int | None
) -> int:
    """Patch a profile that has not changed since the caller read it, at ``revision`` (``If-Match``).

    Returns:
        the new revision.

    Raises:
        RevisionRequired: there is no revision.
        StaleRevision: the profile has another revision now.
        Conflict: a hold covers a value that would be overwritten (``held``), or an external id is another subject's.
        InvalidInput, Denied, NotFound: as in every write.
    """
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    fields = fields_of(catalogue, PROFILE, profile.values, at="")
    source = checked_source(profile.source, fallback=caller.principal.name)
    decision = await decide(services, caller, "update", profile.purpose, list(fields), verb="write")
    await require_all(services, caller, decision, "update")
    if revision is None:
        raise RevisionRequired(
            "a change must state the revision on which it is based",
            hint='send If-Match with the ETag of GET /v1/subjects/{id}, such as "3"',
        )
    declared = catalogue.collections[PROFILE].fields
    patch = Patch(profile.values, declared, Origin(source, services.clock.now(), profile.purpose))
    return await change_profile(services, caller, subject, ProfileChange(decision, patch, profile.returning, revision))


async def change_profile(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    change: ProfileChange,
    on_commit: SaveResponse | None = None,
) -> int:
    """Apply a change of a profile. Returns the new revision."""
    decision, patch = change.decision, change.patch
    tenant = caller.tenant
    (found,) = await services.subjects.find(SubjectQuery(tenant, (subject,), profile=False))
    found = await require_ground(services, caller, decision, "update", found)
    # Before the transaction: the key store is another database, and is asked under the lock only if an erasure came
    # first.
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    maker = await Maker.of(services.keyring, tenant, patch.origin.collected_at)
    pseudonym = None if found is None else found.pseudonym
    taken = Conflict("an external id belongs to another subject", code="external-id-taken")
    said = OVERRIDDEN if change.returning else None
    async with writing(services, caller, "update", decision, pseudonym, taken=taken, code=said) as connection:
        if BIRTH_DATE in patch.values:  # lock the subject before the record (global lock order), to avoid deadlock
            await services.subjects.locked(connection, tenant, subject)
        # Again, now under the lock: a withdrawal or an erasure since the first look must stop the write.
        found = await locked_ground(services, caller, connection, decision, subject)
        retained = found.state == "retained"
        row = await locked_record(connection, tenant, subject, PROFILE, RecordId(subject))
        if row is None or keys is None:
            raise subject_not_found()
        if retained and not patch.values.keys() <= unpack(row.body).keys():  # fields that no law keeps stay erased
            raise subject_not_found()
        keys = (await current_keys(services, connection, tenant, {subject: keys}))[subject]
        # Compared under the lock, so that of two callers with one revision only the first succeeds.
        if change.revision is not None and row.revision != change.revision:
            raise StaleRevision("the profile has changed since you read it", hint="read it again and repeat the change")
        record = LockedRecord(row, keys, unpack_consent_state(found.standing), searchable=not retained)
        staying = _staying_names(record, tenant, patch)
        old, new = await write_values(connection, maker, record, patch, corrects=retained)
        changed = {name: value for name, value in new.items() if old.get(name) != value}
        # Only of changed values: who was never erased may keep an address that an erased person once had.
        await require_no_tombstone(
            services, connection, tenant, patch.fields, changed, returning=change.returning, others=staying
        )
        await notify_of_writes(services, connection, caller, [WrittenValues(subject, found.pseudonym, old, new)])
        if BIRTH_DATE in new:
            await expire_childs_consents(services, caller, connection, subject, new[BIRTH_DATE])
        written = WriteResult(id=subject, revision=row.revision + 1, created=False)
        # Last in the transaction: the stored answer and the change are durable together, or not at all.
        if on_commit is not None:
            await on_commit(connection, written)
    return written.revision


def _staying_names(record: LockedRecord, tenant: str, patch: Patch) -> dict[str, JsonValue]:
    """Open the names and dates of birth that a patch leaves, if it changes another of them; see the tombstones."""
    if not any(is_part_of_name_and_birth(patch.fields.get(name)) for name in patch.values):
        return {}
    aad = record_aad(tenant, record.row.subject_id, PROFILE, record.row.id)
    return {
        name: decode(record.keys.open(name, stored.sealed, aad))
        for name, stored in unpack(record.row.body).items()
        if name not in patch.values and is_part_of_name_and_birth(patch.fields.get(name))
    }


class LockedRecord(NamedTuple):
    """A locked record to change, with the keys and the consent state of its subject.

    ``searchable`` says whether searches can find the subject by its new values.
    """

    row: AnyRow
    keys: SubjectKeys
    state: ConsentState
    searchable: bool = True


class Values(NamedTuple):
    """The values of the patched fields, before and after."""

    before: dict[str, JsonValue]
    after: dict[str, JsonValue]


async def write_values(
    connection: AsyncConnection, maker: Maker, record: LockedRecord, patch: Patch, *, corrects: bool = False
) -> Values:
    """Write a record after a patch, its index rows, and which contacts have changed.

    Args:
        maker: the tenant, its index keys and the current time.
        record: the record; values that a hold of the subject covers stay unchanged.
        corrects: whether the new values keep the purposes and ends of the values that they correct.

    Raises:
        InvalidInput: a value is invalid for its field.
        Conflict: the subject has another id in the system already, or a hold covers a value that would be lost.
    """
    row, keys, state, searchable = record
    aad = record_aad(maker.tenant, row.subject_id, row.collection, row.id)
    body = unpack(row.body)
    old = {name: decode(keys.open(name, body[name].sealed, aad)) for name in patch.values if name in body}
    new = _merged_values(row.collection, old, patch)
    stale = coarser(body, patch.values)  # views of the values that the patch replaces or removes
    happened = happened_at(row, body)
    require_not_held(state, row.collection, happened, old | {name: body[name] for name in stale}, new)
    sealed = seal_values(keys, aad, {name: encode(value) for name, value in new.items()}, patch.origin)
    sealed |= {name: body[name] for name in unchanged_under_hold(state, row.collection, happened, old, new)}
    if corrects:
        for name in sealed.keys() & body.keys():
            sealed[name] = replace(sealed[name], purpose=body[name].purpose, expires_at=body[name].expires_at)
    body = {name: stored for name, stored in body.items() if name not in patch.values and name not in stale} | sealed
    await change_record(
        connection,
        row,
        body=pack(body, row.occurred_at),
        revision=row.revision + 1,
        updated_at=maker.now,
        # The next sweep decides again when the changed values end.
        due_at=maker.now,
    )
    others = {
        name: decode(keys.open(name, stored.sealed, aad))
        for name, stored in body.items()
        if name not in patch.values and name in patch.fields and may_collide(patch.fields[name])
    }
    gone, come, stay = (index_of(maker.index_keys, patch.fields, values) for values in (old, new, others))
    change = IndexChange(row, gone, come, stay) if searchable else IndexChange(row, gone, frozenset())
    await change_index(connection, [change], maker.index_keys.version)
    if row.collection == PROFILE:
        holder = ContactHolder(maker.tenant, SubjectId(row.subject_id), keys, maker.now)
        await add_changes(connection, maker.tenant, changes_of(holder, patch.fields, old, new))
    if row.collection == PROFILE and searchable:
        await _add_external(connection, maker, row, old, new)
    return Values(old, new)


def _merged_values(collection: str, old: Mapping[str, JsonValue], patch: Patch) -> dict[str, JsonValue]:
    """Return the normalised values after the patch; fields that it removes are left out."""
    changes = dict(patch.values)
    known, ids = old.get(EXTERNAL_IDS), changes.get(EXTERNAL_IDS)
    if collection == PROFILE and isinstance(known, dict) and isinstance(ids, dict) and ids:
        changes[EXTERNAL_IDS] = unknown(known, ids)
    values = {name: merged(old.get(name), value) for name, value in changes.items() if value is not None}
    return normalised(patch.fields, values, at="", today=patch.origin.collected_at.date())


async def _add_external(
    connection: AsyncConnection,
    maker: Maker,
    row: AnyRow,
    old: Mapping[str, JsonValue],
    new: Mapping[str, JsonValue],
) -> None:
    """Add references from other systems' ids. A subject has one id in each system."""
    before, after = old.get(EXTERNAL_IDS), new.get(EXTERNAL_IDS)
    if not isinstance(after, dict):
        return
    before = before if isinstance(before, dict) else {}
    # Never replaced: an upsert with the wrong number would make one account out of two people.
    if any(before[system] != after.get(system) for system in before):
        raise Conflict(
            "this subject has another id in that system",
            code="external-id-differs",
            hint="unite two accounts of one person by a merge, not by an upsert",
        )
    added = {system: str(value) for system, value in after.items() if system not in before}
    if added:
        await add_external(connection, external_rows(maker, row.subject_id, added))


@dataclass(frozen=True, slots=True)
class _NewProfile:
    """A profile that is valid, and the decision that grants writing it."""

    decision: Decision
    fields: dict[str, Field]
    values: dict[str, JsonValue]
    external_ids: dict[str, str]
    origin: Origin
    returning: bool


@audited("create")
async def create_subject(
    services: Services, caller: Caller, profile: ProfileInput, on_commit: SaveResponse | None = None
) -> WriteResult:
    """Create a customer with a profile.

    Args:
        profile: the values and the customer's ids in other systems.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: a field, value or external id is invalid; the error has all faults.
        Denied: a field may not be written for this purpose.
        Conflict: an external id belongs to another subject, or to a person who was erased.
    """
    await require_permission(services, caller, "vault:subjects", "create", audit_action="create")
    new = await _validate(services, caller, profile)
    await begin_once(on_commit)
    taken = Conflict(
        "an external id belongs to another subject",
        code="external-id-taken",
        hint="use :upsert to update that subject",
    )
    return await _create(services, caller, new, on_commit, taken)


@audited("create")
async def upsert_subject(
    services: Services, caller: Caller, profile: ProfileInput, on_commit: SaveResponse | None = None
) -> WriteResult:
    """Create a customer, or update the one with any of the external ids.

    Raises:
        InvalidInput: there is no external id, or a field, value or external id is invalid.
        Denied: a field may not be written for this purpose.
        Conflict: the external ids belong to two subjects, or to a person who was erased and is not ``returning``.
    """
    await require_permission(services, caller, "vault:subjects", "create", audit_action="create")
    if not profile.external_ids:
        raise InvalidInput("an upsert needs at least one external id", code="no-external-id")
    new = await _validate(services, caller, profile)
    await begin_once(on_commit)
    subject = await _find(services, caller, new.external_ids)
    if subject is None:
        try:
            return await _create(services, caller, new, on_commit, taken=None)
        except IntegrityError:  # a concurrent call has created the subject: update it
            subject = await _find(services, caller, new.external_ids)
        if subject is None:
            raise Conflict("another call is writing the same subject now", code="in-flight", hint="send it again")
    declared = services.policies.active(caller.tenant).policy_set.catalogue.collections[PROFILE].fields
    patch = Patch({**profile.values, EXTERNAL_IDS: new.external_ids}, {**declared, **new.fields}, new.origin)
    change = ProfileChange(new.decision, patch, new.returning)
    revision = await change_profile(services, caller, subject, change, on_commit)
    return WriteResult(id=subject, revision=revision, created=False)


async def _validate(services: Services, caller: Caller, profile: ProfileInput) -> _NewProfile:
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    fields = fields_of(catalogue, PROFILE, profile.values, at="/profile", whole=True)
    source = checked_source(profile.source, fallback=caller.principal.name)
    ids = checked_external_ids(profile.external_ids)
    if ids:
        fields[EXTERNAL_IDS] = catalogue.field(EXTERNAL_IDS)
    decision = await decide(services, caller, "create", profile.purpose, list(fields), verb="write")
    await require_all(services, caller, decision, "create")
    now = services.clock.now()
    values = normalised(fields, profile.values, at="/profile", today=now.date())
    if ids:
        values[EXTERNAL_IDS] = dict(ids)
    origin = Origin(source, now, profile.purpose)
    return _NewProfile(decision, fields, values, ids, origin, profile.returning)


async def _create(
    services: Services, caller: Caller, new: _NewProfile, on_commit: SaveResponse | None, taken: Conflict | None
) -> WriteResult:
    await require_all(services, caller, new.decision, "create", ground_refusal(new.decision))
    tenant, subject = caller.tenant, SubjectId(new_id())
    maker = await Maker.of(services.keyring, tenant, services.clock.now())
    keys = (await services.keyring.new_subject_keys(tenant, [subject]))[subject]
    profile = NewRecord(subject, PROFILE, RecordId(subject), new.fields, new.values, new.origin)
    record, index = record_rows(maker, keys, profile)
    row = subject_row(maker, subject)
    rows: dict[Table, Sequence[tuple[object, ...]]] = {
        SUBJECT: [row],
        RECORD: [record],
        EXTERNAL_REF: external_rows(maker, subject, new.external_ids),
        BLIND_INDEX: index,
    }
    written = WriteResult(id=subject, revision=1, created=True)
    call = Call(services, caller, new.decision, written, on_commit)
    try:
        # Who comes back removes tombstones, and so is on record alone.
        if not new.returning and await _shared(services, create_together, Creation(call, row[2], profile, rows)):
            return written
        said = OVERRIDDEN if new.returning else None
        async with writing(services, caller, "create", new.decision, row[2], taken=taken, code=said) as connection:
            await services.data.insert(connection, rows)
            await require_no_tombstone(services, connection, tenant, new.fields, new.values, returning=new.returning)
            if on_commit is not None:
                await on_commit(connection, written)
    except Unavailable:
        raise  # the commit may have succeeded, and then the keys are needed
    except Exception:
        # Nothing was written under them, and a key without a person would be kept forever.
        await services.keyring.destroy_subject_keys(tenant, [subject])
        raise
    return written


async def _shared(services: Services, run: Callable[[list[Write]], Awaitable[list[Outcome]]], write: Write) -> bool:
    """Write in a transaction with all who write at this moment; returns False if it has to be tried alone."""
    outcome = await services.batcher(run).submit(write)
    if isinstance(outcome, Unavailable):
        raise outcome
    return outcome


async def _find(services: Services, caller: Caller, external_ids: Mapping[str, str]) -> SubjectId | None:
    index_keys = await services.keyring.index_keys(caller.tenant)
    digests = [external_digest(index_keys, system, value) for system, value in external_ids.items()]
    subjects = set((await services.subjects.by_external(caller.tenant, digests)).values())
    if len(subjects) > 1:
        raise Conflict(
            "the external ids belong to two subjects",
            code="two-people-match",
            hint="send the ids one by one, or merge the two subjects",
        )
    return next(iter(subjects), None)


@dataclass(frozen=True, slots=True)
class RecordInput:
    """A record of a collection as a caller sends it.

    Attributes:
        fields: values by field.
        external_id: the record's id in another system, such as an order number.
        occurred_at: when it happened; retention counts from then.
        expires_at: when its values expire, independently of the retention schedule.
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
    fields = fields_of(catalogue, collection, new.fields, at="/fields", whole=True)
    source = checked_source(new.source, fallback=caller.principal.name)
    origin = Origin(source, services.clock.now(), new.purpose, new.expires_at)
    wrong = None if new.external_id is None else external_id_fault(new.external_id, at="/external_id")
    if wrong is not None:
        raise InvalidInput("the external id is invalid", faults=[wrong], code=wrong.code)
    ahead = catalogue.collections[collection].ahead
    check_moment(new.occurred_at, at="/occurred_at", latest=ahead.after(origin.collected_at))
    check_moment(new.expires_at, at="/expires_at")
    decision = await decide(services, caller, "append", new.purpose, policy_names(collection, fields), verb="write")
    await require_all(services, caller, decision, "append")
    await begin_once(on_commit)
    values = normalised(fields, new.fields, at="/fields", today=origin.collected_at.date())
    tenant = caller.tenant
    (found,) = await services.subjects.find(SubjectQuery(tenant, (subject,), profile=False))
    found = await require_ground(services, caller, decision, "append", found)
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    maker = await Maker.of(services.keyring, tenant, origin.collected_at)
    digest = None if new.external_id is None else record_digest(maker.index_keys, collection, new.external_id)
    record = NewRecord(subject, collection, RecordId(new_id()), fields, values, origin, new.occurred_at, digest)
    if found is not None and keys is not None:
        written = WriteResult(id=record.id, revision=1, created=True)
        append = Append(Call(services, caller, decision, written, on_commit), maker, record, keys)
        if await _shared(services, append_together, append):
            return written
    newest = Newest(maker.now)
    newest.add(subject, collection, new.occurred_at)
    pseudonym = None if found is None else found.pseudonym
    taken = Conflict("another call is writing the same record now", code="in-flight", hint="send it again")
    async with writing(services, caller, "append", decision, pseudonym, taken=taken, target=record.id) as connection:
        await locked_ground(services, caller, connection, decision, subject)
        if keys is None:
            raise subject_not_found()
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
