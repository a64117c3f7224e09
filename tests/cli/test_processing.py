"""The record of processing at the command line."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import typer

from tests.cli.test_audit import make_and_read
from vault.cli.options import parse_moment

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)


def test_people_get_a_page(in_vault, vault_folder):
    make_and_read(vault_folder)
    text = in_vault.ok("processing-record")
    assert text.startswith("# Record of processing activities")
    assert "| web-shop | active | 1 | 1 |" in text
    assert "Ada" not in text


def test_scripts_get_json(in_vault, vault_folder):
    make_and_read(vault_folder)
    record = in_vault.json("processing-record")
    (orders,) = [each for each in record["activities"] if each["purpose"] == "order-fulfilment"]
    assert orders["use"]["readers"][0]["name"] == "web-shop"
    assert json.loads(in_vault.ok("processing-record", "--format", "json"))["activities"] == record["activities"]


def test_a_spreadsheet_gets_a_file(in_vault, tmp_path):
    file = tmp_path / "register.csv"
    result = in_vault("processing-record", "--format", "csv", "--output", file)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"written to {file}" in result.stderr
    assert "findings, at the end of the record" in result.stderr
    with file.open(newline="", encoding="utf-8") as text:
        assert {row["purpose"] for row in csv.DictReader(text)} >= {"order-fulfilment", "accounting"}


def test_it_is_on_the_log(in_vault):
    in_vault.ok("processing-record")
    last = json.loads(in_vault.ok("audit", "tail", "-n", "1", "--json"))
    assert (last["action"], last["principal_name"]) == ("read-processing", "command-line")


def test_what_was_read_before_is_left_out(in_vault, vault_folder):
    make_and_read(vault_folder)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert in_vault.json("processing-record", "--since", "1d")["activities"][0]["use"]["reads"] == 1
    assert "is a time in the past" in in_vault("processing-record", "--since", tomorrow).stderr


def test_a_terminal_sees_how_far_it_is(in_vault, vault_folder):
    """The bar is drawn on standard error, and what is written on standard output stays clean."""
    make_and_read(vault_folder)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "vault.cli", "processing-record", "--json"]
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
def test_what_has_not_its_form(cdv, tmp_path, args):
    result = cdv("processing-record", "--vault", tmp_path, *args)
    assert result.exit_code == 2


def test_a_file_that_cannot_be_written(in_vault, tmp_path):
    result = in_vault("processing-record", "--output", tmp_path / "none" / "file")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("90d", NOW - timedelta(days=90)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_when_a_period_begins(typed, meant):
    assert parse_moment(typed, NOW, forward=False) == meant


@pytest.mark.parametrize("typed", ["99999999d", "0001-01-01T00:00:00+14:00", "31.01.2026", "-1d", ""])
def test_when_no_period_begins(typed):
    with pytest.raises(typer.BadParameter):
        parse_moment(typed, NOW, forward=False)
