"""Sweeps at the command line: previewed, dry run, run, listed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from tests.cli.conftest import cdv, in_vault, made_vault, vault_folder
from tests.cli.people import people_in
from tests.support import FixedClock
from vault.cli.retention import _calendar
from vault.sweep.query import MOST_DAYS
from vault.sweep.run import FEW

__all__ = ["cdv", "in_vault", "made_vault", "vault_folder"]
LONG_AGO = datetime(2015, 3, 5, 12, tzinfo=UTC)


@pytest.fixture
def over(vault_folder):
    """Make a subject whose values have all ended."""
    people_in(vault_folder, {"name": "Ada", "email": "ada@example.org"}, clock=FixedClock(LONG_AGO))


def test_expired_values_are_previewed_dry_run_and_swept(in_vault, over):
    waiting = in_vault.json("retention", "due", "--days", "0")["waiting"]
    assert [(job["field"], job["state"], job["values"]) for job in waiting] == [
        ("profile.email", "next-sweep", 1),
        ("profile.name", "next-sweep", 1),
    ]
    shown = in_vault.ok("retention", "due", "--field", "email")
    assert "profile.email" in shown
    assert "profile.name" not in shown
    would = in_vault.json("retention", "sweep", "--dry-run")
    assert (would["people"], sum(item["values"] for item in would["would"])) == (1, 2)
    assert "profile.name" in in_vault.ok("retention", "sweep", "--dry-run")
    swept = in_vault.json("retention", "sweep")
    assert (swept["state"], swept["counts"]["erased"], swept["counts"]["whole"]) == ("done", 2, 1)
    again = in_vault("retention", "sweep")
    assert again.exit_code == 0
    assert "0 people" in again.stderr
    assert [item["counts"]["whole"] for item in in_vault.json("retention", "sweeps")] == [0, 1]
    assert "all" in in_vault.ok("retention", "sweeps")
    assert in_vault.json("retention", "due")["waiting"] == []


def test_a_preview_looks_ahead_up_to_ten_years(in_vault, over):
    preview = in_vault.json("retention", "due", "--days", "400")
    assert date.fromisoformat(preview["until"]) - date.fromisoformat(preview["today"]) == timedelta(days=400)
    assert in_vault("retention", "due", "--days", MOST_DAYS).exit_code == 0
    assert in_vault("retention", "due", "--days", MOST_DAYS + 1).exit_code == 2


def test_calendar_draws_a_bar_for_each_week():
    today = date(2026, 3, 5)  # a Thursday
    lines = _calendar(today, [(today, 10), (today + timedelta(days=14), 40), (today + timedelta(days=15), 0)])
    assert lines[2] == "2026-03-02  ########## 10"
    assert lines[3] == "2026-03-09  ."
    assert lines[4] == f"2026-03-16  {'#' * 40} 40"
    assert _calendar(today, []) == []


def test_large_sweep_waits_for_confirmation(in_vault, over, vault_folder):
    people_in(vault_folder, *({"name": f"Ada {number}"} for number in range(FEW)), clock=FixedClock(LONG_AGO))
    tried = in_vault("retention", "sweep")
    assert tried.exit_code == 1
    assert f"affect {FEW + 1} of {FEW + 1} people" in tried.stderr
    assert "cdv retention sweep --confirm" in tried.stderr
    answer = in_vault("retention", "sweep", "--json")
    assert (answer.exit_code, '"to-confirm"' in answer.stdout) == (1, True)
    assert "to-confirm" in in_vault.ok("retention", "sweeps")
    swept = in_vault.json("retention", "sweep", "--confirm")
    assert (swept["state"], swept["counts"]["whole"]) == ("done", FEW + 1)
