"""Tenants have policies and apps of their own."""

from __future__ import annotations

import shutil

import pytest


def test_a_tenant_gets_a_copy_of_the_shipped_policies(in_vault, vault_folder):
    made = in_vault.json("tenants", "add", "brand-two")
    folder = vault_folder / "tenants" / "brand-two" / "policies"
    assert made == {"tenant": "brand-two", "policies": str(folder)}
    assert (folder / "policy.csv").read_text() == (vault_folder / "policies" / "policy.csv").read_text()
    assert in_vault.json("tenants", "list") == ["brand-two", "default"]
    assert len(in_vault.json("policy", "history", "--tenant", "brand-two")) == 1


def test_policies_that_lie_there_already_are_taken(in_vault, vault_folder):
    folder = vault_folder / "tenants" / "brand-two" / "policies"
    shutil.copytree(vault_folder / "policies", folder)
    with (folder / "policy.csv").open("a") as file:
        file.write("p, night-shift, *, email.masked, read, customer-support, allow\n")
    in_vault.ok("tenants", "add", "brand-two")
    own = in_vault.json("policy", "history", "--tenant", "brand-two")[0]["version"]
    assert own == in_vault.json("policy", "check", folder)["version"]
    assert own != in_vault.json("policy", "history")[0]["version"]


def test_apps_of_one_tenant_are_none_of_the_other(in_vault):
    in_vault.ok("tenants", "add", "brand-two")
    in_vault.ok("apps", "add", "web-shop", "--role", "sales", "--tenant", "brand-two")
    assert in_vault.json("apps", "list") == []
    assert [app["name"] for app in in_vault.json("apps", "list", "--tenant", "brand-two")] == ["web-shop"]


@pytest.mark.parametrize("name", ["../../etc", "Brand Two", "", "a/b", "."])
def test_a_name_that_could_be_a_path_is_refused(in_vault, vault_folder, name):
    result = in_vault("tenants", "add", name)
    assert result.exit_code == 1
    assert "error: the name of a tenant" in result.stderr
    assert not (vault_folder / "tenants").exists()


def test_a_tenant_is_made_once_and_its_policies_are_kept(in_vault, vault_folder):
    in_vault.ok("tenants", "add", "brand-two")
    result = in_vault("tenants", "add", "brand-two")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "error: a tenant with this name exists")
    assert (vault_folder / "tenants" / "brand-two" / "policies" / "policy.csv").is_file()


def test_mistakes_in_its_policies_leave_no_tenant_behind(in_vault, vault_folder):
    folder = vault_folder / "tenants" / "brand-two" / "policies"
    shutil.copytree(vault_folder / "policies", folder)
    (folder / "policy.csv").write_text("p, support, *, shoe_size, read, customer-support, allow\n")
    result = in_vault("tenants", "add", "brand-two")
    assert result.exit_code == 1
    assert "policy.csv:1:" in result.stderr
    assert in_vault.json("tenants", "list") == ["default"]
    assert (folder / "policy.csv").is_file()


def test_a_tenant_that_is_not_there(in_vault):
    result = in_vault("apps", "add", "web-shop", "--role", "sales", "--tenant", "brand-nine")
    assert result.exit_code == 1
    assert "error: there is no such tenant\nhint: list them by `cdv tenants list`" in result.stderr
