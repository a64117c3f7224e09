"""Receipts in the structure of ISO/IEC TS 27560:2023, written in the W3C Data Privacy Vocabulary (DPV 2) as JSON-LD.

After the guide "Consent Records and Receipts as per ISO/IEC TS 27560:2023 using DPV" of the W3C community group. Each
receipt contains the context, so that it can be expanded without a network. The standard covers consents only; an
objection or a restriction is written as the record of an exercised right, with the same parts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import field

from vault.clock import rfc3339
from vault.consent.model import CONSENT, EXPLICIT, OBJECTION, YES
from vault.consent.receipts.model import ReceiptContents, plain
from vault.crypto.signing import BadDocument

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from vault.catalogue.company import Controller
    from vault.consent.model import Event
    from vault.consent.receipts.model import Facts, PurposeFacts


CONTEXT: Final[dict[str, object]] = json.loads(
    Path(__file__).with_name("context").joinpath("receipt-1.jsonld").read_text(encoding="utf-8")
)["@context"]

_BASES: Final = {
    "consent": ("dpv:Consent", "eu-gdpr:A6-1-a"),
    "contract": ("dpv:Contract", "eu-gdpr:A6-1-b"),
    "legal-obligation": ("dpv:LegalObligation", "eu-gdpr:A6-1-c"),
    "vital-interests": ("dpv:VitalInterest", "eu-gdpr:A6-1-d"),
    "public-task": ("dpv:PublicInterest", "eu-gdpr:A6-1-e"),
    "legitimate-interest": ("dpv:LegitimateInterest", "eu-gdpr:A6-1-f"),
}
_CONDITIONS: Final = {
    "explicit-consent": "eu-gdpr:A9-2-a",
    "employment-law": "eu-gdpr:A9-2-b",
    "vital-interests": "eu-gdpr:A9-2-c",
    "not-for-profit": "eu-gdpr:A9-2-d",
    "made-public": "eu-gdpr:A9-2-e",
    "legal-claims": "eu-gdpr:A9-2-f",
    "public-interest": "eu-gdpr:A9-2-g",
    "health-care": "eu-gdpr:A9-2-h",
    "public-health": "eu-gdpr:A9-2-i",
    "research": "eu-gdpr:A9-2-j",
}
_STATES: Final = {
    "given": "dpv:ConsentGiven",
    "renewed": "dpv:RenewedConsentGiven",
    "refused": "dpv:ConsentRefused",
    "withdrawn": "dpv:ConsentWithdrawn",
    "expired": "dpv:ConsentExpired",
    "requested": "dpv:ConsentRequested",
    "objected": "dpv:RequestInitiated",
    "objection-upheld": "dpv:RequestFulfilled",
    "objection-overruled": "dpv:RequestRejected",
    "restricted": "dpv:RequestFulfilled",
    "lift-announced": "dpv:RequestFulfilled",
    "restriction-lifted": "dpv:ActivityCompleted",
}
_ENTITIES: Final = {
    "guardian": {"@type": "dpv:GuardianOfDataSubject"},
    # A receipt goes to the person, so it names staff and apps by their controller, and not by their own names.
    "staff": {"@type": "dpv:DataController"},
    "app": {"@type": "dpv:DataController"},
}
_RIGHTS: Final = ("A15", "A16", "A17", "A18", "A20", "A21", "A77")


def receipt(facts: Facts) -> dict[str, object]:
    """Write a receipt of this format."""
    return _stated(
        {
            "@context": CONTEXT,
            "@id": _urn(facts.event.id),
            "@type": "dpv:ConsentReceipt" if facts.is_consent else "dpv:RightFulfilmentNotice",
            "dct:conformsTo": "dpv-27560:receipt" if facts.is_consent else None,
            "dpv:hasIdentifier": str(facts.event.id),
            "dct:created": rfc3339(facts.made_at),
            "dpv:hasRecordOfActivity": _record(facts),
        }
    )


def _record(facts: Facts) -> dict[str, object]:
    person = {"@id": _urn(facts.pseudonym), "@type": "dpv:DataSubject", "dpv:hasIdentifier": str(facts.pseudonym)}
    seen = facts.notice
    return _stated(
        {
            "@id": f"{_urn(facts.events[0].id)}#record",
            "@type": "dpv:ConsentRecord" if facts.is_consent else "dpv:RightExerciseRecord",
            "dct:conformsTo": "dpv-27560:record" if facts.is_consent else None,
            "dpv:hasIdentifier": str(facts.events[0].id),
            "dpv:hasDataSubject": person,
            "dpv:hasDataController": _controller(facts.controller, facts.tenant),
            "dpv:hasJurisdiction": _jurisdiction(facts.jurisdiction),
            "dpv:hasLegalBasis": _bases(facts.purpose),
            "dpv:hasProcess": _process(facts),
            "dpv:hasNotice": None if seen is None else _notice(seen, facts.notice_title),
            "dpv:hasConsentControl": _withdrawal(facts.controller) if facts.is_consent else None,
            "dpv:hasRight": _rights(facts),
            "dpv:hasConsentStatus": [_event(event, facts) for event in facts.events if event.kind in CONSENT],
            "dpv:hasStatus": [_event(event, facts) for event in facts.events if event.kind not in CONSENT],
            "cdv:policy": facts.policy,
        }
    )


def _event(event: Event, facts: Facts) -> dict[str, object]:
    types = [_STATES[event.kind]]
    if event.kind == "objected" and event.final:
        types = ["dpv:RequestFulfilled"]  # direct marketing stops at once, without a decision
    if event.kind in YES:
        types.append("dpv:ExplicitlyExpressedConsent" if event.method in EXPLICIT else "dpv:ExpressedConsent")
    by_person = {"@id": _urn(facts.pseudonym)}
    return _stated(
        {
            "@id": _urn(event.id),
            "@type": types,
            "dpv:hasIdentifier": str(event.id),
            "cdv:kind": event.kind,
            "cdv:by": event.by,
            "dpv:isIndicatedBy": by_person if event.by == "subject" else _ENTITIES[event.by],
            "dpv:isIndicatedAtTime": rfc3339(event.occurred_at),
            "cdv:recordedAt": rfc3339(event.recorded_at),
            "dpv:hasIndicationMethod": event.method,
            "cdv:channel": plain(event.channel),
            "dct:valid": None if event.valid_until is None else rfc3339(event.valid_until),
            "cdv:origin": event.origin,
            "cdv:source": plain(event.source),
            "cdv:final": event.final or None,
            "cdv:ground": plain(event.ground),
            "dpv:hasNotice": None if event.notice is None else _notice(event, None),
            "cdv:answers": None if event.answers is None else _urn(event.answers),
        }
    )


def _process(facts: Facts) -> dict[str, object]:
    purpose, country = facts.purpose, facts.controller.country
    if purpose is None:
        return {"@type": "dpv:Process", "dct:description": "Everything that is done with the person's data"}
    storage: list[dict[str, object]] = []
    if purpose.retention is not None:
        storage.append(
            {
                "@type": "dpv:StorageDuration",
                "dpv:hasDuration": purpose.retention.duration,
                "dct:description": purpose.retention.text,
            }
        )
    if country:
        storage.append({"@type": "dpv:StorageLocation", "dpv:hasLocation": f"loc:{country}"})
    return _stated(
        {
            "@type": "dpv:Process",
            "dpv:hasPurpose": _stated(
                {
                    "@type": "dpv:Purpose",
                    "dct:identifier": purpose.name,
                    "dct:title": purpose.title,
                    "dct:description": purpose.description,
                }
            ),
            "dpv:hasPersonalData": [
                {
                    "@type": "dpv:SpecialCategoryPersonalData" if category.special else "dpv:PersonalData",
                    "skos:broader": category.dpv,
                    "cdv:category": list(category.keys),
                    "dct:identifier": list(category.fields),
                }
                for category in purpose.categories
            ],
            "dpv:hasRecipient": [{"@type": "dpv:Recipient", "dpv:hasName": name} for name in purpose.recipients],
            "dpv:hasStorageCondition": storage,
        }
    )


def _controller(controller: Controller, tenant: str) -> dict[str, object]:
    address = ", ".join(filter(None, (controller.address, controller.country)))
    contacts = [controller.email, controller.phone, controller.url]
    dpo = controller.dpo
    return _stated(
        {
            "@type": ["dpv:LegalEntity", "dpv:DataController"],
            "dpv:hasIdentifier": tenant,
            "dpv:hasName": controller.name or tenant,
            "dpv:hasAddress": address,
            "dpv:hasContact": list(filter(None, contacts)),
            "dpv:hasDataProtectionOfficer": None
            if dpo is None
            else {"@type": "dpv:DataProtectionOfficer", "dpv:hasName": dpo.name, "dpv:hasContact": dpo.email},
        }
    )


def _notice(seen: Event, title: str | None) -> dict[str, object]:
    return _stated(
        {
            "@type": "dpv:ConsentNotice",
            "dct:identifier": seen.notice,
            "dct:title": title,
            "dct:language": seen.language,
            "cdv:digest": seen.notice_digest,
        }
    )


def _withdrawal(controller: Controller) -> dict[str, object]:
    ways = ["on the controller's privacy page"] if controller.privacy_policy else []
    if controller.email:
        ways.append(f"by a message to {controller.email}")
    how = f": {' or '.join(ways)}" if ways else ""
    return _stated(
        {
            "@type": "dpv:WithdrawConsent",
            "dct:description": f"At any time, as easily as it was given{how}",
            "dpv:isExercisedAt": controller.privacy_policy,
        }
    )


def _rights(facts: Facts) -> list[str]:
    if facts.is_consent:
        return [f"eu-gdpr:{article}" for article in ("A7-3", *_RIGHTS)]
    return ["eu-gdpr:A21" if facts.event.kind in OBJECTION else "eu-gdpr:A18"]


def _bases(purpose: PurposeFacts | None) -> list[str]:
    if purpose is None or purpose.legal_basis is None:
        return []
    condition = [] if purpose.article9 is None else [_CONDITIONS[purpose.article9]]
    return [*_BASES[purpose.legal_basis], *condition]


def _jurisdiction(code: str | None) -> dict[str, str] | None:
    """Name the country by its DPV term, and the part of a country, for which DPV has no term, by its code."""
    return None if code is None else {"@id": f"loc:{code.partition('-')[0]}", "dct:identifier": code}


def _urn(number: UUID) -> str:
    return f"urn:uuid:{number}"


def _stated(parts: dict[str, object]) -> dict[str, object]:
    """Leave out the parts without a value."""
    return {key: value for key, value in parts.items() if value not in (None, "", [])}


def read_contents(document: Mapping[str, object]) -> ReceiptContents:
    """Read the contents of a receipt of this format.

    Raises:
        BadDocument: a required part is missing or of the wrong type, or the context is not :data:`CONTEXT`.
    """
    # In another context the same keys could mean something else.
    if document["@context"] != CONTEXT:
        raise BadDocument("the receipt has another JSON-LD context")
    try:
        read = msgspec.convert(document, _Receipt)
    except msgspec.ValidationError:
        raise BadDocument("a part of the receipt is missing or of the wrong type") from None
    record = read.record
    event = next((event for event in [*record.consent, *record.right] if event.id == read.id), None)
    if event is None:
        raise BadDocument("the receipt does not contain its event")
    return ReceiptContents(
        kind=event.kind,
        receipt=read.identifier,
        person=record.person.identifier,
        controller=record.controller.name,
        purpose=None if record.process.purpose is None else record.process.purpose.title,
        notice=None if record.notice is None else record.notice.identifier,
        occurred_at=event.occurred_at,
        method=event.method,
        valid_until=event.valid_until,
    )


class _Event(msgspec.Struct):
    id: str = field(name="@id")
    kind: str = field(name="cdv:kind")
    occurred_at: str = field(name="dpv:isIndicatedAtTime")
    method: str | None = field(name="dpv:hasIndicationMethod", default=None)
    valid_until: str | None = field(name="dct:valid", default=None)


class _Controller(msgspec.Struct):
    name: str = field(name="dpv:hasName")


class _Person(msgspec.Struct):
    identifier: str = field(name="dpv:hasIdentifier")


class _Notice(msgspec.Struct):
    identifier: str = field(name="dct:identifier")


class _Purpose(msgspec.Struct):
    title: str = field(name="dct:title")


class _Process(msgspec.Struct):
    purpose: _Purpose | None = field(name="dpv:hasPurpose", default=None)


class _Record(msgspec.Struct):
    person: _Person = field(name="dpv:hasDataSubject")
    controller: _Controller = field(name="dpv:hasDataController")
    process: _Process = field(name="dpv:hasProcess")
    notice: _Notice | None = field(name="dpv:hasNotice", default=None)
    consent: list[_Event] = field(name="dpv:hasConsentStatus", default_factory=list)
    right: list[_Event] = field(name="dpv:hasStatus", default_factory=list)


class _Receipt(msgspec.Struct):
    id: str = field(name="@id")
    identifier: str = field(name="dpv:hasIdentifier")
    record: _Record = field(name="dpv:hasRecordOfActivity")
