"""Requests at the command line: taken in, listed, decided, and carried out in the foreground."""

from __future__ import annotations

import json

import pytest

from tests.cli.people import person_in


@pytest.fixture
def subject(vault_folder, in_vault):
    return person_in(vault_folder, {"shop": "4711"}, name="Ada", email="ada@example.org")


def test_a_withdrawal_from_the_letter_to_the_end(in_vault, subject):
    made = in_vault("requests", "submit", "withdrawal", "--subject", subject, "--channel", "letter", "--received", "3d")
    request = made.stdout.strip()
    assert "Due on" in made.stderr
    assert "Art. 12(3) GDPR" in made.stderr
    listed = in_vault("requests", "list")
    assert request in listed.stdout
    assert "days" in listed.stdout
    assert "not verified" in listed.stdout
    done = in_vault("requests", "verify", request, "--evidence", "signature compared")
    assert done.exit_code == 0, done.stderr
    assert "withdraw …" in done.stderr
    assert "completed" in done.stderr
    shown = in_vault("requests", "show", request)
    assert "signature" not in shown.output
    assert [word in shown.stdout for word in ("verify", "approve", "start", "complete")] == [True] * 4
    assert request not in in_vault("requests", "list").stdout
    assert request in in_vault("requests", "list", "--all").stdout


def test_staff_approve_reject_extend_and_reopen(in_vault, subject):
    told = in_vault.json("requests", "submit", "review", "--subject", subject)
    request = told["id"]
    assert told["state"] == "received"
    again = in_vault("requests", "submit", "review", "--subject", subject)
    assert f"asked for the same already: {request}" in again.stderr
    assert in_vault.json("requests", "extend", request, "--reason", "number")["due"] > told["due"]
    assert in_vault.json("requests", "ask-identity", request)["state"] == "verifying"
    assert in_vault.json("requests", "verify", request, "--evidence", "seen")["state"] == "in_review"
    assert in_vault("requests", "approve", request, typed="n\n").exit_code != 0
    assert in_vault.json("requests", "approve", request, "--yes", "--later")["state"] == "approved"
    assert in_vault.json("requests", "complete", request, "--outcome", "confirmed")["state"] == "completed"
    assert in_vault.json("requests", "reopen", request)["state"] == "received"
    wrong = in_vault("requests", "reject", request, "--ground", "because")
    assert "no-automated-decision" in wrong.stderr
    assert in_vault.json("requests", "reject", request, "--ground", "excessive")["state"] == "rejected"
    assert in_vault.json("requests", "reopen", request, "--note", "not so")["state"] == "received"
    assert in_vault.json("requests", "cancel", request)["state"] == "cancelled"
    found = in_vault.json("requests", "show", request)
    assert [each["move"] for each in found["history"]].count("reopen") == 2
    assert {each["note"] for each in found["history"]} == {None, "sealed"}


def test_people_are_named_by_what_the_vault_holds(in_vault, subject, tmp_path):
    by_shop = in_vault.json("requests", "submit", "access", "--external-id", "shop=4711")
    assert in_vault.json("requests", "show", by_shop["id"])["subject"] == subject
    by_mail = in_vault("requests", "submit", "access", "--email", "--json", typed="ada@example.org\n")
    assert in_vault.json("requests", "show", json.loads(by_mail.stdout.splitlines()[-1])["id"])["subject"] == subject
    said = tmp_path / "said.json"
    said.write_text('{"changes": {"name": "Ada L."}}')
    made = in_vault.json("requests", "submit", "rectification", "--subject", subject, "--details", said)
    assert made["state"] == "received"
    said.write_text("[]")
    wrong = in_vault("requests", "submit", "rectification", "--subject", subject, "--details", said)
    assert "not contain a JSON object" in wrong.stderr
    assert in_vault("requests", "submit", "access").exit_code == 1


def test_an_approval_at_the_command_line_is_one_pair_of_eyes(in_vault, vault_folder, subject):
    path = vault_folder / "policies" / "requests.toml"
    path.write_text(path.read_text().replace('erasure = "review"', 'erasure = "four-eyes"'))
    in_vault.ok("policy", "apply")
    request = in_vault.json("requests", "submit", "erasure", "--subject", subject)["id"]
    in_vault.ok("requests", "verify", request, "--evidence", "seen")
    assert "needs the approval of two others" in in_vault("requests", "approve", request, "--yes").stderr


def test_expire_says_how_many(in_vault, subject):
    in_vault.ok("requests", "submit", "access", "--subject", subject, "--received", "30d")
    assert in_vault.json("requests", "expire") == {"expired": 0}
    assert "0 requests expired" in in_vault("requests", "expire").stderr
    assert len(in_vault.json("requests", "list", "--due", "soon")) == 1
    assert in_vault.json("requests", "list", "--kind", "erasure") == []
