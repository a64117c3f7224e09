"""Consents, receipts and signing keys at the command line."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.cli.people import person_in
from tests.cli.test_audit import make_and_read
from vault.bootstrap import open_vault
from vault.consent.receipts.issue import check_receipt, read_contents
from vault.crypto.signing import key_id, parse, public_of_jwk

MARKETING = ("--purpose", "direct-marketing")
YES = ("--decision", "given", "--notice", "marketing@3", "--method", "form")


@pytest.fixture
def subject(vault_folder, in_vault):
    return person_in(vault_folder, name="Ada", email="ada@example.org")


def sql(folder, statement):
    async def run():
        async with open_vault(folder) as vault, vault.services.data.transaction() as connection:
            await connection.execute(text(statement))

    asyncio.run(run())


def test_recorded_consent_is_shown_without_evidence(in_vault, subject):
    said = in_vault.json("consent", "record", subject, *MARKETING, *YES, "--evidence", "form 4711", "--at", "2d")
    assert said["state"] == "given"
    shown = in_vault("consent", "show", subject)
    assert shown.exit_code == 0
    assert "marketing@3" in shown.stdout
    assert "active" in shown.stderr
    response = in_vault.json("consent", "show", subject)
    assert response["consents"]["direct-marketing"]["state"] == "given"
    assert [(item["id"], item["evidence"], item["by"]) for item in response["history"]] == [
        (said["id"], "sealed", "subject")
    ]
    assert "4711" not in shown.output + json.dumps(response)
    in_vault.ok("consent", "record", subject, *MARKETING, "--decision", "withdrawn", "--channel", "phone")
    assert in_vault.json("consent", "show", subject)["consents"]["direct-marketing"]["state"] == "withdrawn"


def test_consent_check_sets_the_exit_status(in_vault, subject):
    assert in_vault("consent", "check", subject, *MARKETING).exit_code == 1
    in_vault.ok("consent", "record", subject, *MARKETING, *YES)
    assert in_vault("consent", "check", subject, *MARKETING).exit_code == 0
    stranger = str(uuid4())
    both = in_vault("consent", "check", subject, stranger, *MARKETING, "--json")
    assert both.exit_code == 1
    assert json.loads(both.stdout) == [
        {"subject": subject, "purposes": {"direct-marketing": True}},
        {"subject": stranger, "purposes": {"direct-marketing": False}},
    ]


def test_double_opt_in_prints_its_token(in_vault, subject):
    asked = in_vault("consent", "record", subject, *MARKETING, *YES[:-1], "double-opt-in")
    assert asked.exit_code == 0
    assert asked.stdout.startswith("cdvc_")
    assert in_vault.json("consent", "show", subject)["consents"]["direct-marketing"]["state"] == "pending"


def test_objections_and_restrictions(in_vault, subject):
    objected = in_vault.json("consent", "object", subject, "--purpose", "fraud-prevention", "--reason", "a mistake")
    assert objected["state"] == "pending"
    decided = in_vault.json("consent", "decide", subject, objected["id"], "--as", "overruled", "--reason", "a case")
    assert decided["state"] == "overruled"
    assert in_vault.json("consent", "restrict", subject, "--ground", "claims")["state"] == "restricted"
    assert "has not been informed" in in_vault("consent", "lift", subject).stderr
    assert "hint:" in in_vault("consent", "announce", subject).stderr  # no mail is set up
    assert in_vault.json("consent", "announce", subject, "--told", "letter of today")["state"] == "restricted"
    assert "the notice period is not over" in in_vault("consent", "lift", subject).stderr
    assert in_vault.json("consent", "show", subject)["state"] == "restricted"
    assert "can be lifted from" in in_vault("consent", "announce", subject, "--told", "letter of today").stderr


def test_invalid_consent_is_reported_by_field(in_vault, subject):
    wrong = in_vault("consent", "record", subject, *MARKETING, "--decision", "given", "--channel", "A B")
    assert wrong.exit_code == 1
    assert "error:" in wrong.stderr
    for place in ("/notice", "/method", "/channel"):
        assert f"{place}: " in wrong.stderr
    assert "no such person" in in_vault("consent", "show", uuid4()).stderr


def test_consent_commands_are_audited(in_vault, subject):
    in_vault.ok("consent", "record", subject, *MARKETING, *YES)
    in_vault.ok("consent", "show", subject)
    lines = in_vault.ok("audit", "tail", "-n", "2", "--json").splitlines()
    assert {(item["action"], item["principal_name"]) for item in map(json.loads, lines)} == {
        ("record-consent", "command-line"),
        ("read-consents", "command-line"),
    }


def test_consent_expire_counts_people(in_vault, subject):
    in_vault.ok("consent", "record", subject, *MARKETING, *YES)
    assert in_vault.json("consent", "expire") == {"people": 1, "expired": 0}
    assert "checked: 1 person; 0 consents expired" in in_vault("consent", "expire").stderr


def test_consent_verify_repairs_a_wrong_row(in_vault, vault_folder, subject):
    in_vault.ok("consent", "record", subject, *MARKETING, "--decision", "withdrawn")
    assert in_vault.json("consent", "verify") == {"people": 1, "differences": [], "repaired": 0}
    sql(vault_folder, "UPDATE subject SET standing = NULL, state = 'restricted'")
    response = in_vault("consent", "verify")
    assert response.exit_code == 1
    assert subject in response.stdout
    assert "compared: 1 person, 1 wrong, 0 repaired" in response.stderr
    mended = in_vault("consent", "verify", "--repair")
    assert mended.exit_code == 0
    assert "repaired from the events" in mended.stderr
    assert in_vault("consent", "verify").exit_code == 0
    assert in_vault.json("consent", "show", subject)["consents"]["direct-marketing"]["state"] == "withdrawn"


AGREEMENT = ("--purpose", "direct-marketing", "--decision", "given", "--notice", "marketing@3", "--method", "form")


def record_event(cdv):
    """Record a consent; returns the ids of person and event."""
    subject = make_and_read(cdv.folder)
    return subject, cdv.json("consent", "record", subject, *AGREEMENT)["id"]


def record_and_print(cdv):
    return json.loads(cdv.ok("consent", "receipt", *record_event(cdv)))


@pytest.mark.parametrize("form", ["dpv", "kantara"])
def test_receipt_is_printed(in_vault, form):
    ids = record_event(in_vault)
    text = in_vault.ok("consent", "receipt", *ids, "--format", form)
    signed = check_receipt(parse(text.encode()))
    assert signed.sound
    assert read_contents(signed.document).kind == "given"
    assert "\n  " in text, "people may read it"
    assert "Ada" not in text


def test_receipt_is_audited(in_vault):
    in_vault.ok("consent", "receipt", *record_event(in_vault))
    entry = json.loads(in_vault.ok("audit", "tail", "-n", "1", "--json"))
    assert (entry["action"], entry["principal_name"]) == ("read-receipt", "command-line")


def test_receipt_of_an_unknown_event(in_vault):
    subject, _event = record_event(in_vault)
    result = in_vault("consent", "receipt", subject, subject)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: this person has no such event")


def test_signing_keys_are_printed(in_vault):
    (key,) = in_vault.json("keys", "signing")["keys"]
    assert key["kid"] == key_id(public_of_jwk(key))
    assert in_vault.ok("keys", "signing").split() == ["KEY", "STATE", key["kid"], "current"]


def test_rotated_signing_key_stays_on_the_list(in_vault):
    (old,) = in_vault.json("keys", "signing")["keys"]
    new, retired = in_vault.json("keys", "signing", "--new")["keys"]
    assert (new["status"], retired) == ("current", {**old, "status": "retired"})
    last = json.loads(in_vault.ok("audit", "tail", "-n", "1", "--json"))
    assert last["action"] == "rotate-keys"
