"""Receipts in the JSON of the Kantara Consent Receipt Specification v1.1.0 (2018).

The specification covers given consents only. So that a refusal is not taken for a consent, ``consentType`` is EXPLICIT
for an agreement only, and ``termination`` says that nothing may be processed where that is so. The part ``event``,
which is our own, states the event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from vault.clock import rfc3339
from vault.consent.model import YES
from vault.consent.receipts.model import EVENT_TEXTS, ReceiptContents, plain
from vault.crypto.signing import BadDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.company import Controller
    from vault.consent.receipts.model import Facts, PurposeFacts

VERSION: Final = "KI-CR-v1.1.0"
UNSTATED: Final = "not stated"
"""The value of a text that the specification requires and the policies do not have."""


def receipt(facts: Facts) -> dict[str, object]:
    """Write a receipt of this format."""
    event, seen, purpose = facts.event, facts.notice, facts.purpose
    categories = () if purpose is None else purpose.categories
    special = [key for category in categories if category.special for key in category.keys]
    return {
        "version": VERSION,
        "jurisdiction": facts.jurisdiction or UNSTATED,
        "consentTimestamp": int(event.occurred_at.timestamp()),
        "collectionMethod": _collection(facts),
        "consentReceiptID": str(event.id),
        "language": (None if seen is None else seen.language) or "en",
        "piiPrincipalId": str(facts.pseudonym),
        "piiControllers": [_controller(facts.controller, facts.tenant)],
        "policyUrl": facts.controller.privacy_policy or UNSTATED,
        "services": [
            {"service": facts.controller.name or facts.tenant, "purposes": [_purpose(purpose, facts)]},
        ],
        "sensitive": bool(special),
        "spiCat": sorted(set(special)),
        "event": _event(facts),
    }


def read_contents(document: Mapping[str, object]) -> ReceiptContents:
    """Read the contents of a receipt of this format.

    Raises:
        BadDocument: a required part is missing or of the wrong type.
    """
    try:
        read = msgspec.convert(document, _Receipt)
    except msgspec.ValidationError:
        raise BadDocument("a part of the receipt is missing or of the wrong type") from None
    event = read.event
    return ReceiptContents(
        kind=event.kind,
        receipt=read.consentReceiptID,
        person=read.piiPrincipalId,
        controller=read.piiControllers[0].piiController,
        purpose=None if event.purpose is None else read.services[0].purposes[0].purpose,
        notice=event.notice,
        occurred_at=event.occurred_at,
        method=event.method,
        valid_until=event.valid_until,
    )


def _purpose(purpose: PurposeFacts | None, facts: Facts) -> dict[str, object]:
    recipients = () if purpose is None else purpose.recipients
    categories = () if purpose is None else purpose.categories
    written: dict[str, object] = {
        "purpose": "Everything but storage" if purpose is None else purpose.title,
        "purposeCategory": ["any" if purpose is None else purpose.name],
        "consentType": "EXPLICIT" if facts.event.kind in YES else f"NONE: {EVENT_TEXTS[facts.event.kind]}",
        "piiCategory": sorted({key for category in categories for key in category.keys}),
        "primaryPurpose": False,
        "termination": _termination(purpose, facts),
        "thirdPartyDisclosure": bool(recipients),
    }
    return written | {"thirdPartyName": ", ".join(recipients)} if recipients else written


def _termination(purpose: PurposeFacts | None, facts: Facts) -> str:
    if facts.event.kind not in YES:
        return f"{EVENT_TEXTS[facts.event.kind]}: no processing may rest on this receipt"
    until = facts.event.valid_until
    ends = "When the person withdraws" if until is None else f"When the person withdraws, or on {rfc3339(until)}"
    kept = "" if purpose is None or purpose.retention is None else f"; data is kept for {purpose.retention.text}"
    return ends + kept


def _collection(facts: Facts) -> str:
    event = facts.event
    parts = [event.method or event.origin, plain(event.channel) or "", f"by {event.by}"]
    return ", ".join(filter(None, parts))


def _controller(controller: Controller, tenant: str) -> dict[str, object]:
    contact = controller.dpo.name if controller.dpo else controller.name
    written: dict[str, object] = {
        "piiController": controller.name or tenant,
        "contact": contact or tenant,
        "address": {
            "streetAddress": controller.address or UNSTATED,
            "addressCountry": controller.country or UNSTATED,
        },
        "email": (controller.dpo.email if controller.dpo else controller.email) or UNSTATED,
        "phone": controller.phone or UNSTATED,
    }
    return written | {"piiControllerUrl": controller.url} if controller.url else written


def _event(facts: Facts) -> dict[str, object]:
    event, seen = facts.event, facts.notice
    parts = {
        "kind": event.kind,
        "said": EVENT_TEXTS[event.kind],
        "purpose": event.purpose,
        "occurred_at": rfc3339(event.occurred_at),
        "recorded_at": rfc3339(event.recorded_at),
        "by": event.by,
        "method": event.method,
        "channel": plain(event.channel),
        "valid_until": None if event.valid_until is None else rfc3339(event.valid_until),
        "notice": None if seen is None else seen.notice,
        "notice_digest": None if seen is None else seen.notice_digest,
        "origin": event.origin,
        "answers": [str(event.id) for event in facts.events[:-1]],
        "policy": facts.policy,
    }
    return {key: value for key, value in parts.items() if value not in (None, [])}


class _Event(msgspec.Struct):
    kind: str
    occurred_at: str
    purpose: str | None = None
    notice: str | None = None
    method: str | None = None
    valid_until: str | None = None


class _Controller(msgspec.Struct):
    piiController: str  # noqa: N815 - the specification's names, here and below


class _Purpose(msgspec.Struct):
    purpose: str


class _Service(msgspec.Struct):
    purposes: Annotated[list[_Purpose], Meta(min_length=1)]


class _Receipt(msgspec.Struct):
    consentReceiptID: str  # noqa: N815
    piiPrincipalId: str  # noqa: N815
    piiControllers: Annotated[list[_Controller], Meta(min_length=1)]  # noqa: N815
    services: Annotated[list[_Service], Meta(min_length=1)]
    event: _Event
