"""Reads receipts that :mod:`vault.consent.receipts.dpv` wrote, wherever they have been since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from vault.consent.receipts.dpv import CONTEXT
from vault.consent.receipts.model import Told
from vault.crypto.signed import BadDocument

if TYPE_CHECKING:
    from collections.abc import Mapping


def is_written_so(document: Mapping[str, Any]) -> bool:
    """Tell whether a document means to be such a receipt."""
    return "@context" in document


def told(document: Mapping[str, Any]) -> Told:
    """Read what a receipt says.

    Raises:
        BadDocument: a part that every receipt has is missing or of another type, or the words of the receipt are not
            ours: the same keys would mean something else in another context.
    """
    if document["@context"] != CONTEXT:
        raise BadDocument("the receipt defines its words in a way of its own")
    try:
        read = msgspec.convert(document, _Receipt)
    except msgspec.ValidationError:
        raise BadDocument("the receipt lacks a part, or has one of another type") from None
    record = read.record
    event = next((each for each in [*record.consent, *record.right] if each.id == read.id), None)
    if event is None:
        raise BadDocument("the receipt does not tell of the event that it is of")
    return Told(
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


class _Event(
    msgspec.Struct,
    rename={
        "id": "@id",
        "kind": "cdv:kind",
        "occurred_at": "dpv:isIndicatedAtTime",
        "method": "dpv:hasIndicationMethod",
        "valid_until": "dct:valid",
    },
):
    id: str
    kind: str
    occurred_at: str
    method: str | None = None
    valid_until: str | None = None


class _Named(msgspec.Struct, rename={"name": "dpv:hasName"}):
    name: str


class _Person(msgspec.Struct, rename={"identifier": "dpv:hasIdentifier"}):
    identifier: str


class _Notice(msgspec.Struct, rename={"identifier": "dct:identifier"}):
    identifier: str


class _Purpose(msgspec.Struct, rename={"title": "dct:title"}):
    title: str


class _Process(msgspec.Struct, rename={"purpose": "dpv:hasPurpose"}):
    purpose: _Purpose | None = None


class _Record(
    msgspec.Struct,
    rename={
        "person": "dpv:hasDataSubject",
        "controller": "dpv:hasDataController",
        "process": "dpv:hasProcess",
        "notice": "dpv:hasNotice",
        "consent": "dpv:hasConsentStatus",
        "right": "dpv:hasStatus",
    },
):
    person: _Person
    controller: _Named
    process: _Process
    notice: _Notice | None = None
    consent: list[_Event] = []
    right: list[_Event] = []


class _Receipt(
    msgspec.Struct, rename={"id": "@id", "identifier": "dpv:hasIdentifier", "record": "dpv:hasRecordOfActivity"}
):
    id: str
    identifier: str
    record: _Record
