"""Bring a customer in: create, or find by another system's id and bring up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy.exc import IntegrityError

from vault.access.authorization import decide, require_all, require_permission
from vault.access.recording import Written, audited, writing
from vault.consent.legal_ground import ground_refusal
from vault.errors import Conflict, InvalidInput, Unavailable
from vault.ids import RecordId, SubjectId, new_id
from vault.lifecycle.tombstones import require_none
from vault.records.update import change_profile
from vault.subjects.record_body import Origin
from vault.subjects.rows import (
    EXTERNAL_IDS,
    Maker,
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
    from vault.context import Caller, Services
    from vault.policy.decision import Decision


class _Checked(NamedTuple):
    decision: Decision
    fields: dict[str, Field]
    values: dict[str, Any]
    external_ids: dict[str, str]
    origin: Origin


@audited("create")
async def create_subject(
    services: Services,
    caller: Caller,
    *,
    profile: Mapping[str, Any],
    external_ids: Mapping[str, Any],
    purpose: str,
    source: str | None = None,
    returning: bool = False,
    on_commit: SaveResponse | None = None,
) -> Written:
    """Create a customer with a profile.

    Args:
        caller: who creates.
        profile: values by field.
        external_ids: the customer's ids in other systems.
        purpose: why.
        source: where the values come from; the caller's name by default.
        returning: whether somebody who was erased earlier has come back by themselves.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: a field, value or external id does not have its form; all faults at once.
        Denied: a field may not be written for this purpose.
        Conflict: an external id leads to somebody already, or to somebody who was erased.
    """
    await require_permission(services, caller, "vault:subjects", "create", audit_action="create")
    checked = await _check(services, caller, profile, external_ids, purpose, source)
    taken = Conflict(
        "an external id leads to somebody already",
        code="external-id-taken",
        hint="use :upsert to bring that person up to date",
    )
    return await _create(services, caller, checked, on_commit, taken, returning=returning)


@audited("create")
async def upsert_subject(
    services: Services,
    caller: Caller,
    *,
    profile: Mapping[str, Any],
    external_ids: Mapping[str, Any],
    purpose: str,
    source: str | None = None,
    returning: bool = False,
    on_commit: SaveResponse | None = None,
) -> Written:
    """Create a customer, or bring the one up to date to whom any of the external ids leads.

    Raises:
        InvalidInput: no external id, or something without its form.
        Denied: a field may not be written for this purpose.
        Conflict: the external ids lead to two people, or to somebody who was erased and is not ``returning``.
    """
    await require_permission(services, caller, "vault:subjects", "create", audit_action="create")
    if not external_ids:
        raise InvalidInput("an upsert needs at least one external id", code="no-external-id")
    checked = await _check(services, caller, profile, external_ids, purpose, source)
    found = await _find(services, caller, checked.external_ids)
    if found is None:
        try:
            return await _create(services, caller, checked, on_commit, taken=None, returning=returning)
        except IntegrityError:  # somebody else created the person meanwhile: then there is one to bring up to date
            found = await _find(services, caller, checked.external_ids)
        if found is None:
            raise Conflict("the same person is being written at this moment", code="in-flight", hint="send it again")
    values = {**{name: profile[name] for name in checked.fields if name in profile}, EXTERNAL_IDS: checked.external_ids}
    revision = await change_profile(
        services,
        caller,
        found,
        values,
        checked.fields,
        checked.decision,
        checked.origin,
        expected=None,
        on_commit=on_commit,
        returning=returning,
    )
    return Written(found, revision, created=False)


async def _check(
    services: Services,
    caller: Caller,
    profile: Mapping[str, Any],
    external_ids: Mapping[str, Any],
    purpose: str,
    source: str | None,
) -> _Checked:
    catalogue = services.policies.active(caller.tenant).policy_set.catalogue
    fields = fields_of(catalogue, PROFILE, profile, at="/profile")
    origin_source = checked_source(source, fallback=caller.principal.name)
    ids = checked_external_ids(external_ids)
    if ids:
        fields[EXTERNAL_IDS] = catalogue.field(EXTERNAL_IDS)
    decision = await decide(services, caller, "create", purpose, list(fields), verb="write")
    await require_all(services, caller, decision, "create")
    values = normalised(fields, profile, at="/profile")
    return _Checked(decision, fields, values, ids, Origin(origin_source, services.clock.now(), purpose))


async def _create(
    services: Services,
    caller: Caller,
    checked: _Checked,
    on_commit: SaveResponse | None,
    taken: Conflict | None,
    *,
    returning: bool,
) -> Written:
    await require_all(services, caller, checked.decision, "create", ground_refusal(checked.decision))
    tenant, subject = caller.tenant, SubjectId(new_id())
    maker = Maker(tenant, await services.keyring.index_keys(tenant), services.clock.now())
    values = {**checked.values, EXTERNAL_IDS: checked.external_ids} if checked.external_ids else checked.values
    keys = (await services.keyring.new_subject_keys(tenant, [subject]))[subject]
    record, index = record_rows(
        maker, keys, subject, PROFILE, RecordId(subject), checked.fields, values, checked.origin
    )
    person = subject_row(maker, subject)
    written = Written(subject, 1, created=True)
    try:
        async with writing(services, caller, "create", checked.decision, person[2], taken=taken) as connection:
            await services.subjects.add(
                connection,
                subjects=[person],
                records=[record],
                external=external_rows(maker, subject, checked.external_ids),
                index=index,
            )
            await require_none(services, connection, tenant, checked.fields, values, returning=returning)
            if on_commit is not None:
                await on_commit(connection, written)
    except Unavailable:
        raise  # nobody knows whether the commit went through: where it did, the keys are needed
    except Exception:
        await services.keyring.destroy_subject_keys(tenant, [subject])  # they would open nothing
        raise
    return written


async def _find(services: Services, caller: Caller, external_ids: Mapping[str, str]) -> SubjectId | None:
    index_keys = await services.keyring.index_keys(caller.tenant)
    sought = [external_digest(index_keys, system, value) for system, value in external_ids.items()]
    people = set((await services.subjects.by_external(caller.tenant, sought)).values())
    if len(people) > 1:
        raise Conflict(
            "the external ids lead to two people",
            code="two-people-match",
            hint="send them one by one, or have the two people merged",
        )
    return next(iter(people), None)
