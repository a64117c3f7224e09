"""Apps, their keys, and tenants at the command line."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest
import typer

from tests.support import FixedClock
from vault.bootstrap import open_vault
from vault.cli.command import parse_moment, run
from vault.errors import NotAuthenticated


def who(folder, key):
    """Ask the vault whom a key speaks for; None if nobody."""

    async def ask():
        async with open_vault(folder) as vault:
            try:
                return (await vault.services.principals.authenticate(key)).name
            except NotAuthenticated:
                return None

    return run(ask())


def test_key_of_a_new_app_is_shown_once(in_vault, vault_folder):
    result = in_vault("apps", "add", "web-shop", "--role", "fulfilment")
    key = result.stdout.strip()
    assert key.startswith("cdv_")
    assert "not shown again" in result.stderr
    assert who(vault_folder, key) == "web-shop"
    assert key not in in_vault.ok("keys", "list", "web-shop")


def test_new_key_as_json(in_vault, vault_folder):
    created = in_vault.json("apps", "add", "web-shop", "--role", "sales", "--expires", "90d")
    assert created.keys() >= {"id", "key", "expires_at"}
    assert who(vault_folder, created["key"]) == "web-shop"
    ends = datetime.fromisoformat(created["expires_at"])
    assert timedelta(days=89) < ends - datetime.now(UTC) < timedelta(days=91)


def test_apps_are_listed_with_their_roles(in_vault):
    assert in_vault.json("apps", "list") == []
    in_vault.ok("apps", "add", "web-shop", "--role", "sales", "--role", "fulfilment")
    (app,) = in_vault.json("apps", "list")
    assert (app["name"], app["roles"], app["state"]) == ("web-shop", ["fulfilment", "sales"], "active")
    heading, line = in_vault.ok("apps", "list").splitlines()
    assert heading.split() == ["NAME", "ROLES", "STATE", "MADE"]
    assert line.startswith("web-shop  fulfilment sales  active")


def test_an_app_gets_no_key_for_a_role_that_the_policies_do_not_have(in_vault):
    refused = in_vault("apps", "add", "web-shop", "--role", "sales", "--role", "fullfilment")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "error: the policies have no such role" in refused.stderr
    assert "/roles/1: " in refused.stderr
    assert "did you mean `fulfilment`" in refused.stderr
    assert in_vault.json("apps", "list") == []
    in_vault.ok("apps", "add", "web-shop", "--role", "sales")
    assert in_vault("apps", "roles", "web-shop", "--role", "fullfilment").exit_code == 1
    assert in_vault.ok("apps", "roles", "web-shop") == "sales\n"


def test_roles_are_shown_and_changed(in_vault):
    in_vault.ok("apps", "add", "web-shop", "--role", "sales")
    assert in_vault.ok("apps", "roles", "web-shop") == "sales\n"
    assert in_vault.ok("apps", "roles", "web-shop", "--role", "finance", "--role", "support") == "finance support\n"
    assert in_vault.json("apps", "roles", "web-shop")["roles"] == ["finance", "support"]


def test_name_of_an_app_is_unique(in_vault):
    in_vault.ok("apps", "add", "web-shop", "--role", "sales")
    result = in_vault("apps", "add", "web-shop", "--role", "sales")
    assert result.exit_code == 1
    assert "error: the tenant has a principal of this name already\nhint: " in result.stderr


def test_invalid_name_is_reported_with_its_path(in_vault):
    result = in_vault("apps", "add", "Web Shop", "--role", "sales")
    assert result.exit_code == 1
    assert "/name: a name has 1 to 64" in result.stderr


def test_key_of_a_disabled_app_is_rejected(in_vault, vault_folder):
    key = in_vault.json("apps", "add", "web-shop", "--role", "sales")["key"]
    in_vault.ok("apps", "disable", "web-shop", "--yes")
    assert who(vault_folder, key) is None
    assert in_vault.json("apps", "list")[0]["state"] == "disabled"


def test_disable_and_revoke_need_confirmation(in_vault, vault_folder):
    created = in_vault.json("apps", "add", "web-shop", "--role", "sales")
    for command in (("apps", "disable", "web-shop"), ("keys", "revoke", created["id"])):
        for typed in ("n\n", ""):
            result = in_vault(*command, typed=typed)
            assert result.exit_code == 1
            assert "error: aborted; nothing was changed" in result.stderr
    assert who(vault_folder, created["key"]) == "web-shop"


def test_keys_rotate_without_downtime(in_vault, vault_folder):
    first = in_vault.json("apps", "add", "web-shop", "--role", "sales")
    second = in_vault.json("keys", "issue", "web-shop")
    assert who(vault_folder, first["key"]) == who(vault_folder, second["key"]) == "web-shop"
    in_vault.ok("keys", "revoke", first["id"], typed="y\n")
    assert (who(vault_folder, first["key"]), who(vault_folder, second["key"])) == (None, "web-shop")
    states = {item["id"]: item["state"] for item in in_vault.json("keys", "list", "web-shop")}
    assert states == {first["id"]: "revoked", second["id"]: "active"}


@pytest.mark.parametrize(
    "command", [("keys", "issue", "nobody"), ("keys", "list", "nobody"), ("apps", "disable", "nobody", "--yes")]
)
def test_unknown_app(in_vault, command):
    result = in_vault(*command)
    assert (result.exit_code, result.stderr) == (1, "error: there is no such principal\n")


def test_unknown_key(in_vault):
    result = in_vault("keys", "revoke", "0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1d", "--yes")
    assert (result.exit_code, result.stderr) == (1, "error: there is no such API key\n")
    assert in_vault("keys", "revoke", "seven", "--yes").exit_code == 2


NOW = FixedClock().now()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("90d", NOW + timedelta(days=90)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
        ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_expiry_has_three_formats(typed, meant):
    assert parse_moment(typed, NOW, forward=True) == meant


def test_days_from_now_may_have_a_word_before_them_and_none_after():
    assert parse_moment("in 3d", NOW, forward=True) == NOW + timedelta(days=3)
    with pytest.raises(typer.BadParameter, match="in 90d"):
        parse_moment("3d ago", NOW, forward=True)


@pytest.mark.parametrize("typed", ["soon", "0d", "-3d", "2027-02-30", "2027-01-31T12:00:00", ""])
def test_invalid_expiry_is_a_usage_error(in_vault, typed):
    result = in_vault("apps", "add", "web-shop", "--role", "sales", f"--expires={typed}")
    assert result.exit_code == 2
    assert "write in 90d, " in result.stderr


def test_expiry_in_the_past_is_refused(in_vault):
    result = in_vault("apps", "add", "web-shop", "--role", "sales", "--expires", "2020-01-01")
    assert result.exit_code == 1
    assert in_vault.json("apps", "list") == []


def test_new_tenant_gets_the_shipped_policies(in_vault, vault_folder):
    created = in_vault.json("tenants", "add", "brand-two")
    folder = vault_folder / "tenants" / "brand-two" / "policies"
    assert created == {"tenant": "brand-two", "policies": str(folder)}
    assert (folder / "policy.csv").read_text() == (vault_folder / "policies" / "policy.csv").read_text()
    assert in_vault.json("tenants", "list") == ["brand-two", "default"]
    assert len(in_vault.json("policy", "history", "--tenant", "brand-two")) == 1


def test_new_tenant_uses_existing_policies(in_vault, vault_folder):
    folder = vault_folder / "tenants" / "brand-two" / "policies"
    shutil.copytree(vault_folder / "policies", folder)
    with (folder / "policy.csv").open("a") as file:
        file.write("p, night-shift, *, email.masked, read, customer-support, allow\n")
    in_vault.ok("tenants", "add", "brand-two")
    own = in_vault.json("policy", "history", "--tenant", "brand-two")[0]["version"]
    assert own == in_vault.json("policy", "check", folder)["version"]
    assert own != in_vault.json("policy", "history")[0]["version"]


def test_apps_belong_to_one_tenant(in_vault):
    in_vault.ok("tenants", "add", "brand-two")
    in_vault.ok("apps", "add", "web-shop", "--role", "sales", "--tenant", "brand-two")
    assert in_vault.json("apps", "list") == []
    assert [app["name"] for app in in_vault.json("apps", "list", "--tenant", "brand-two")] == ["web-shop"]


@pytest.mark.parametrize("name", ["../../etc", "Brand Two", "", "a/b", "."])
def test_tenant_name_must_not_be_a_path(in_vault, vault_folder, name):
    result = in_vault("tenants", "add", name)
    assert result.exit_code == 1
    assert "error: the name of a tenant" in result.stderr
    assert not (vault_folder / "tenants").exists()


def test_tenant_name_is_unique(in_vault, vault_folder):
    in_vault.ok("tenants", "add", "brand-two")
    result = in_vault("tenants", "add", "brand-two")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "error: a tenant with this name exists")
    assert (vault_folder / "tenants" / "brand-two" / "policies" / "policy.csv").is_file()


def test_invalid_policies_create_no_tenant(in_vault, vault_folder):
    folder = vault_folder / "tenants" / "brand-two" / "policies"
    shutil.copytree(vault_folder / "policies", folder)
    (folder / "policy.csv").write_text("p, support, *, shoe_size, read, customer-support, allow\n")
    result = in_vault("tenants", "add", "brand-two")
    assert result.exit_code == 1
    assert "policy.csv:1:" in result.stderr
    assert in_vault.json("tenants", "list") == ["default"]
    assert (folder / "policy.csv").is_file()


def test_unknown_tenant(in_vault):
    result = in_vault("apps", "add", "web-shop", "--role", "sales", "--tenant", "brand-nine")
    assert result.exit_code == 1
    assert "error: there is no such tenant\nhint: list them by `cdv tenants list`" in result.stderr
