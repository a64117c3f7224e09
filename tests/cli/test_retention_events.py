"""Events and the relationship at the command line: sentences and tables for people, JSON for scripts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.people import person_in


@pytest.fixture
def subject(vault_folder, in_vault):
    return person_in(vault_folder, name="Ada")


def test_an_event_is_recorded_and_shown(in_vault, subject):
    told = in_vault("retention", "event", subject, "contract-began", "--on", "2024-03-31")
    assert told.exit_code == 0, told.output
    assert "contract-began on 2024-03-31; the next sweep checks the person." in told.stderr
    shown = in_vault("retention", "relationship", subject)
    assert shown.stdout.splitlines() == ["CLOCK  OF              DAY", "event  contract-began  2024-03-31"]
    assert shown.stderr.strip() == "customer, contract running"
    found = in_vault.json("retention", "relationship", subject)
    assert (found["state"], found["running"], found["events"]) == (
        "customer", ["contract"], {"contract-began": "2024-03-31"},
    )  # fmt: skip
    assert found["subject"] == subject


def test_a_clock_that_does_not_go_back_says_so(in_vault, subject):
    first = in_vault.json("retention", "event", subject, "claim-closed", "--on", "2024-03-31")
    assert first == {"event": "claim-closed", "on": "2024-03-31", "moved": True}
    told = in_vault("retention", "event", subject, "claim-closed", "--on", "2023-03-31")
    assert "claim-closed is recorded for 2024-03-31 already" in told.stderr
    assert in_vault.json("retention", "event", subject, "claim-closed", "--on", "3d")["moved"] is True


def test_what_is_no_event_or_no_day_or_to_come_is_told(in_vault, subject):
    assert in_vault("retention", "event", subject, "moved-house").exit_code == 2
    assert in_vault("retention", "event", subject, "claim-closed", "--on", "soon").exit_code == 2
    ahead = (datetime.now(UTC) + timedelta(days=2)).date()
    told = in_vault("retention", "event", subject, "claim-closed", "--on", str(ahead))
    assert (told.exit_code, "an event cannot be recorded before it has happened" in told.stderr) == (1, True)


def test_nobody_is_told_as_nobody(in_vault, subject):
    nobody = "0199aabb-0000-7000-8000-000000000001"
    for command in (("event", nobody, "claim-closed"), ("relationship", nobody)):
        told = in_vault("retention", *command)
        assert (told.exit_code, "error:" in told.stderr) == (1, True)
