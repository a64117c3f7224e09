"""`cdv policy diff`, `show` and `rollback`: versions of the policies compared, written out and put back."""

from __future__ import annotations

import json

import pytest

RULE = "p, support, *, given_name, read, customer-support, allow\n"


@pytest.fixture
def policies(vault_folder):
    return vault_folder / "policies"


def edit(policies, name, old, new):
    file = policies / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folder_that_is_in_force_makes_no_difference(in_vault):
    found = in_vault.json("policy", "diff")
    assert found["before"] == found["after"]
    assert found["opened"] == found["closed"] == found["rules_added"] == []


def test_difference_tells_what_each_role_gains_and_loses(in_vault, policies):
    edit(policies, "policy.csv", RULE, "p, analytics, *, birth_date.year, read, customer-support, allow\n")
    edit(policies, "policy.csv", "p, support, *, name, read, customer-support, allow\n", "")
    found = in_vault.json("policy", "diff")
    closed = {(change["role"], change["purpose"]): change["fields"] for change in found["closed"]}
    assert "profile.given_name.clear" in closed["support", "customer-support"]
    assert "profile.name.clear" in closed["sales", "customer-support"], "sales has the rights of support"
    assert found["rules_removed"] == ["p, support, *, name, read, customer-support, allow", RULE.strip()]
    assert found["files"]["changed"] == ["policy.csv"]
    text = in_vault.ok("policy", "diff")
    assert "- support may no longer read for customer-support:" in text.splitlines()
    assert f"-{RULE.strip()}" in in_vault.ok("policy", "diff", "--text").splitlines()


def test_rule_that_a_denial_outweighs_opens_nothing(in_vault, policies):
    with (policies / "policy.csv").open("a", encoding="utf-8") as file:
        file.write("p, support, *, profile.given_name, read, customer-support, deny\n")
    found = in_vault.json("policy", "diff")
    assert found["opened"] == []
    assert any(change["role"] == "support" for change in found["closed"])


def test_changed_field_and_purpose_are_named(in_vault, policies):
    edit(policies, "catalogue.toml", 'title = "Given name"', 'title = "First name"')
    found = in_vault.json("policy", "diff")
    assert found["fields"]["changed"] == ["profile.given_name"]
    assert found["purposes"]["changed"] == []


def test_earlier_version_is_written_as_it_was(in_vault, policies, tmp_path):
    first = contents(policies)
    edit(policies, "policy.csv", RULE, "")
    in_vault.ok("policy", "apply")
    in_vault.ok("policy", "show", "previous", "--to", tmp_path / "old")
    assert contents(tmp_path / "old") == first
    again = in_vault("policy", "show", "previous", "--to", tmp_path / "old")
    assert again.exit_code == 1
    assert "exists already" in again.output


def test_rollback_puts_back_the_version_and_the_folder_and_keeps_the_present_one(in_vault, policies):
    first = contents(policies)
    edit(policies, "policy.csv", RULE, "")
    second = contents(policies)
    in_vault.ok("policy", "apply")
    answer = json.loads(in_vault.ok("policy", "rollback", "previous", "--yes", "--json"))
    assert contents(policies) == first
    assert contents(policies.with_name("policies-before-rollback")) == second
    assert answer["changed"] is True
    assert in_vault.json("policy", "history")[0]["version"] == answer["version"]
    assert in_vault.json("policy", "diff")["files"] == {"added": [], "removed": [], "changed": []}


def test_rollback_asks_first(in_vault, policies):
    edit(policies, "policy.csv", RULE, "")
    in_vault.ok("policy", "apply")
    present = contents(policies)
    assert in_vault("policy", "rollback", "previous", typed="n\n").exit_code == 1
    assert contents(policies) == present


def test_version_that_was_not_applied_is_refused(in_vault):
    result = in_vault("policy", "show", "0123abcd", "--to", "somewhere")
    assert result.exit_code == 1
    assert "cdv policy history" in result.output
    assert in_vault("policy", "rollback", "previous", "--yes").exit_code == 1, "there is no earlier one"
