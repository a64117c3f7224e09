"""Change a profile by a JSON merge patch (RFC 7396): corrections, additions, and null for what is to go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND, decide, require_all
from vault.access.recording import Written, audited, writing
from vault.catalogue.types import decode, encode
from vault.consent.guardians import BIRTH_DATE, expire_childs_consents
from vault.consent.legal_ground import require_ground
from vault.crypto.seal import record_aad
from vault.errors import Conflict, NotFound, RevisionRequired, StaleRevision
from vault.ids import RecordId
from vault.lifecycle.key_fence import current_keys
from vault.lifecycle.tombstones import require_none
from vault.retention.holds import held_already, require_free, standing_to_write
from vault.subjects.blind_index import digests
from vault.subjects.changes import add_external, change_index, change_record, locked_record, locked_subject
from vault.subjects.merged import still_there
from vault.subjects.record_body import Origin, coarser, happened_at, pack, seal_values, unpack
from vault.subjects.rows import EXTERNAL_IDS, Maker, external_rows, unknown
from vault.subjects.store import PROFILE, Wanted
from vault.subjects.validation import checked_source, fields_of, merged, normalised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.catalogue.model import Field
    from vault.consent.state import ConsentState
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
        subject: whose profile.
        patch: RFC 7396; null erases a field, an object is merged into the one that is there.
        purpose: why.
        revision: the one that the caller read (``If-Match``).
        source: where the new values come from; the caller's name by default.
        returning: whether the person, erased earlier, has come back by themselves.

    Returns:
        the new revision.

    Raises:
        RevisionRequired: no revision was given.
        StaleRevision: the profile has another revision by now.
        Conflict: a hold covers a value that would be overwritten (``held``); an external id leads to somebody else.
        InvalidInput, Denied, NotFound: as everywhere.
    """
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    fields = fields_of(catalogue, PROFILE, patch, at="")
    origin_source = checked_source(source, fallback=caller.principal.name)
    decision = await decide(services, caller, "update", purpose, list(fields), verb="write")
    await require_all(services, caller, decision, "update")
    if revision is None:
        raise RevisionRequired(
            "a change must say which revision it starts from",
            hint='send If-Match with the ETag that GET /v1/subjects/{id} shows, such as "3"',
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
    """Apply a patch whose fields are known and granted already; returns the new revision."""
    tenant = caller.tenant
    (found,) = await services.subjects.find(Wanted(tenant, (subject,), profile=False))
    found = await require_ground(services, caller, decision, "update", found)
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    index_keys = await services.keyring.index_keys(tenant)
    maker = Maker(tenant, index_keys, origin.collected_at)
    pseudonym = None if found is None else found.pseudonym
    taken = Conflict("an external id leads to somebody else already", code="external-id-taken")
    async with writing(services, caller, "update", decision, pseudonym, taken=taken) as connection:
        if BIRTH_DATE in patch:  # the person's row before the record, as everywhere, so that nobody waits in a ring
            await locked_subject(connection, tenant, subject)
        standing = await standing_to_write(connection, tenant, subject)
        retained = found is not None and found.state == "retained"
        there = retained or await still_there(connection, tenant, [subject])
        row = await locked_record(connection, tenant, subject, PROFILE, RecordId(subject))
        if row is None or keys is None or found is None or not there:
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
        if retained and not patch.keys() <= unpack(row.body).keys():  # what no law keeps is gone, and stays so
            raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
        keys = (await current_keys(services, connection, tenant, {subject: keys}))[subject]
        if expected is not None and row.revision != expected:
            raise StaleRevision(
                "the profile has changed since you read it", hint="read it again and send the change anew"
            )
        old, new = await write_values(
            connection, maker, keys, row, patch, fields, origin, standing, corrects=retained, leads=not retained
        )
        come = {name: value for name, value in new.items() if old.get(name) != value}
        await require_none(services, connection, tenant, fields, come, returning=returning)
        if BIRTH_DATE in new:
            await expire_childs_consents(services, caller, connection, subject, new[BIRTH_DATE])
        written = Written(subject, row.revision + 1, created=False)
        if on_commit is not None:
            await on_commit(connection, written)
    return written.revision


class Values(NamedTuple):
    """The values of the fields that a patch names, before and after it."""

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
    standing: ConsentState,
    *,
    corrects: bool = False,
    leads: bool = True,
) -> Values:
    """Write a record as it is after the patch, with what leads to it.

    Args:
        maker: the tenant, its index keys and the moment.
        keys: the person's.
        row: the record, locked.
        patch: RFC 7396.
        fields: the fields that it names.
        origin: where the new values come from.
        standing: the person's; what a hold covers stays as it is.
        corrects: whether the new values stay for the purposes, and until the moments, of those that they correct.
        leads: whether the person is to be found by the new values.

    Raises:
        InvalidInput: a value does not have the form of its field.
        Conflict: the person has another id in a system already, or a hold covers a value that would be lost.
    """
    where = record_aad(maker.tenant, row.subject_id, row.collection, row.id)
    body = unpack(row.body)
    old = {name: decode(keys.open(name, body[name].sealed, where)) for name in patch if name in body}
    known = old.get(EXTERNAL_IDS)
    if row.collection == PROFILE and isinstance(known, dict) and patch.get(EXTERNAL_IDS):
        patch = {**patch, EXTERNAL_IDS: unknown(known, patch[EXTERNAL_IDS])}
    new = _merged_values(old, patch, fields)
    stale = coarser(body, patch)  # what is written anew, or taken away, is not to be there as a view of before
    require_free(standing, row.collection, happened_at(row, body), old | {name: body[name] for name in stale}, new)
    sealed = seal_values(keys, where, {name: encode(value) for name, value in new.items()}, origin)
    sealed |= {name: body[name] for name in held_already(standing, row.collection, happened_at(row, body), old, new)}
    if corrects:
        sealed = {name: _like(body[name], each) if name in body else each for name, each in sealed.items()}
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
        come=_digests(maker, fields, new) if leads else set(),
        version=maker.index_keys.version,
    )
    if row.collection == PROFILE and leads:
        await _add_external(connection, maker, row, old, new)
    return Values(old, new)


def _like(before: Stored, after: Stored) -> Stored:
    return replace(after, purpose=before.purpose, expires_at=before.expires_at)


def _merged_values(old: Mapping[str, Any], patch: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    given = {name: merged(old.get(name), value) for name, value in patch.items() if value is not None}
    return normalised(fields, given, at="")


def _digests(maker: Maker, fields: Mapping[str, Field], values: Mapping[str, Any]) -> set[bytes]:
    return {digest for name, value in values.items() for digest in digests(maker.index_keys, fields[name], value)}


async def _add_external(
    connection: AsyncConnection, maker: Maker, row: Any, old: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
    """Add ways that lead from other systems' ids; one system has one id of a person."""
    if EXTERNAL_IDS not in new:
        return
    before, after = old.get(EXTERNAL_IDS, {}), new[EXTERNAL_IDS]
    if any(before[system] != after.get(system) for system in before):
        raise Conflict(
            "this person has another id in that system already",
            code="external-id-differs",
            hint="two accounts of one person are united by a merge, not by an upsert",
        )
    added = {system: value for system, value in after.items() if system not in before}
    if added:
        await add_external(connection, external_rows(maker, row.subject_id, added))
