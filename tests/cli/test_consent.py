"""Consents at the command line."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.cli.people import person_in
from vault.bootstrap import open_vault

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


def test_what_is_recorded_is_shown_without_its_evidence(in_vault, subject):
    said = in_vault.json("consent", "record", subject, *MARKETING, *YES, "--evidence", "form 4711", "--at", "2d")
    assert said["state"] == "given"
    shown = in_vault("consent", "show", subject)
    assert shown.exit_code == 0
    assert "marketing@3" in shown.stdout
    assert "active" in shown.stderr
    found = in_vault.json("consent", "show", subject)
    assert found["consents"]["direct-marketing"]["state"] == "given"
    assert [(each["id"], each["evidence"], each["by"]) for each in found["history"]] == [
        (said["id"], "sealed", "subject")
    ]
    assert "4711" not in shown.output + json.dumps(found)
    in_vault.ok("consent", "record", subject, *MARKETING, "--decision", "withdrawn", "--channel", "phone")
    assert in_vault.json("consent", "show", subject)["consents"]["direct-marketing"]["state"] == "withdrawn"


def test_the_check_says_yes_and_no_by_its_status(in_vault, subject):
    assert in_vault("consent", "check", subject, *MARKETING).exit_code == 1
    in_vault.ok("consent", "record", subject, *MARKETING, *YES)
    assert in_vault("consent", "check", subject, *MARKETING).exit_code == 0
    nobody = str(uuid4())
    both = in_vault("consent", "check", subject, nobody, *MARKETING, "--json")
    assert both.exit_code == 1
    assert json.loads(both.stdout) == [
        {"subject": subject, "purposes": {"direct-marketing": True}},
        {"subject": nobody, "purposes": {"direct-marketing": False}},
    ]


def test_a_double_opt_in_prints_its_token_once(in_vault, subject):
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


def test_mistakes_are_told_by_place(in_vault, subject):
    wrong = in_vault("consent", "record", subject, *MARKETING, "--decision", "given", "--channel", "A B")
    assert wrong.exit_code == 1
    assert "error:" in wrong.stderr
    for place in ("/notice", "/method", "/channel"):
        assert f"{place}: " in wrong.stderr
    assert "no such person" in in_vault("consent", "show", uuid4()).stderr


def test_it_is_all_on_the_log(in_vault, subject):
    in_vault.ok("consent", "record", subject, *MARKETING, *YES)
    in_vault.ok("consent", "show", subject)
    lines = in_vault.ok("audit", "tail", "-n", "2", "--json").splitlines()
    assert {(each["action"], each["principal_name"]) for each in map(json.loads, lines)} == {
        ("record-consent", "command-line"),
        ("read-consents", "command-line"),
    }


def test_expire_completes_the_ledger(in_vault, subject):
    in_vault.ok("consent", "record", subject, *MARKETING, *YES)
    assert in_vault.json("consent", "expire") == {"people": 1, "expired": 0}
    assert "1 people, 0 consents ended" in in_vault("consent", "expire").stderr


def test_verify_finds_and_repairs_a_row_that_lies(in_vault, vault_folder, subject):
    in_vault.ok("consent", "record", subject, *MARKETING, "--decision", "withdrawn")
    assert in_vault.json("consent", "verify") == {"people": 1, "differences": [], "repaired": 0}
    sql(vault_folder, "UPDATE subject SET standing = NULL, state = 'restricted'")
    found = in_vault("consent", "verify")
    assert found.exit_code == 1
    assert subject in found.stdout
    assert "1 people, 1 of them wrong, 0 repaired" in found.stderr
    mended = in_vault("consent", "verify", "--repair")
    assert mended.exit_code == 0
    assert "repaired from the events" in mended.stderr
    assert in_vault("consent", "verify").exit_code == 0
    assert in_vault.json("consent", "show", subject)["consents"]["direct-marketing"]["state"] == "withdrawn"
