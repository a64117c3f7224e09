"""Change a profile by a JSON merge patch (RFC 7396)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND, decide, require_all
from vault.access.recording import WriteResult, audited, writing
from vault.catalogue.types import decode, encode
from vault.consent.expiry import BIRTH_DATE, expire_childs_consents
from vault.consent.legal_ground import require_ground
from vault.crypto.seal import record_aad
from vault.errors import Conflict, NotFound, RevisionRequired, StaleRevision
from vault.ids import RecordId
from vault.lifecycle.key_fence import current_keys
from vault.lifecycle.tombstones import require_no_tombstone
from vault.retention.holds import lock_consent_state, require_not_held, unchanged_under_hold
from vault.subjects.changes import add_external, change_index, change_record, locked_record, locked_subject, still_there
from vault.subjects.record_body import Origin, coarser, happened_at, pack, seal_values, unpack
from vault.subjects.rows import EXTERNAL_IDS, Maker, digests, external_rows, unknown
from vault.subjects.store import PROFILE, SubjectQuery
from vault.subjects.validation import checked_source, fields_of, merged, normalised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.catalogue.model import Field
    from vault.catalogue.types import JsonValue
    from vault.consent.model import ConsentState
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId
    from vault.policy.decision import Decision
    from vault.storage.columns import AnyRow


@dataclass(frozen=True, slots=True)
class ProfileInput:
    """Values of a profile as a caller sends them.

    Attributes:
        values: by field. In a patch (RFC 7396), null removes a field, and an object is merged into the existing one.
        purpose: name of the purpose.
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
    """A merge patch of one record, the declarations of its fields, and the origin of the new values."""

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
    patch = Patch(profile.values, fields, Origin(source, services.clock.now(), profile.purpose))
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
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    maker = Maker(tenant, await services.keyring.index_keys(tenant), patch.origin.collected_at)
    pseudonym = None if found is None else found.pseudonym
    taken = Conflict("an external id belongs to another subject", code="external-id-taken")
    async with writing(services, caller, "update", decision, pseudonym, taken=taken) as connection:
        if BIRTH_DATE in patch.values:  # lock the subject before the record (global lock order), to avoid deadlock
            await locked_subject(connection, tenant, subject)
        state = await lock_consent_state(connection, tenant, subject)
        retained = found is not None and found.state == "retained"
        exists = retained or await still_there(connection, tenant, [subject])
        row = await locked_record(connection, tenant, subject, PROFILE, RecordId(subject))
        if row is None or keys is None or found is None or not exists:
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
        if retained and not patch.values.keys() <= unpack(row.body).keys():  # fields that no law keeps stay erased
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
        keys = (await current_keys(services, connection, tenant, {subject: keys}))[subject]
        if change.revision is not None and row.revision != change.revision:
            raise StaleRevision("the profile has changed since you read it", hint="read it again and repeat the change")
        record = LockedRecord(row, keys, state, searchable=not retained)
        old, new = await write_values(connection, maker, record, patch, corrects=retained)
        changed = {name: value for name, value in new.items() if old.get(name) != value}
        await require_no_tombstone(services, connection, tenant, patch.fields, changed, returning=change.returning)
        if BIRTH_DATE in new:
            await expire_childs_consents(services, caller, connection, subject, new[BIRTH_DATE])
        written = WriteResult(id=subject, revision=row.revision + 1, created=False)
        if on_commit is not None:
            await on_commit(connection, written)
    return written.revision


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
    """Write a record after a patch, and its index rows.

    Args:
        maker: the tenant, its index keys and the current time.
        record: the record; values that a hold of the subject covers stay unchanged.
        patch: the patch.
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
        due_at=maker.now,
    )
    gone, come = (
        {digest for name, value in values.items() for digest in digests(maker.index_keys, patch.fields[name], value)}
        for values in (old, new if searchable else {})
    )
    await change_index(connection, row, gone=gone, come=come, version=maker.index_keys.version)
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
    return normalised(patch.fields, values, at="")


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
    if any(before[system] != after.get(system) for system in before):
        raise Conflict(
            "this subject has another id in that system",
            code="external-id-differs",
            hint="unite two accounts of one person by a merge, not by an upsert",
        )
    added = {system: str(value) for system, value in after.items() if system not in before}
    if added:
        await add_external(connection, external_rows(maker, row.subject_id, added))
