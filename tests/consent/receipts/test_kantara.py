"""Receipts in the format of Kantara 1.1."""

from __future__ import annotations

import json

import pytest

from tests.consent.receipts.samples import KINDS, PERSON, event, facts
from vault.catalogue.company import Controller
from vault.consent.receipts.kantara import receipt

MANDATORY = {
    "version": str, "jurisdiction": str, "consentTimestamp": int, "collectionMethod": str, "consentReceiptID": str,
    "language": str, "piiPrincipalId": str, "piiControllers": list, "policyUrl": str, "services": list,
    "sensitive": bool, "spiCat": list,
}  # fmt: skip
OF_A_CONTROLLER = {"piiController": str, "contact": str, "address": dict, "email": str, "phone": str}
OF_A_PURPOSE = {
    "purpose": str, "purposeCategory": list, "consentType": str, "piiCategory": list, "primaryPurpose": bool,
    "termination": str, "thirdPartyDisclosure": bool,
}  # fmt: skip


def assert_has(written, fields):
    for name, kind in fields.items():
        assert type(written[name]) is kind, name
        assert written[name] != "", name


@pytest.mark.parametrize("controller", [None, Controller()], ids=["stated", "not stated"])
@pytest.mark.parametrize("kind", KINDS)
def test_all_required_fields_are_present(kind, controller):
    created = facts(event(kind)) if controller is None else facts(event(kind), controller=controller)
    written = json.loads(json.dumps(receipt(created)))
    assert_has(written, MANDATORY)
    (its,) = written["piiControllers"]
    assert_has(its, OF_A_CONTROLLER)
    (service,) = written["services"]
    assert service["service"]
    (purpose,) = service["purposes"]
    assert_has(purpose, OF_A_PURPOSE)
    assert purpose["thirdPartyDisclosure"] == ("thirdPartyName" in purpose)


def test_the_fields_of_a_consent():
    written = receipt(facts(event("given", jurisdiction="DE", channel="web")))
    assert written["version"] == "KI-CR-v1.1.0"
    assert written["jurisdiction"] == "DE"
    assert written["consentTimestamp"] == 1795336260
    assert written["collectionMethod"] == "checkbox, web, by subject"
    assert written["piiPrincipalId"] == str(PERSON)
    assert written["policyUrl"] == "https://shop.example/privacy"
    assert written["piiControllers"][0]["contact"] == "Data protection office"
    (purpose,) = written["services"][0]["purposes"]
    assert purpose["consentType"] == "EXPLICIT"
    assert "user.contact.email" in purpose["piiCategory"]
    assert purpose["thirdPartyName"] == "e-mail service"
    assert purpose["termination"].startswith("When the person withdraws")
    assert (written["sensitive"], written["spiCat"]) == (False, [])


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"given", "renewed"}))
def test_only_consents_are_marked_as_consents(kind):
    written = receipt(facts(event(kind)))
    (purpose,) = written["services"][0]["purposes"]
    assert purpose["consentType"].startswith("NONE: ")
    assert purpose["termination"].endswith("no processing may rest on this receipt")
    assert written["event"]["kind"] == kind


def test_special_categories_are_named():
    written = receipt(facts(event(purpose="health-advice")))
    assert written["sensitive"] is True
    assert written["spiCat"] == ["user.health_and_medical"]


def test_the_expiry_is_stated():
    (purpose,) = receipt(facts(event(valid_until=event().occurred_at)))["services"][0]["purposes"]
    assert "or on 2026-11-22T08:31:00.000000Z" in purpose["termination"]
