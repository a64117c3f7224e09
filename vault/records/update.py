"""Change a profile by a JSON merge patch (RFC 7396)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

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
from vault.subjects.blind_index import digests
from vault.subjects.changes import add_external, change_index, change_record, locked_record, locked_subject
from vault.subjects.merged import still_there
from vault.subjects.record_body import Origin, coarser, happened_at, pack, seal_values, unpack
from vault.subjects.rows import EXTERNAL_IDS, Maker, external_rows, unknown
from vault.subjects.store import PROFILE, SubjectQuery
from vault.subjects.validation import checked_source, fields_of, merged, normalised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.catalogue.model import Field
    from vault.consent.model import ConsentState
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId
    from vault.policy.decision import Decision
    from vault.subjects.record_body import Stored


@audited("update")
async def patch_profile(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    patch: Mapping[str, Any],
    *,
    purpose: str,
    revision: int | None,
    source: str | None = None,
    returning: bool = False,
) -> int:
    """Patch a profile that has not changed since the caller read it.

    Args:
        subject: the subject's id.
        patch: RFC 7396; null removes a field, an object is merged into the existing one.
        purpose: name of the purpose.
        revision: the revision that the caller read (``If-Match``).
        source: where the new values come from; the caller's name by default.
        returning: whether the person was erased earlier and has come back by their own choice.

    Returns:
        the new revision.

    Raises:
        RevisionRequired: there is no revision.
        StaleRevision: the profile has another revision now.
        Conflict: a hold covers a value that would be overwritten (``held``), or an external id is another subject's.
        InvalidInput, Denied, NotFound: as in every write.
    """
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    fields = fields_of(catalogue, PROFILE, patch, at="")
    origin_source = checked_source(source, fallback=caller.principal.name)
    decision = await decide(services, caller, "update", purpose, list(fields), verb="write")
    await require_all(services, caller, decision, "update")
    if revision is None:
        raise RevisionRequired(
            "a change must state the revision on which it is based",
            hint='send If-Match with the ETag of GET /v1/subjects/{id}, such as "3"',
        )
    origin = Origin(origin_source, services.clock.now(), purpose)
    return await change_profile(
        services, caller, subject, patch, fields, decision, origin, expected=revision, returning=returning
    )


async def change_profile(
    services: Services,
    caller: Caller,
    subject: SubjectId,
    patch: Mapping[str, Any],
    fields: Mapping[str, Field],
    decision: Decision,
    origin: Origin,
    *,
    expected: int | None,
    on_commit: SaveResponse | None = None,
    returning: bool = False,
) -> int:
    """Apply a patch whose fields are valid and granted. Returns the new revision."""
    tenant = caller.tenant
    (found,) = await services.subjects.find(SubjectQuery(tenant, (subject,), profile=False))
    found = await require_ground(services, caller, decision, "update", found)
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    index_keys = await services.keyring.index_keys(tenant)
    maker = Maker(tenant, index_keys, origin.collected_at)
    pseudonym = None if found is None else found.pseudonym
    taken = Conflict("an external id belongs to another subject", code="external-id-taken")
    async with writing(services, caller, "update", decision, pseudonym, taken=taken) as connection:
        if BIRTH_DATE in patch:  # lock the subject before the record (global lock order), to avoid deadlock
            await locked_subject(connection, tenant, subject)
        state = await lock_consent_state(connection, tenant, subject)
        retained = found is not None and found.state == "retained"
        exists = retained or await still_there(connection, tenant, [subject])
        row = await locked_record(connection, tenant, subject, PROFILE, RecordId(subject))
        if row is None or keys is None or found is None or not exists:
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
        if retained and not patch.keys() <= unpack(row.body).keys():  # fields that no law keeps stay erased
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
        keys = (await current_keys(services, connection, tenant, {subject: keys}))[subject]
        if expected is not None and row.revision != expected:
            raise StaleRevision("the profile has changed since you read it", hint="read it again and repeat the change")
        old, new = await write_values(
            connection, maker, keys, row, patch, fields, origin, state, corrects=retained, searchable=not retained
        )
        changed = {name: value for name, value in new.items() if old.get(name) != value}
        await require_no_tombstone(services, connection, tenant, fields, changed, returning=returning)
        if BIRTH_DATE in new:
            await expire_childs_consents(services, caller, connection, subject, new[BIRTH_DATE])
        written = WriteResult(id=subject, revision=row.revision + 1, created=False)
        if on_commit is not None:
            await on_commit(connection, written)
    return written.revision


class Values(NamedTuple):
    """The values of the patched fields, before and after."""

    before: dict[str, Any]
    after: dict[str, Any]


async def write_values(
    connection: AsyncConnection,
    maker: Maker,
    keys: SubjectKeys,
    row: Any,
    patch: Mapping[str, Any],
    fields: Mapping[str, Field],
    origin: Origin,
    state: ConsentState,
    *,
    corrects: bool = False,
    searchable: bool = True,
) -> Values:
    """Write a record after a patch, and its index rows.

    Args:
        maker: the tenant, its index keys and the current time.
        keys: the subject's.
        row: the record, locked.
        patch: RFC 7396.
        fields: the patched fields.
        origin: where the new values come from.
        state: the subject's; values that a hold covers stay unchanged.
        corrects: whether the new values keep the purposes and ends of the values that they correct.
        searchable: whether searches can find the subject by the new values.

    Raises:
        InvalidInput: a value is invalid for its field.
        Conflict: the subject has another id in the system already, or a hold covers a value that would be lost.
    """
    aad = record_aad(maker.tenant, row.subject_id, row.collection, row.id)
    body = unpack(row.body)
    old = {name: decode(keys.open(name, body[name].sealed, aad)) for name in patch if name in body}
    known = old.get(EXTERNAL_IDS)
    if row.collection == PROFILE and isinstance(known, dict) and patch.get(EXTERNAL_IDS):
        patch = {**patch, EXTERNAL_IDS: unknown(known, patch[EXTERNAL_IDS])}
    new = _merged_values(old, patch, fields)
    stale = coarser(body, patch)  # views of the values that the patch replaces or removes
    require_not_held(state, row.collection, happened_at(row, body), old | {name: body[name] for name in stale}, new)
    sealed = seal_values(keys, aad, {name: encode(value) for name, value in new.items()}, origin)
    sealed |= {
        name: body[name] for name in unchanged_under_hold(state, row.collection, happened_at(row, body), old, new)
    }
    if corrects:
        sealed = {
            name: _with_terms_of(body[name], stored) if name in body else stored for name, stored in sealed.items()
        }
    body = {name: stored for name, stored in body.items() if name not in patch and name not in stale} | sealed
    await change_record(
        connection,
        row,
        body=pack(body, row.occurred_at),
        revision=row.revision + 1,
        updated_at=maker.now,
        due_at=maker.now,
    )
    await change_index(
        connection,
        maker.tenant,
        row.subject_id,
        row.id,
        gone=_digests(maker, fields, old),
        come=_digests(maker, fields, new) if searchable else set(),
        version=maker.index_keys.version,
    )
    if row.collection == PROFILE and searchable:
        await _add_external(connection, maker, row, old, new)
    return Values(old, new)


def _with_terms_of(before: Stored, after: Stored) -> Stored:
    """Return the new value with the purpose and the end of the one that it corrects."""
    return replace(after, purpose=before.purpose, expires_at=before.expires_at)


def _merged_values(old: Mapping[str, Any], patch: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    given = {name: merged(old.get(name), value) for name, value in patch.items() if value is not None}
    return normalised(fields, given, at="")


def _digests(maker: Maker, fields: Mapping[str, Field], values: Mapping[str, Any]) -> set[bytes]:
    return {digest for name, value in values.items() for digest in digests(maker.index_keys, fields[name], value)}


async def _add_external(
    connection: AsyncConnection, maker: Maker, row: Any, old: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
    """Add references from other systems' ids. A subject has one id in each system."""
    if EXTERNAL_IDS not in new:
        return
    before, after = old.get(EXTERNAL_IDS, {}), new[EXTERNAL_IDS]
    if any(before[system] != after.get(system) for system in before):
        raise Conflict(
            "this subject has another id in that system",
            code="external-id-differs",
            hint="unite two accounts of one person by a merge, not by an upsert",
        )
    added = {system: value for system, value in after.items() if system not in before}
    if added:
        await add_external(connection, external_rows(maker, row.subject_id, added))
