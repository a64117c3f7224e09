"""Apps and their keys, from the first key to the last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support import FixedClock
from vault.bootstrap import open_vault
from vault.cli.options import parse_moment
from vault.cli.session import run
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


def test_the_key_of_a_new_app_is_shown_once_and_works(in_vault, vault_folder):
    result = in_vault("apps", "add", "web-shop", "--role", "fulfilment")
    key = result.stdout.strip()
    assert key.startswith("cdv_")
    assert "not shown again" in result.stderr
    assert who(vault_folder, key) == "web-shop"
    assert key not in in_vault.ok("keys", "list", "web-shop")


def test_scripts_get_the_key_as_json(in_vault, vault_folder):
    made = in_vault.json("apps", "add", "web-shop", "--role", "sales", "--expires", "90d")
    assert made.keys() >= {"id", "key", "expires_at"}
    assert who(vault_folder, made["key"]) == "web-shop"
    ends = datetime.fromisoformat(made["expires_at"])
    assert timedelta(days=89) < ends - datetime.now(UTC) < timedelta(days=91)


def test_apps_are_listed_with_their_roles(in_vault):
    assert in_vault.json("apps", "list") == []
    in_vault.ok("apps", "add", "web-shop", "--role", "sales", "--role", "fulfilment")
    (app,) = in_vault.json("apps", "list")
    assert (app["name"], app["roles"], app["state"]) == ("web-shop", ["fulfilment", "sales"], "active")
    heading, line = in_vault.ok("apps", "list").splitlines()
    assert heading.split() == ["NAME", "ROLES", "STATE", "MADE"]
    assert line.startswith("web-shop  fulfilment sales  active")


def test_a_role_that_no_policy_knows_is_pointed_out(in_vault):
    result = in_vault("apps", "add", "web-shop", "--role", "fullfilment")
    assert result.exit_code == 0
    assert "warning: some roles are not in the current policies" in result.stderr
    assert "fulfilment" in result.stderr


def test_roles_are_shown_and_changed(in_vault):
    in_vault.ok("apps", "add", "web-shop", "--role", "sales")
    assert in_vault.ok("apps", "roles", "web-shop") == "sales\n"
    assert in_vault.ok("apps", "roles", "web-shop", "--role", "finance", "--role", "support") == "finance support\n"
    assert in_vault.json("apps", "roles", "web-shop")["roles"] == ["finance", "support"]


def test_a_name_is_given_once(in_vault):
    in_vault.ok("apps", "add", "web-shop", "--role", "sales")
    result = in_vault("apps", "add", "web-shop", "--role", "sales")
    assert result.exit_code == 1
    assert "error: the tenant has a principal of this name already\nhint: " in result.stderr


def test_a_bad_name_is_told_by_its_place(in_vault):
    result = in_vault("apps", "add", "Web Shop", "--role", "sales")
    assert result.exit_code == 1
    assert "/name: a name has 1 to 64" in result.stderr


def test_a_disabled_app_is_shut_out(in_vault, vault_folder):
    key = in_vault.json("apps", "add", "web-shop", "--role", "sales")["key"]
    in_vault.ok("apps", "disable", "web-shop", "--yes")
    assert who(vault_folder, key) is None
    assert in_vault.json("apps", "list")[0]["state"] == "disabled"


def test_nothing_is_disabled_or_revoked_without_a_yes(in_vault, vault_folder):
    made = in_vault.json("apps", "add", "web-shop", "--role", "sales")
    for command in (("apps", "disable", "web-shop"), ("keys", "revoke", made["id"])):
        for typed in ("n\n", ""):
            result = in_vault(*command, typed=typed)
            assert result.exit_code == 1
            assert "error: aborted; nothing was changed" in result.stderr
    assert who(vault_folder, made["key"]) == "web-shop"


def test_keys_are_changed_without_a_pause(in_vault, vault_folder):
    first = in_vault.json("apps", "add", "web-shop", "--role", "sales")
    second = in_vault.json("keys", "issue", "web-shop")
    assert who(vault_folder, first["key"]) == who(vault_folder, second["key"]) == "web-shop"
    in_vault.ok("keys", "revoke", first["id"], typed="y\n")
    assert (who(vault_folder, first["key"]), who(vault_folder, second["key"])) == (None, "web-shop")
    states = {each["id"]: each["state"] for each in in_vault.json("keys", "list", "web-shop")}
    assert states == {first["id"]: "revoked", second["id"]: "active"}


@pytest.mark.parametrize(
    "command", [("keys", "issue", "nobody"), ("keys", "list", "nobody"), ("apps", "disable", "nobody", "--yes")]
)
def test_an_app_that_is_not_there(in_vault, command):
    result = in_vault(*command)
    assert (result.exit_code, result.stderr) == (1, "error: there is no such principal\n")


def test_a_key_that_is_not_there(in_vault):
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
def test_the_end_of_a_key_is_written_in_three_ways(typed, meant):
    assert parse_moment(typed, NOW, forward=True) == meant


@pytest.mark.parametrize("typed", ["soon", "0d", "-3d", "2027-02-30", "2027-01-31T12:00:00", ""])
def test_an_end_that_nobody_understands_is_a_usage_error(in_vault, typed):
    result = in_vault("apps", "add", "web-shop", "--role", "sales", f"--expires={typed}")
    assert result.exit_code == 2
    assert "write days from now (90d)" in result.stderr


def test_an_end_in_the_past_is_refused(in_vault):
    result = in_vault("apps", "add", "web-shop", "--role", "sales", "--expires", "2020-01-01")
    assert result.exit_code == 1
    assert in_vault.json("apps", "list") == []
