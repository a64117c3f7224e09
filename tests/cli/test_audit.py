"""The audit log and the record of processing activities at the command line."""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import typer

from vault.bootstrap import open_vault
from vault.cli.command import parse_moment, run
from vault.context import Caller
from vault.governance.tenants import add_app
from vault.ids import DEFAULT_TENANT
from vault.records.read import read_fields
from vault.records.write import ProfileInput, create_subject


def entries(text):
    return [json.loads(line) for line in text.splitlines()]


def make_and_read(folder):
    """Create two customers and read one of them; returns the id of that one."""

    async def work():
        async with open_vault(folder) as vault:
            services = vault.services
            principal, _ = await add_app(services, DEFAULT_TENANT, "web-shop", ["sales"])
            caller = Caller(principal, "test")
            created = [
                await create_subject(services, caller, ProfileInput({"name": name}, "order-fulfilment"))
                for name in ("Ada Winter", "Grace Sommer")
            ]
            await read_fields(services, caller, subjects=[created[0].id], fields=["name"], purpose="order-fulfilment")
            return created[0].id

    return run(work())


def test_audit_tail_shows_the_latest_entries_last(in_vault):
    in_vault.ok("apps", "add", "web-shop", "--role", "sales")
    actions = [entry["action"] for entry in entries(in_vault.ok("audit", "tail", "--json"))]
    assert actions == ["add-tenant", "apply-policies", "add-principal", "issue-key"]
    assert [entry["action"] for entry in entries(in_vault.ok("audit", "tail", "-n", "2", "--json"))] == [
        "issue-key",
        "read-audit",
    ]


def test_audit_tail_prints_a_line_per_entry(in_vault):
    in_vault.ok("apps", "add", "web-shop", "--role", "sales")
    last = in_vault.ok("audit", "tail").splitlines()[-1]
    assert last.split()[1:] == ["allowed", "issue-key", "command-line"]


def test_audit_tail_by_subject(in_vault, vault_folder):
    ada = make_and_read(vault_folder)
    response = entries(in_vault.ok("audit", "tail", "--subject", ada, "--json"))
    assert [(entry["action"], entry["principal_name"]) for entry in response] == [
        ("create", "web-shop"),
        ("read", "web-shop"),
    ]
    text = in_vault.ok("audit", "tail", "--subject", ada, "--action", "read")
    assert "read profile.name.clear  for order-fulfilment  1 person" in text
    assert "Ada" not in text
    assert in_vault.ok("audit", "tail", "--subject", "0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1d") == ""


def test_audit_tail_says_what_was_done(in_vault, vault_folder):
    make_and_read(vault_folder)
    lines = in_vault.ok("audit", "tail", "--app", "web-shop").splitlines()
    assert [line.split(maxsplit=4)[4] for line in lines] == [
        "created with profile.name.clear  for order-fulfilment  1 person",
        "created with profile.name.clear  for order-fulfilment  1 person",
        "read profile.name.clear  for order-fulfilment  1 person",
    ]


def test_audit_tail_by_app_purpose_decision_and_time(in_vault, vault_folder):
    make_and_read(vault_folder)

    def shown(*args):
        return [entry["action"] for entry in entries(in_vault.ok("audit", "tail", "--json", *args))]

    shops = ["create", "create", "read"]
    assert shown("--app", "web-shop") == shops
    (principal,) = {
        entry["principal"] for entry in entries(in_vault.ok("audit", "tail", "--json", "--app", "web-shop"))
    }
    assert shown("--app", principal) == shops
    assert shown("--purpose", "order-fulfilment") == shops
    assert shown("--purpose", "marketing") == []
    assert shown("--app", "web-shop", "--decision", "allowed") == shops
    assert shown("--app", "web-shop", "--decision", "denied") == []
    assert shown("--app", "web-shop", "--since", "1d ago") == shops
    assert shown("--app", "web-shop", "--until", "1d ago") == []
    assert "add-tenant" in shown("--app", "command-line")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--app", "nobody"), "there is no app of this name"),
        (("--purpose", "A b"), "a purpose is a name of purposes.toml"),
        (("--decision", "maybe"), "denied"),
        (("--since", "yesterday"), "write 3d ago"),
        (("--follow", "--until", "1d"), "--follow has no end"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_audit_tail_says_which_filters_there_are(in_vault, args, words):
    result = in_vault("audit", "tail", *args)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_audit_tail_shows_the_forms_of_time_in_its_help(cdv):
    text = " ".join(cdv("audit", "tail", "--help").stdout.replace("│", " ").split())
    assert "3d ago, 2027-01-31 (UTC) or 2027-01-31T12:00:00Z" in text


def test_audit_tail_rejects_unknown_actions(in_vault):
    result = in_vault("audit", "tail", "--action", "steal")
    assert result.exit_code == 2
    assert "the actions are sign-in, read" in result.stderr


@pytest.mark.parametrize("lines", ["0", "501"])
def test_audit_tail_limits_the_number_of_lines(in_vault, lines):
    assert in_vault("audit", "tail", "-n", lines).exit_code == 2


@pytest.mark.parametrize("args", [(), ("--action", "add-principal")], ids=["all", "filtered"])
def test_audit_tail_follows_until_ctrl_c(in_vault, vault_folder, args):
    command = [sys.executable, "-m", "vault", "audit", "tail", "--follow", "--json", "-n", "1", *args]
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


NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)


