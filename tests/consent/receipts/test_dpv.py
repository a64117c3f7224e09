"""Receipts as JSON-LD, expanded by a real JSON-LD processor without a network."""

from __future__ import annotations

import json

import pytest
from pyld import jsonld

from tests.consent.receipts.samples import FORMS, KEY, KINDS, PERSON, event, facts, policies
from vault.consent.receipts.dpv import CONTEXT, receipt
from vault.consent.receipts.issue import signed_receipt
from vault.consent.receipts.model import PurposeFacts

DPV, DCT, GDPR = "https://w3id.org/dpv#", "http://purl.org/dc/terms/", "https://w3id.org/dpv/legal/eu/gdpr#"
CDV = "urn:customer-data-vault:receipt:"
each_kind = pytest.mark.parametrize("kind", KINDS)
STATES = {
    "given": "ConsentGiven",
    "renewed": "RenewedConsentGiven",
    "refused": "ConsentRefused",
    "withdrawn": "ConsentWithdrawn",
    "expired": "ConsentExpired",
    "requested": "ConsentRequested",
    "objected": "RequestInitiated",
    "objection-upheld": "RequestFulfilled",
    "objection-overruled": "RequestRejected",
    "restricted": "RequestFulfilled",
    "lift-announced": "RequestFulfilled",
    "restriction-lifted": "ActivityCompleted",
}


def no_network(url, _options):
    raise AssertionError(f"wanted to load {url}")


def expand(document):
    # as received: serialised and parsed
    (expanded,) = jsonld.expand(json.loads(json.dumps(document)), {"documentLoader": no_network})
    return expanded


