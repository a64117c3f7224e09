"""Issue receipts: signed proof of what a person said, for the person, an authority or a court.

A receipt states one event and the events before it that it answers. It is built from the event, the policies of that
day, and the controller. It contains no value of the person: the person is named by pseudonym, and evidence (which is
sealed) and the recorder (who is staff) are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from vault.access.authorization import audit_entry, require_permission, subject_not_found
from vault.access.callers import operator_caller
from vault.access.recording import audited, record_failure
from vault.consent.receipts import dpv, kantara
from vault.consent.receipts.model import EVENT_TEXTS, Facts, PurposeFacts
from vault.consent.views import SignedReceipt, SigningKeys
from vault.crypto.signing import BadDocument, check, sign
from vault.errors import NotFound
from vault.subjects.store import GONE, SubjectQuery

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from vault.consent.model import Event
    from vault.consent.receipts.model import ReceiptContents
    from vault.context import Caller, Services
    from vault.crypto.signing import Signed, SigningKey
    from vault.ids import Pseudonym, SubjectId, TenantId
    from vault.policy.policy_set import PolicySet


LONGEST: Final = 100
"""Events of one chain in a receipt; older events have receipts of their own."""


@audited("read-receipt")
async def read_receipt(
    services: Services, caller: Caller, subject: SubjectId, event: UUID, *, form: Format = "dpv"
) -> SignedReceipt:
    """Issue the signed receipt of one event, for callers that may record or read consents.

    It describes the purpose by the policies that were in force when the event was recorded.

    Raises:
        Denied: the caller may neither record nor read consents.
        NotFound: there is no such person, or the person has no such event.
    """
    decisions = services.policies.active(caller.tenant).decisions
    records = decisions.may(caller.principal.roles, "vault:consents", "record").granted
    await require_permission(
        services, caller, "vault:consents", "record" if records else "read", audit_action="read-receipt"
    )
    (row,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
    if row is None or row.state in GONE:
        raise subject_not_found()
    try:
        events = await _chain(services, caller.tenant, subject, event)
    except NotFound as error:
        await record_failure(services, caller, "read-receipt", error, subjects=(row.pseudonym,))
        raise
    policy_set = await services.policies.at(caller.tenant, events[-1].policy)
    facts = _facts(services, caller.tenant, row.pseudonym, events, policy_set)
    receipt = signed_receipt(await services.keyring.signing_key(caller.tenant), facts, form)
    entry = audit_entry(
        services,
        caller,
        action="read-receipt",
        decision="allowed",
        subjects=(row.pseudonym,),
        purpose=facts.event.purpose,
        target=facts.event.id,
        policy=policy_set.version,
    )
    await services.audit_log.append(entry)
    return SignedReceipt.model_validate(receipt)


@audited("read-policies")
async def signing_keys(services: Services, caller: Caller) -> SigningKeys:
    """List the public keys by which the caller's tenant signs or ever signed, the current one first.

    Every principal of the tenant may see them, as it may see the policies: they are public and not personal.
    """
    keys = await services.keyring.public_keys(caller.tenant)
    await services.audit_log.append(audit_entry(services, caller, action="read-policies", decision="allowed"))
    return SigningKeys.of(keys)


async def rotate_signing_key(services: Services, tenant: TenantId) -> None:
    """Create a new signing key; earlier keys stay on the list, so that what they signed can still be verified.

    Raises:
        Conflict: another process rotates the key at the same time.
    """
    await services.keyring.rotate_signing_key(tenant)
    await services.audit_log.append(
        audit_entry(services, operator_caller(tenant), action="rotate-keys", decision="allowed")
    )


async def _chain(services: Services, tenant: TenantId, subject: SubjectId, event: UUID) -> tuple[Event, ...]:
    """Follow an event back through the events that it answers; returns them oldest first, the event itself last."""
    events = [await services.consents.event(tenant, subject, event)]
    while len(events) < LONGEST and (answered := events[-1].answers) is not None:
        if any(known.id == answered for known in events):
            break
        try:
            events.append(await services.consents.event(tenant, subject, answered))
        except NotFound:  # a copy from a merge answers an event of the subject that was merged
            break
    return tuple(reversed(events))


def _facts(
    services: Services, tenant: TenantId, pseudonym: Pseudonym, events: tuple[Event, ...], policy_set: PolicySet
) -> Facts:
    name = events[-1].purpose
    purpose = None if name is None else policy_set.purposes.get(name)
    seen = next((event for event in reversed(events) if event.notice is not None), None)
    text = None
    if seen is not None and seen.notice is not None:
        text = policy_set.notices.by_digest(seen.notice_digest or "") or policy_set.notices.get(seen.notice)
    purpose_facts = None
    if purpose is not None:
        purpose_facts = PurposeFacts.of(purpose, policy_set.catalogue, policy_set.retention.get(purpose.name))
    elif name is not None:
        purpose_facts = PurposeFacts.unknown(name)
    return Facts(
        events=events,
        pseudonym=pseudonym,
        tenant=tenant,
        controller=policy_set.controller,
        purpose=purpose_facts,
        notice_title=None if text is None else text.title,
        policy=policy_set.version,
        made_at=services.clock.now(),
    )


Format = Literal["dpv", "kantara"]

LABEL: Final = "cdv-receipt-v1"
KIND: Final = "receipt"
"""The key of the document in its signed file."""
_WRITERS: Final = {"dpv": dpv.receipt, "kantara": kantara.receipt}


def signed_receipt(key: SigningKey, facts: Facts, form: Format) -> dict[str, object]:
    """Sign a receipt; returns the file."""
    return sign(key, LABEL, KIND, _WRITERS[form](facts), facts.made_at)


def check_receipt(file: Mapping[str, object]) -> Signed:
    """Check the form of a receipt's file, and its signature by the key that the file contains.

    Raises:
        BadDocument: the form is invalid; see :func:`vault.crypto.signing.check`.
    """
    return check(file, LABEL, KIND)


def read_contents(receipt: Mapping[str, object]) -> ReceiptContents:
    """Read the contents of a receipt.

    Raises:
        BadDocument: it has neither of the two formats.
    """
    if "@context" in receipt:
        contents = dpv.read_contents(receipt)
    elif receipt.get("version") == kantara.VERSION:
        contents = kantara.read_contents(receipt)
    else:
        raise BadDocument("the format of the receipt is unknown")
    if contents.kind not in EVENT_TEXTS:
        raise BadDocument("the receipt is of an unknown kind of event")
    return contents
