"""Correct what a request names, in one transaction: values, what leads to them, and what stood there before, sealed.

Carry out what was approved: the steps of rectification, restriction, objection and withdrawal.

Each step is one transaction on the request, which keeps what was done and in which run: killed before its commit it has
done nothing, and called again after it does nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy.exc import IntegrityError

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry
from vault.access.callers import system_caller
from vault.consent.guardians import BIRTH_DATE, expire_childs_consents
from vault.consent.restrictions import restrict_in
from vault.errors import Conflict, NotFound
from vault.ids import RecordId
from vault.recipients.outbox import tell_recipients
from vault.records.update import write_values
from vault.rectification.store import Sealer, add_rectifications
from vault.requests.execution import decide_objections, ledger_of, mark_done, stop_at_once, write_down
from vault.requests.submit import corrections_of, disputed_fields
from vault.requests.transaction import changing_request
from vault.subjects.changes import locked_record
from vault.subjects.record_body import Origin
from vault.subjects.rows import Maker
from vault.subjects.store import PROFILE
from vault.subjects.validation import fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from vault.consent.transaction import Change
    from vault.crypto.derive import IndexKeys
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.jobs.workflow import Step
    from vault.rectification.store import Rectification
    from vault.requests.submit import Correction
    from vault.requests.transaction import RequestChange


PURPOSE = "subject-rights"
"""For which a value is kept that was not there before the person added it (Art. 16, second sentence)."""
SOURCE = "person"
"""Where corrected values come from."""


class _Work(NamedTuple):
    """What all corrections of one request share; the person's row is locked."""

    change: RequestChange
    ledger: Change
    keys: SubjectKeys
    sealer: Sealer
    maker: Maker


async def correct(change: RequestChange, index_keys: IndexKeys) -> None:
    """Carry a rectification out: correct, note what is disputed, keep statements; and tell those who read (Art. 19).

    Args:
        change: the open transaction on the request.
        index_keys: the tenant's, fetched before: the key store is another database.

    Raises:
        NotFound: the person, or a record of theirs, is not there any more.
        InvalidInput: the catalogue has changed since the request came in, and a value does not fit any more.
        Conflict: an id of another system leads to somebody else, or differs; or a hold covers a value (``held``).
    """
    ledger = await ledger_of(change)
    if change.keys is None:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    tenant, request = change.caller.tenant, change.request
    by = change.caller.principal.id
    sealer = Sealer(change.keys, tenant, ledger.subject, at=change.now, by=by, request=request.id)
    work = _Work(change, ledger, change.keys, sealer, Maker(tenant, index_keys, change.now))
    details = change.opened_details()
    made = [row for each in corrections_of(details) for row in await _correct(work, each)]
    corrected = list(dict.fromkeys(each.whole for each in made))
    made += await _say(work, details)
    await add_rectifications(change.connection, tenant, ledger.subject, made)
    mark_done(change, [*(each.id for each in made), *(each.id for each in ledger.events)])
    await _note(work, corrected, made)
    await tell_recipients(
        change.services,
        change.connection,
        tenant,
        ledger.subject,
        ledger.pseudonym,
        kind="subject.rectified",
        fields=corrected,
        request=request.id,
    )


async def _correct(work: _Work, correction: Correction) -> list[Rectification]:
    """Correct one record; returns what has really changed."""
    change, ledger = work.change, work.ledger
    catalogue = change.services.policies.active(change.caller.tenant).policy_set.catalogue
    fields = fields_of(catalogue, correction.collection, correction.patch, at=correction.at)
    record = RecordId(correction.record or ledger.subject)
    row = await locked_record(change.connection, change.caller.tenant, ledger.subject, correction.collection, record)
    if row is None:
        raise NotFound("there is no such record", code="record-not-found", hint="it may have been deleted since")
    origin = Origin(SOURCE, change.now, PURPOSE, verified_at=change.now)
    try:
        before, after = await write_values(
            change.connection,
            work.maker,
            work.keys,
            row,
            correction.patch,
            fields,
            origin,
            ledger.standing,
            corrects=True,
        )
    except IntegrityError:
        raise Conflict("an external id leads to somebody else already", code="external-id-taken") from None
    if correction.collection == PROFILE and BIRTH_DATE in after:
        await expire_childs_consents(
            change.services, change.caller, change.connection, ledger.subject, after[BIRTH_DATE]
        )
    return [
        work.sealer.corrected(correction.collection, record, name, before.get(name), after.get(name))
        for name in correction.patch
        if before.get(name) != after.get(name)
    ]


