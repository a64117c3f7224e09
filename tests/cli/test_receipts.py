"""Receipts and signing keys at the command line."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_audit import make_and_read
from vault.consent.receipts.issue import check_receipt, read_contents
from vault.crypto.signing import key_id, parse, public_of_jwk

YES = ("--purpose", "direct-marketing", "--decision", "given", "--notice", "marketing@3", "--method", "form")


def record(cdv):
    """Record a consent; returns the ids of person and event."""
    subject = make_and_read(cdv.folder)
    return subject, cdv.json("consent", "record", subject, *YES)["id"]


def record_and_print(cdv):
    return json.loads(cdv.ok("consent", "receipt", *record(cdv)))


@pytest.mark.parametrize("form", ["dpv", "kantara"])
def test_a_receipt_is_printed_to_be_handed_over(in_vault, form):
    ids = record(in_vault)
    text = in_vault.ok("consent", "receipt", *ids, "--format", form)
    signed = check_receipt(parse(text.encode()))
    assert signed.sound
    assert read_contents(signed.document).kind == "given"
    assert "\n  " in text, "people may read it"
    assert "Ada" not in text


def test_that_it_was_made_is_on_the_log(in_vault):
    in_vault.ok("consent", "receipt", *record(in_vault))
    entry = json.loads(in_vault.ok("audit", "tail", "-n", "1", "--json"))
    assert (entry["action"], entry["principal_name"]) == ("read-receipt", "command-line")


def test_an_event_of_nobodys_is_told(in_vault):
    subject, _event = record(in_vault)
    result = in_vault("consent", "receipt", subject, subject)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: this person has no such event")


def test_the_signing_keys_are_printed_for_people_and_for_scripts(in_vault):
    (key,) = in_vault.json("keys", "signing")["keys"]
    assert key["kid"] == key_id(public_of_jwk(key))
    assert in_vault.ok("keys", "signing").split() == ["KEY", "STATE", key["kid"], "current"]


def test_a_new_key_leaves_the_old_one_on_the_list(in_vault):
    (old,) = in_vault.json("keys", "signing")["keys"]
    new, retired = in_vault.json("keys", "signing", "--new")["keys"]
    assert (new["status"], retired) == ("current", {**old, "status": "retired"})
    last = json.loads(in_vault.ok("audit", "tail", "-n", "1", "--json"))
    assert last["action"] == "rotate-keys"
