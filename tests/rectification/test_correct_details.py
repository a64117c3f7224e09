"""What requests may say: checked when they come in, all faults at once, and no value in them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

import vault
from vault.catalogue.model import Scope
from vault.errors import InvalidInput
from vault.policy.policy_set import PolicySet
from vault.workflows import REQUEST_KINDS

PURCHASE = "0199aaaa-0000-7000-8000-000000000001"


@lru_cache
def policies():
    return PolicySet.from_folder(Path(vault.__file__).parent.parent / "policies")


def faults(kind, details, *purposes):
    with pytest.raises(InvalidInput) as raised:
        REQUEST_KINDS[kind].check_details(policies(), Scope(purposes=purposes), details)
    assert raised.value.code == "invalid-details"
    return [(fault.at, fault.code) for fault in raised.value.faults]


@pytest.mark.parametrize(
    ("details", "at"),
    [
        ({}, "/details"),
        ({"changes": {"email": "no address"}}, "/details/changes/email"),
        ({"changes": {"shoe": "x"}}, "/details/changes"),
        ({"changes": {"external_ids": {"shop": "1"}}}, "/details/changes"),
        ({"changes": ["email"]}, "/details/changes"),
        ({"changes": {"name": "x"}, "unknown": 1}, "/details"),
        ({"records": [{"collection": "purchase", "id": "x", "fields": {}}]}, "/details/records/0"),
        ({"records": {"collection": "purchase"}}, "/details/records"),
        (
            {"records": [{"collection": "shoe", "id": PURCHASE, "fields": {"amount": "1.00"}}]},
            "/details/records/0/collection",
        ),
        (
            {"records": [{"collection": "profile", "id": PURCHASE, "fields": {"name": "x"}}]},
            "/details/records/0/collection",
        ),
        (
            {"records": [{"collection": "purchase", "id": PURCHASE, "fields": {"amount": "x"}}]},
            "/details/records/0/fields/amount",
        ),
        ({"dispute": "wrong"}, "/details/fields"),
        ({"dispute": "wrong", "fields": ["shoe"]}, "/details/fields"),
        ({"dispute": "wrong", "fields": "email"}, "/details/fields"),
        ({"dispute": "wrong", "fields": ["email"], "restrict": "yes"}, "/details/restrict"),
        ({"dispute": ["wrong"], "fields": ["email"]}, "/details/dispute"),
        ({"statement": "two\nlines"}, "/details/statement"),
    ],
    ids=str,
)
def test_details_that_cannot_be_carried_out_are_refused(details, at):
    with pytest.raises(InvalidInput) as raised:
        REQUEST_KINDS["rectification"].check_details(policies(), Scope(), details)
    assert raised.value.code == "invalid-details"
    assert [fault.at for fault in raised.value.faults] == [at]
    assert not any(word in str(raised.value.faults) for word in ("shoe", "no address"))


def test_all_faults_are_reported_at_once():
    wrong = {"changes": {"email": "x", "birth_date": "tomorrow"}, "statement": " ", "shoe": 1}
    assert [at for at, _code in faults("rectification", wrong)] == [
        "/details", "/details/statement", "/details/changes/email", "/details/changes/birth_date",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "details", "purposes", "expected"),
    [
        ("restriction", {}, (), ("/details/ground", "unknown-code")),
        ("restriction", {"ground": "mood"}, (), ("/details/ground", "unknown-code")),
        ("objection", {}, ("fun",), ("/scope/purposes", "unknown-purpose")),
        ("objection", {}, ("accounting",), ("/scope/purposes", "no-right-to-object")),
        ("objection", {}, ("direct-marketing", "accounting"), ("/scope/purposes", "no-right-to-object")),
        ("objection", {"reason": "a" * 501}, (), ("/details/reason", "invalid-words")),
        ("withdrawal", {}, ("accounting",), ("/scope/purposes", "purpose-without-consent")),
        ("withdrawal", {"changes": {}}, (), ("/details", "unknown-field")),
        ("review", {"ground": "x"}, (), ("/details", "unknown-field")),
        ("erasure", {"claims": [{"names": ["profile.*"], "until": "2090-01-01"}]}, (), ("/details", "unknown-field")),
    ],
    ids=str,
)
def test_each_kind_of_request_has_its_keys(kind, details, purposes, expected):
    assert faults(kind, details, *purposes) == [expected]


@pytest.mark.parametrize(
    ("kind", "details", "purposes"),
    [
        ("rectification", {"changes": {"email": "new@example.org", "address": {"city": "Paris"}, "phone": None}}, ()),
        (
            "rectification",
            {"records": [{"collection": "purchase", "id": PURCHASE, "fields": {"amount": "1.00"}}]},
            (),
        ),
        ("rectification", {"dispute": "Wrong.", "fields": ["profile.email", "address"], "restrict": True}, ()),
        ("rectification", {"statement": "I go by my second name.", "reason": "as on my passport"}, ()),
        ("restriction", {"ground": "claims", "reason": "a lawsuit"}, ()),
        ("objection", {"reason": "my situation"}, ("fraud-prevention",)),
        ("objection", {}, ()),
        ("withdrawal", {}, ("direct-marketing",)),
        ("withdrawal", {}, ()),
        ("review", {"statement": "I was refused a credit."}, ()),
        ("access", {"anything": "is for others to check"}, ()),
    ],
    ids=str,
)
def test_valid_details_are_accepted(kind, details, purposes):
    REQUEST_KINDS[kind].check_details(policies(), Scope(purposes=purposes), details)
