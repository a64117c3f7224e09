"""The audit log at the command line; looking at it is on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from vault.bootstrap import open_vault
from vault.cli.session import run
from vault.context import Caller
from vault.governance.tenants import add_app
from vault.ids import DEFAULT_TENANT
from vault.records.create import create_subject
from vault.records.read import read_fields
from vault.records.update import ProfileInput


def entries(text):
    return [json.loads(line) for line in text.splitlines()]


def make_and_read(folder):
    """Create two customers and read one of them; returns the id of that one."""

    async def work():
        async with open_vault(folder) as vault:
            services = vault.services
            principal, _ = await add_app(services, DEFAULT_TENANT, "web-shop", ["sales"])
            caller = Caller(principal, "test")
            made = [
                await create_subject(services, caller, ProfileInput({"name": name}, "order-fulfilment"))
                for name in ("Ada Winter", "Grace Sommer")
            ]
            await read_fields(services, caller, subjects=[made[0].id], fields=["name"], purpose="order-fulfilment")
            return made[0].id

    return run(work())


def test_the_latest_entries_come_last(in_vault):
    in_vault.ok("apps", "add", "web-shop", "--role", "sales")
    actions = [entry["action"] for entry in entries(in_vault.ok("audit", "tail", "--json"))]
    assert actions == ["add-tenant", "apply-policies", "add-principal", "issue-key"]
    assert [entry["action"] for entry in entries(in_vault.ok("audit", "tail", "-n", "2", "--json"))] == [
        "issue-key",
        "read-audit",
    ]


def test_people_get_a_line_an_entry(in_vault):
    in_vault.ok("apps", "add", "web-shop", "--role", "sales")
    last = in_vault.ok("audit", "tail").splitlines()[-1]
    assert last.split()[1:] == ["allowed", "issue-key", "command-line"]


def test_entries_about_one_person(in_vault, vault_folder):
    ada = make_and_read(vault_folder)
    found = entries(in_vault.ok("audit", "tail", "--subject", ada, "--json"))
    assert [(entry["action"], entry["principal_name"]) for entry in found] == [
        ("create", "web-shop"),
        ("read", "web-shop"),
    ]
    text = in_vault.ok("audit", "tail", "--subject", ada, "--action", "read")
    assert "for order-fulfilment  shown profile.name.clear  1 person" in text
    assert "Ada" not in text
    assert in_vault.ok("audit", "tail", "--subject", "0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1d") == ""


def test_an_action_that_does_not_exist(in_vault):
    result = in_vault("audit", "tail", "--action", "steal")
    assert result.exit_code == 2
    assert "the actions are sign-in, read" in result.stderr


@pytest.mark.parametrize("lines", ["0", "501"])
def test_a_tail_has_1_to_500_entries(in_vault, lines):
    assert in_vault("audit", "tail", "-n", lines).exit_code == 2


@pytest.mark.parametrize("args", [(), ("--action", "add-principal")], ids=["all", "filtered"])
def test_following_shows_what_comes_until_ctrl_c(in_vault, vault_folder, args):
    command = [sys.executable, "-m", "vault.cli", "audit", "tail", "--follow", "--json", "-n", "1", *args]
    env = {**os.environ, "CDV_VAULT": str(vault_folder)}
    in_vault.ok("apps", "add", "first", "--role", "sales")
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        json.loads(following.stdout.readline())  # it follows, then
        in_vault.ok("apps", "add", "second", "--role", "sales")
        seen = []
        while not seen or seen[-1] != "add-principal":
            seen.append(json.loads(following.stdout.readline())["action"])
        assert seen in (["read-audit", "add-principal"], ["add-principal"])
        following.send_signal(signal.SIGINT)
        try:
            _, complaints = following.communicate(timeout=60)
        finally:
            following.kill()
    assert (following.returncode, complaints) == (130, "")