async def _say(work: _Work, details: dict[str, Any]) -> list[Rectification]:
    """Note what the person disputes or states; with a dispute, restrict the data if that was asked for."""
    made = []
    if details.get("statement"):
        made.append(work.sealer.said("stated", details["statement"]))
    if details.get("dispute"):
        catalogue = work.change.services.policies.active(work.change.caller.tenant).policy_set.catalogue
        names = disputed_fields(catalogue, details.get("fields") or ())
        made += [work.sealer.said("disputed", details["dispute"], name) for name in names]
        if details.get("restrict"):
            await restrict_in(work.ledger, work.keys, "accuracy", None, request=work.change.request.id)
    return made


async def _note(work: _Work, corrected: Sequence[str], made: Sequence[Rectification]) -> None:
    """Write down what was done: the names of fields, and no value."""
    services, caller = work.change.services, work.change.caller
    policy_set = services.policies.active(caller.tenant).policy_set
    facts = {
        "purpose": PURPOSE if PURPOSE in policy_set.purposes else None,
        "subjects": (work.ledger.pseudonym,),
        "target": work.change.request.id,
        "policy": policy_set.version,
    }
    said = dict.fromkeys(each.whole for each in made if each.state == "disputed")
    entries = [
        audit_entry(
            services,
            caller,
            action=action,
            decision="allowed",
            fields=tuple(f"{name}.clear" for name in names),
            **facts,
        )
        for action, names in (("rectify", corrected), ("dispute", said))
        if names or action == "rectify"
    ]
    if work.ledger.events:
        entries += work.ledger.entries("restrict")
    await services.audit_log.append_in(work.change.connection, entries)


async def rectify(services: Any, tenant: TenantId, request: UUID) -> None:
    """Correct the values that a request names, or put the person's own statement beside them (Art. 16)."""
    index_keys = await services.keyring.index_keys(tenant)
    async with changing_request(services, system_caller(tenant), request, action="rectify") as change:
        if is_due(change):
            await correct(change, index_keys)


async def restrict(services: Any, tenant: TenantId, request: UUID) -> None:
    """Restrict the person's data (Art. 18(1))."""
    async with changing_request(services, system_caller(tenant), request, action="restrict") as change:
        if is_due(change):
            told = change.opened_details()
            ledger = await ledger_of(change)
            await restrict_in(ledger, change.keys, told.get("ground"), told.get("reason"), request=request)
            await write_down(change, ledger, "restrict")


async def uphold(services: Any, tenant: TenantId, request: UUID) -> None:
    """Uphold the objections of a request that was approved (Art. 21(1))."""
    async with changing_request(services, system_caller(tenant), request, action="decide-objection") as change:
        if is_under_way(change):
            await stop_at_once(change)
            await decide_objections(change, upheld=True)


async def withdraw(services: Any, tenant: TenantId, request: UUID) -> None:
    """Withdraw consents (Art. 7(3)), should that not have happened when the request was verified."""
    async with changing_request(services, system_caller(tenant), request, action="record-consent") as change:
        if is_under_way(change):
            await stop_at_once(change)


def is_under_way(change: RequestChange) -> bool:
    """Tell whether a request is being carried out: a job that comes late finds nothing to do."""
    return change.request.state == "in_progress" and change.request.subject is not None


def is_due(change: RequestChange) -> bool:
    """Tell whether what a request asks for is still to be done in this run."""
    return is_under_way(change) and change.request.carried_out != change.request.run


CARRY_OUT: Final[Mapping[str, tuple[tuple[str, Step], ...]]] = {
    "rectification": (("rectify", rectify),),
    "restriction": (("restrict", restrict),),
    "objection": (("uphold", uphold),),
    "withdrawal": (("withdraw", withdraw),),
}
"""The steps of each kind of request that changes something; a review changes nothing by itself."""
