"""Who sat at the command line: `cdv --as NAME` and CDV_OPERATOR."""

from __future__ import annotations

import json

import pytest

from tests.cli.people import person_in
from vault.access.callers import OPERATOR


def last_entry(cdv, action):
    return json.loads(cdv.ok("audit", "tail", "--action", action, "-n", "1", "--json"))


def test_operator_who_is_named_is_on_the_log_in_the_history_and_in_the_versions(in_vault, vault_folder):
    subject = person_in(vault_folder, name="Ada")
    request = in_vault.json("--as", "staff-17", "requests", "submit", "access", "--subject", subject)["id"]
    entry = last_entry(in_vault, "submit-request")
    assert (entry["principal_name"], entry["principal"]) == ("staff-17", str(OPERATOR))
    in_vault.ok("--as", "staff-18", "requests", "verify", request, "--evidence", "passport", "--later")
    history = in_vault.json("requests", "show", request)["history"]
    assert [event["by_name"] for event in history][:2] == ["staff-17", "staff-18"]
    with (vault_folder / "policies" / "policy.csv").open("a") as rules:
        rules.write("# reviewed\n")
    in_vault.ok("--as", "staff-17", "policy", "apply")
    assert [change["by"] for change in in_vault.json("policy", "history")] == ["staff-17", "command-line"]


def test_variable_names_the_operator_and_the_option_goes_before_it(in_vault, monkeypatch):
    monkeypatch.setenv("CDV_OPERATOR", "staff-17")
    result = in_vault("apps", "add", "shop", "--role", "sales")
    assert "is no setting" not in result.stderr
    assert last_entry(in_vault, "add-principal")["principal_name"] == "staff-17"
    in_vault.ok("--as", "staff-18", "apps", "disable", "shop", "--yes")
    assert last_entry(in_vault, "disable-principal")["principal_name"] == "staff-18"


def test_without_a_name_it_is_the_command_line(in_vault):
    in_vault.ok("--as", "staff-17", "apps", "add", "shop", "--role", "sales")
    in_vault.ok("apps", "disable", "shop", "--yes")
    assert last_entry(in_vault, "disable-principal")["principal_name"] == "command-line"


@pytest.mark.parametrize("name", ["Ada Lovelace", "ada@example.org", "x" * 65, "vault", "the-person", ""])
def test_name_that_is_a_persons_or_another_callers_is_refused_and_not_repeated(in_vault, name):
    result = in_vault("--as", name, "apps", "list")
    assert result.exit_code == 2
    assert "such as a staff number" in result.stderr
    assert "Lovelace" not in result.stderr
    assert "example.org" not in result.stderr


def test_a_name_is_no_second_pair_of_eyes(in_vault, vault_folder):
    subject = person_in(vault_folder, name="Ada")
    rules = vault_folder / "policies" / "requests.toml"
    rules.write_text(rules.read_text().replace('erasure = "review"', 'erasure = "four-eyes"'))
    in_vault.ok("policy", "apply")
    request = in_vault.json("--as", "staff-17", "requests", "submit", "erasure", "--subject", subject)["id"]
    in_vault.ok("--as", "staff-17", "requests", "verify", request, "--evidence", "passport", "--later")
    result = in_vault("--as", "staff-18", "requests", "approve", request, "--yes")
    assert result.exit_code == 1
    assert "needs the approval of two others" in result.stderr
