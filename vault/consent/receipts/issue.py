"""Hand out receipts: signed proof of what a person said, for the person, an authority or a court.

Receipts: what a person may keep as proof of what they said about their data. Pure.

A receipt tells of one event and of those before it that it answers. It is made of the event, of what the policies of
that day say about the purpose, and of who the controller is. It has no value of the person: they stand in it by their
pseudonym, and what the vault keeps sealed (evidence) or about its staff (who recorded it) stays out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.callers import operator_caller
from vault.access.recording import audited, record_failure
from vault.consent.receipts import dpv, kantara
from vault.consent.receipts import dpv as dpv_reading
from vault.consent.receipts.model import SAID, Facts, PurposeFacts
from vault.crypto.signing import BadDocument, check, sign
from vault.errors import NotFound
from vault.subjects.store import GONE, Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from vault.consent.event import Event
    from vault.consent.receipts.model import Told
    from vault.context import Caller, Services
    from vault.crypto.signing import PublicKey, Signed, SigningKey
    from vault.ids import Pseudonym, SubjectId, TenantId
    from vault.policy.policy_set import PolicySet


LONGEST: Final = 100
"""Events of one chain that a receipt tells of; older ones have receipts of their own."""


@audited("read-receipt")
async def read_receipt(
    services: Services, caller: Caller, subject: SubjectId, event: UUID, *, form: Format = "dpv"
) -> dict[str, Any]:
    """Make the signed receipt of one event; whoever may record or read consents may have it.

    It tells of the purpose what the policies told that were in force when the event was recorded.

    Raises:
        Denied: no role of the caller's may.
        NotFound: there is no such person, or their ledger has no such event.
    """
    decisions = services.policies.active(caller.tenant).decisions
    records = decisions.may(caller.principal.roles, "vault:consents", "record").granted
    await require_permission(
        services, caller, "vault:consents", "record" if records else "read", audit_action="read-receipt"
    )
    await services.limits.take(caller.principal, "read", 1)
    (found,) = await services.subjects.find(Wanted(caller.tenant, (subject,), profile=False))
    if found is None or found.state in GONE:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)
    try:
        events = await _chain(services, caller.tenant, subject, event)
    except NotFound as error:
        await record_failure(services, caller, "read-receipt", error, subjects=(found.pseudonym,))
        raise
    policy_set = await services.policies.at(caller.tenant, events[-1].policy)
    facts = _facts(services, caller.tenant, found.pseudonym, events, policy_set)
    file = signed_receipt(await services.keyring.signing_key(caller.tenant), facts, form)
    made = audit_entry(
        services,
        caller,
        action="read-receipt",
        decision="allowed",
        subjects=(found.pseudonym,),
        purpose=facts.event.purpose,
        target=facts.event.id,
        policy=policy_set.version,
    )
    await services.audit_log.append(made)
    return file


@audited("read-policies")
async def signing_keys(services: Services, caller: Caller) -> list[PublicKey]:
    """List the public keys by which the caller's tenant signs or ever signed, the current one first.

    They are there for everybody and tell of nobody, so no right is asked for: every principal may see them, as it may
    see the policies.
    """
    found = await services.keyring.public_keys(caller.tenant)
    await services.audit_log.append(audit_entry(services, caller, action="read-policies", decision="allowed"))
    return found


async def rotate_signing_key(services: Services, tenant: TenantId) -> None:
    """Make a new signing key at the command line; what the earlier ones signed stays signed, and they stay known.

    Raises:
        Conflict: somebody else does the same at this moment.
    """
    await services.keyring.rotate_signing_key(tenant)
    await services.audit_log.append(
        audit_entry(services, operator_caller(tenant), action="rotate-keys", decision="allowed")
    )


async def _chain(services: Services, tenant: TenantId, subject: SubjectId, event: UUID) -> tuple[Event, ...]:
    """Follow an event back to those that it answers; returns them oldest first, and itself last."""
    events = [await services.consents.event(tenant, subject, event)]
    while len(events) < LONGEST and (answered := events[-1].answers) is not None:
        if any(each.id == answered for each in events):
            break
        try:
            events.append(await services.consents.event(tenant, subject, answered))
        except NotFound:  # a copy from a merge answers an event of the person who is no more
            break
    return tuple(reversed(events))


def _facts(
    services: Services, tenant: TenantId, pseudonym: Pseudonym, events: tuple[Event, ...], policy_set: PolicySet
) -> Facts:
    name = events[-1].purpose
    purpose = None if name is None else policy_set.purposes.get(name)
    seen = next((each for each in reversed(events) if each.notice is not None), None)
    text = None
    if seen is not None and seen.notice is not None:
        text = policy_set.notices.by_digest(seen.notice_digest or "") or policy_set.notices.version(seen.notice)
    told = None
    if purpose is not None:
        told = PurposeFacts.of(purpose, policy_set.catalogue, policy_set.retention.get(purpose.name))
    elif name is not None:
        told = PurposeFacts.unknown(name)
    return Facts(
        events=events,
        pseudonym=pseudonym,
        tenant=tenant,
        controller=policy_set.controller,
        purpose=told,
        notice_title=None if text is None else text.title,
        policy=policy_set.version,
        made_at=services.clock.now(),
    )


Format = Literal["dpv", "kantara"]

LABEL: Final = "cdv-receipt-v1"
KIND: Final = "receipt"
"""The name under which the document stands in its signed file."""
_WRITERS: Final = {"dpv": dpv.receipt, "kantara": kantara.receipt}


def signed_receipt(key: SigningKey, facts: Facts, form: Format) -> dict[str, Any]:
    """Make the signed file of a receipt."""
    return sign(key, LABEL, KIND, _WRITERS[form](facts), facts.made_at)


def check_receipt(file: Mapping[str, Any]) -> Signed:
    """Check the form of a receipt's file, and the signature by the key that it carries.

    Raises:
        BadDocument: it has not the form; see :func:`vault.crypto.signing.check`.
    """
    return check(file, LABEL, KIND)


def told(receipt: Mapping[str, Any]) -> Told:
    """Read what a receipt says.

    Raises:
        BadDocument: it has neither of the two formats.
    """
    if dpv_reading.is_written_so(receipt):
        said = dpv_reading.told(receipt)
    elif kantara.is_written_so(receipt):
        said = kantara.told(receipt)
    else:
        raise BadDocument("the receipt has none of the forms that are known here")
    if said.kind not in SAID:
        raise BadDocument("the receipt is of a kind of event that is not known here")
    return said