def test_processing_record_is_markdown(in_vault, vault_folder):
    make_and_read(vault_folder)
    text = in_vault.ok("processing-record")
    assert text.startswith("# Record of processing activities")
    assert "| web-shop | active | 1 | 1 |" in text
    assert "Ada" not in text


def test_processing_record_as_json(in_vault, vault_folder):
    make_and_read(vault_folder)
    record = in_vault.json("processing-record")
    (orders,) = [item for item in record["activities"] if item["purpose"] == "order-fulfilment"]
    assert orders["use"]["readers"][0]["name"] == "web-shop"
    assert json.loads(in_vault.ok("processing-record", "--format", "json"))["activities"] == record["activities"]


def test_processing_record_as_csv_file(in_vault, tmp_path):
    file = tmp_path / "register.csv"
    result = in_vault("processing-record", "--format", "csv", "--output", file)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"written to {file}" in result.stderr
    assert "findings, at the end of the record" in result.stderr
    with file.open(newline="", encoding="utf-8") as text:
        assert {row["purpose"] for row in csv.DictReader(text)} >= {"order-fulfilment", "accounting"}


def test_processing_record_is_audited(in_vault):
    in_vault.ok("processing-record")
    last = json.loads(in_vault.ok("audit", "tail", "-n", "1", "--json"))
    assert (last["action"], last["principal_name"]) == ("read-processing", "command-line")


def test_processing_record_since(in_vault, vault_folder):
    make_and_read(vault_folder)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert in_vault.json("processing-record", "--since", "1d")["activities"][0]["use"]["reads"] == 1
    assert "is a time in the past" in in_vault("processing-record", "--since", tomorrow).stderr


def test_processing_record_draws_progress_on_a_terminal(in_vault, vault_folder):
    """The bar is drawn on standard error, and what is written on standard output stays clean."""
    make_and_read(vault_folder)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "vault", "processing-record", "--json"]
    env = {**os.environ, "CDV_VAULT": str(vault_folder), "TERM": "xterm"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=theirs) as making:
        os.close(theirs)
        out, _ = making.communicate(timeout=60)
    drawn = os.read(ours, 100_000).decode()
    os.close(ours)
    assert json.loads(out)["tenant"] == "default"
    assert "reading the audit log" in drawn


@pytest.mark.parametrize(
    "args",
    [
        ("--json", "--format", "csv"),
        ("--format", "pdf"),
        ("--since", "yesterday"),
        ("--since", "2026-01-01T00:00:00"),
        ("--since", "0d"),
    ],
    ids=" ".join,
)
def test_processing_record_rejects_invalid_options(cdv, tmp_path, args):
    result = cdv("processing-record", "--vault", tmp_path, *args)
    assert result.exit_code == 2


def test_processing_record_to_an_unwritable_file(in_vault, tmp_path):
    result = in_vault("processing-record", "--output", tmp_path / "none" / "file")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("90d", NOW - timedelta(days=90)),
        ("3d ago", NOW - timedelta(days=3)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_start_of_a_period(typed, meant):
    assert parse_moment(typed, NOW, forward=False) == meant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("2026-01-31T23:30:00-01:00", "2026-01-31T23:30:00-01:00"),
        ("2026-01-31", "2026-01-31T12:00:00+00:00"),
        (NOW.date().isoformat(), min(NOW, NOW.replace(hour=12, minute=0, second=0, microsecond=0)).isoformat()),
    ],
)
def test_a_receipt_keeps_the_offset_that_it_states_and_a_day_is_that_day_everywhere(typed, meant):
    assert parse_moment(typed, NOW, forward=False, as_stated=True).isoformat() == meant


@pytest.mark.parametrize(
    "typed", ["99999999d", "in 3d", "3 d", "ago", "0001-01-01T00:00:00+14:00", "31.01.2026", "-1d", ""]
)
def test_invalid_start_of_a_period(typed):
    with pytest.raises(typer.BadParameter):
        parse_moment(typed, NOW, forward=False)
