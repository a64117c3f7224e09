"""Create a subject, or find it by another system's id and update its profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from vault.access.authorization import decide, require_all, require_permission
from vault.access.recording import WriteResult, audited, writing
from vault.consent.legal_ground import ground_refusal
from vault.errors import Conflict, InvalidInput, Unavailable
from vault.ids import RecordId, SubjectId, new_id
from vault.lifecycle.tombstones import require_no_tombstone
from vault.records.update import Patch, ProfileChange, change_profile
from vault.subjects.record_body import Origin
from vault.subjects.rows import (
    EXTERNAL_IDS,
    Maker,
    NewRecord,
    checked_external_ids,
    external_digest,
    external_rows,
    record_rows,
    subject_row,
)
from vault.subjects.store import PROFILE
from vault.subjects.validation import checked_source, fields_of, normalised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.access.recording import SaveResponse
    from vault.catalogue.model import Field
    from vault.catalogue.types import JsonValue
    from vault.context import Caller, Services
    from vault.policy.decision import Decision
    from vault.records.update import ProfileInput


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
    subject = await _find(services, caller, new.external_ids)
    if subject is None:
        try:
            return await _create(services, caller, new, on_commit, taken=None)
        except IntegrityError:  # a concurrent call has created the subject: update it
            subject = await _find(services, caller, new.external_ids)
        if subject is None:
            raise Conflict("another call is writing the same subject now", code="in-flight", hint="send it again")
    patch = Patch({**profile.values, EXTERNAL_IDS: new.external_ids}, new.fields, new.origin)
    change = ProfileChange(new.decision, patch, new.returning)
    revision = await change_profile(services, caller, subject, change, on_commit)
    return WriteResult(id=subject, revision=revision, created=False)


async def _validate(services: Services, caller: Caller, profile: ProfileInput) -> _NewProfile:
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    fields = fields_of(catalogue, PROFILE, profile.values, at="/profile")
    source = checked_source(profile.source, fallback=caller.principal.name)
    ids = checked_external_ids(profile.external_ids)
    if ids:
        fields[EXTERNAL_IDS] = catalogue.field(EXTERNAL_IDS)
    decision = await decide(services, caller, "create", profile.purpose, list(fields), verb="write")
    await require_all(services, caller, decision, "create")
    values = normalised(fields, profile.values, at="/profile")
    if ids:
        values[EXTERNAL_IDS] = dict(ids)
    origin = Origin(source, services.clock.now(), profile.purpose)
    return _NewProfile(decision, fields, values, ids, origin, profile.returning)


async def _create(
    services: Services, caller: Caller, new: _NewProfile, on_commit: SaveResponse | None, taken: Conflict | None
) -> WriteResult:
    await require_all(services, caller, new.decision, "create", ground_refusal(new.decision))
    tenant, subject = caller.tenant, SubjectId(new_id())
    maker = Maker(tenant, await services.keyring.index_keys(tenant), services.clock.now())
    keys = (await services.keyring.new_subject_keys(tenant, [subject]))[subject]
    profile = NewRecord(subject, PROFILE, RecordId(subject), new.fields, new.values, new.origin)
    record, index = record_rows(maker, keys, profile)
    row = subject_row(maker, subject)
    external = external_rows(maker, subject, new.external_ids)
    written = WriteResult(id=subject, revision=1, created=True)
    try:
        async with writing(services, caller, "create", new.decision, row[2], taken=taken) as connection:
            await services.subjects.add(connection, subjects=[row], records=[record], external=external, index=index)
            await require_no_tombstone(services, connection, tenant, new.fields, new.values, returning=new.returning)
            if on_commit is not None:
                await on_commit(connection, written)
    except Unavailable:
        raise  # the commit may have succeeded, and then the keys are needed
    except Exception:
        await services.keyring.destroy_subject_keys(tenant, [subject])
        raise
    return written


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
