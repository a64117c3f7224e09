"""Bring a customer in: create, or find by another system's id and bring up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy.exc import IntegrityError

from vault.access.authorization import decide, require_all, require_right
from vault.access.recording import Written, on_record, writing
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

    from vault.access.recording import Keep
    from vault.catalogue.model import Field
    from vault.context import Caller, House
    from vault.policy.decision import Decision


class _Checked(NamedTuple):
    decision: Decision
    fields: dict[str, Field]
    values: dict[str, Any]
    external_ids: dict[str, str]
    origin: Origin


@on_record("create")
async def create_subject(
    house: House,
    caller: Caller,
    *,
    profile: Mapping[str, Any],
    external_ids: Mapping[str, Any],
    purpose: str,
    source: str | None = None,
    returning: bool = False,
    keep: Keep | None = None,
) -> Written:
    """Create a customer with a profile.

    Args:
        house: the rooms.
        caller: who creates.
        profile: values by field.
        external_ids: the customer's ids in other systems.
        purpose: why.
        source: where the values come from; the caller's name by default.
        returning: whether somebody who was erased earlier has come back by themselves.
        keep: keeps the answer.

    Raises:
        InvalidInput: a field, value or external id does not have its form; all faults at once.
        Denied: a field may not be written for this purpose.
        Conflict: an external id leads to somebody already, or to somebody who was erased.
    """
    await require_right(house, caller, "vault:subjects", "create", audited_as="create")
    checked = await _check(house, caller, profile, external_ids, purpose, source)
    taken = Conflict(
        "an external id leads to somebody already",
        code="external-id-taken",
        hint="use :upsert to bring that person up to date",
    )
    return await _create(house, caller, checked, keep, taken, returning=returning)


@on_record("create")
async def upsert_subject(
    house: House,
    caller: Caller,
    *,
    profile: Mapping[str, Any],
    external_ids: Mapping[str, Any],
    purpose: str,
    source: str | None = None,
    returning: bool = False,
    keep: Keep | None = None,
) -> Written:
    """Create a customer, or bring the one up to date to whom any of the external ids leads.

    Raises:
        InvalidInput: no external id, or something without its form.
        Denied: a field may not be written for this purpose.
        Conflict: the external ids lead to two people, or to somebody who was erased and is not ``returning``.
    """
    await require_right(house, caller, "vault:subjects", "create", audited_as="create")
    if not external_ids:
        raise InvalidInput("an upsert needs at least one external id", code="no-external-id")
    checked = await _check(house, caller, profile, external_ids, purpose, source)
    found = await _find(house, caller, checked.external_ids)
    if found is None:
        try:
            return await _create(house, caller, checked, keep, taken=None, returning=returning)
        except IntegrityError:  # somebody else created the person meanwhile: then there is one to bring up to date
            found = await _find(house, caller, checked.external_ids)
        if found is None:
            raise Conflict("the same person is being written at this moment", code="in-flight", hint="send it again")
    values = {**{name: profile[name] for name in checked.fields if name in profile}, EXTERNAL_IDS: checked.external_ids}
    revision = await change_profile(
        house,
        caller,
        found,
        values,
        checked.fields,
        checked.decision,
        checked.origin,
        expected=None,
        keep=keep,
        returning=returning,
    )
    return Written(found, revision, created=False)


async def _check(
    house: House,
    caller: Caller,
    profile: Mapping[str, Any],
    external_ids: Mapping[str, Any],
    purpose: str,
    source: str | None,
) -> _Checked:
    catalogue = house.policies.active(caller.tenant).policy_set.catalogue
    fields = fields_of(catalogue, PROFILE, profile, at="/profile")
    origin_source = checked_source(source, fallback=caller.principal.name)
    ids = checked_external_ids(external_ids)
    if ids:
        fields[EXTERNAL_IDS] = catalogue.field(EXTERNAL_IDS)
    decision = await decide(house, caller, "create", purpose, list(fields), verb="write")
    await require_all(house, caller, decision, "create")
    values = normalised(fields, profile, at="/profile")
    return _Checked(decision, fields, values, ids, Origin(origin_source, house.clock.now(), purpose))


async def _create(
    house: House, caller: Caller, checked: _Checked, keep: Keep | None, taken: Conflict | None, *, returning: bool
) -> Written:
    await require_all(house, caller, checked.decision, "create", ground_refusal(checked.decision))
    tenant, subject = caller.tenant, SubjectId(new_id())
    maker = Maker(tenant, await house.keyring.index_keys(tenant), house.clock.now())
    values = {**checked.values, EXTERNAL_IDS: checked.external_ids} if checked.external_ids else checked.values
    keys = (await house.keyring.new_subject_keys(tenant, [subject]))[subject]
    record, index = record_rows(
        maker, keys, subject, PROFILE, RecordId(subject), checked.fields, values, checked.origin
    )
    person = subject_row(maker, subject)
    written = Written(subject, 1, created=True)
    try:
        async with writing(house, caller, "create", checked.decision, person[2], taken=taken) as connection:
            await house.subjects.add(
                connection,
                subjects=[person],
                records=[record],
                external=external_rows(maker, subject, checked.external_ids),
                index=index,
            )
            await require_none(house, connection, tenant, checked.fields, values, returning=returning)
            if keep is not None:
                await keep(connection, written)
    except Unavailable:
        raise  # nobody knows whether the commit went through: where it did, the keys are needed
    except Exception:
        await house.keyring.destroy_subject_keys(tenant, [subject])  # they would open nothing
        raise
    return written


async def _find(house: House, caller: Caller, external_ids: Mapping[str, str]) -> SubjectId | None:
    index_keys = await house.keyring.index_keys(caller.tenant)
    sought = [external_digest(index_keys, system, value) for system, value in external_ids.items()]
    people = set((await house.subjects.by_external(caller.tenant, sought)).values())
    if len(people) > 1:
        raise Conflict(
            "the external ids lead to two people",
            code="two-people-match",
            hint="send them one by one, or have the two people merged",
        )
    return next(iter(people), None)