def keys(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "@context":
                yield key
                yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def full(key):
    """Expand a prefixed name by the context alone."""
    prefix, _, name = key.partition(":")
    return CONTEXT[prefix] + name


def record(document):
    return expand(document)[DPV + "hasRecordOfActivity"][0]


def value(node, name):
    return [item.get("@value", item.get("@id")) for item in node[name]]


@each_kind
def test_every_key_of_a_receipt_is_defined_in_the_context(kind):
    chain = (
        event("given"),
        event(kind, 2, answers=event("given").id, valid_until=event().occurred_at, ground="accuracy"),
    )
    document = receipt(facts(*chain))
    named = [key for key in keys(document) if not key.startswith("@")]
    assert all(":" in key for key in named)
    expanded = [key for key in keys(expand(document)) if not key.startswith("@")]
    # Only a property may be missing whose node is left out, and none is.
    assert sorted(set(expanded)) == sorted({full(key) for key in named})
    assert len(expanded) == len(named)


@each_kind
def test_every_term_expands_to_an_absolute_iri(kind):
    things = [item for key, item in walk(expand(receipt(facts(event(kind))))) if key in {"@id", "@type"}]
    assert len(things) > 15
    assert all(
        thing.startswith(("https://w3id.org/dpv", "http://", "https://shop.example", "urn:")) for thing in things
    )
    assert not [thing for thing in things if thing.split(":")[0] in CONTEXT]


def walk(node):
    if isinstance(node, dict):
        for key, inner in node.items():
            if isinstance(inner, str):
                yield key, inner
            elif key == "@type":
                yield from ((key, item) for item in inner)
            yield from walk(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from walk(inner)


def test_the_terms_of_iso_27560_become_full_dpv_terms():
    document = receipt(facts(event("given", valid_until=event().occurred_at)))
    whole = expand(document)
    assert whole["@type"] == [DPV + "ConsentReceipt"]
    assert value(whole, DCT + "conformsTo") == ["https://w3id.org/dpv/schema/dpv-27560#receipt"]
    its = record(document)
    assert its["@type"] == [DPV + "ConsentRecord"]
    assert value(its[DPV + "hasDataSubject"][0], DPV + "hasIdentifier") == [str(PERSON)]
    assert value(its, DPV + "hasLegalBasis") == [DPV + "Consent", GDPR + "A6-1-a"]
    assert value(its, DPV + "hasJurisdiction") == ["https://w3id.org/dpv/loc#IE"]
    (controller,) = its[DPV + "hasDataController"]
    assert value(controller, DPV + "hasName") == ["Example Shop Ltd"]
    assert value(controller, DPV + "hasAddress") == ["1 Market Street, Dublin, IE"]
    (notice,) = its[DPV + "hasNotice"]
    assert value(notice, DCT + "identifier") == ["marketing@3"]
    assert value(notice, DCT + "language") == ["en"]
    (withdrawal,) = its[DPV + "hasConsentControl"]
    assert withdrawal["@type"] == [DPV + "WithdrawConsent"]
    assert value(withdrawal, DPV + "isExercisedAt") == ["https://shop.example/privacy"]
    (process,) = its[DPV + "hasProcess"]
    assert value(process[DPV + "hasPurpose"][0], DCT + "identifier") == ["direct-marketing"]
    assert [value(item, DPV + "hasName") for item in process[DPV + "hasRecipient"]] == [["e-mail service"]]
    kinds = {item["@type"][0] for item in process[DPV + "hasStorageCondition"]}
    assert kinds == {DPV + "StorageDuration", DPV + "StorageLocation"}
    (said,) = its[DPV + "hasConsentStatus"]
    assert said["@type"] == [DPV + "ConsentGiven", DPV + "ExplicitlyExpressedConsent"]
    assert said[DPV + "isIndicatedAtTime"] == [
        {"@type": "http://www.w3.org/2001/XMLSchema#dateTime", "@value": "2026-11-22T08:31:00.000000Z"}
    ]
    assert value(said, DPV + "isIndicatedBy") == [f"urn:uuid:{PERSON}"]
    assert DCT + "valid" in said


def test_personal_data_is_named_by_category_and_field_never_by_value():
    process = record(receipt(facts()))[DPV + "hasProcess"][0]
    answer = {broader: value(item, DCT + "identifier") for item in process[DPV + "hasPersonalData"] for broader in value(item, "http://www.w3.org/2004/02/skos/core#broader")}  # fmt: skip
    assert answer["https://w3id.org/dpv/pd#EmailAddress"] == ["profile.email"]
    assert "https://w3id.org/dpv/pd#Name" in answer


def test_special_categories_and_their_condition_are_marked():
    its = record(receipt(facts(event(purpose="health-advice"))))
    assert GDPR + "A9-2-a" in value(its, DPV + "hasLegalBasis")
    kinds = {item["@type"][0] for item in its[DPV + "hasProcess"][0][DPV + "hasPersonalData"]}
    assert kinds == {DPV + "PersonalData", DPV + "SpecialCategoryPersonalData"}


@each_kind
def test_each_kind_has_its_state(kind):
    its = record(receipt(facts(event(kind))))
    (said,) = its.get(DPV + "hasConsentStatus") or its[DPV + "hasStatus"]
    assert said["@type"][0] == DPV + STATES[kind]
    assert value(said, CDV + "kind") == [kind]


def test_only_an_agreement_is_an_expressed_consent():
    for kind in KINDS:
        its = record(receipt(facts(event(kind, method="button"))))
        (said,) = its.get(DPV + "hasConsentStatus") or its[DPV + "hasStatus"]
        assert (DPV + "ExpressedConsent" in said["@type"]) == (kind in {"given", "renewed"})


def test_an_objection_is_an_exercised_right_and_no_consent():
    document = receipt(facts(event("objected")))
    its = record(document)
    assert its["@type"] == [DPV + "RightExerciseRecord"]
    assert expand(document)["@type"] == [DPV + "RightFulfilmentNotice"]
    assert value(its, DPV + "hasRight") == [GDPR + "A21"]
    assert DPV + "hasConsentStatus" not in its
    assert DPV + "hasConsentControl" not in its
    assert "dct:conformsTo" not in keys(document), "a reader of consent receipts must not take it for one"


def test_a_final_objection_is_fulfilled_at_once():
    its = record(receipt(facts(event("objected", final=True))))
    assert its[DPV + "hasStatus"][0]["@type"] == [DPV + "RequestFulfilled"]


def test_a_restriction_concerns_all_processing():
    its = record(receipt(facts(event("restricted"))))
    assert value(its, DPV + "hasRight") == [GDPR + "A18"]
    assert DPV + "hasPurpose" not in its[DPV + "hasProcess"][0]


def test_a_chain_is_one_record_with_a_receipt_for_each_event():
    one, two = event("given"), event("withdrawn", 2, answers=event("given").id)
    first, second = receipt(facts(one)), receipt(facts(one, two))
    assert first["@id"] != second["@id"]
    assert record(first)["@id"] == record(second)["@id"]
    # As a set: JSON-LD keeps no order here, the times do.
    assert {item["@id"] for item in record(second)[DPV + "hasConsentStatus"]} == {
        f"urn:uuid:{one.id}",
        f"urn:uuid:{two.id}",
    }


@pytest.mark.parametrize("by", ["guardian", "staff", "app"])
def test_representatives_are_named_by_role_only(by):
    (said,) = record(receipt(facts(event(by=by))))[DPV + "hasConsentStatus"]
    assert value(said, CDV + "by") == [by]
    assert str(PERSON) not in json.dumps(said)


def test_a_part_of_a_country_is_named_with_its_country():
    (where,) = record(receipt(facts(event(jurisdiction="US-CA"))))[DPV + "hasJurisdiction"]
    assert where == {"@id": "https://w3id.org/dpv/loc#US", DCT + "identifier": [{"@value": "US-CA"}]}


def test_every_shipped_purpose_expands():
    shipped = policies()
    for name, purpose in shipped.purposes.items():
        answer = PurposeFacts.of(purpose, shipped.catalogue, shipped.retention.get(name))
        document = receipt(facts(event(purpose=name), purpose=answer))
        named = [key for key in keys(document) if not key.startswith("@")]
        assert len([key for key in keys(expand(document)) if not key.startswith("@")]) == len(named), name


def test_the_signed_file_contains_its_context():
    assert signed_receipt(KEY, facts(), FORMS[0])["receipt"]["@context"] == CONTEXT
