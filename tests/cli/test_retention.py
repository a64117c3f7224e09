"""Retention at the command line: reasons, events and reviews."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from tests.cli.people import person_in
from vault.bootstrap import open_vault
from vault.cli.retention import WHY_WIDTH, picture
from vault.ids import DEFAULT_TENANT
from vault.retention.reviews import NewReview, open_reviews
from vault.retention.views import RetainedValue, RetentionGround, RetentionLimit


@pytest.fixture
def subject(vault_folder):
    return person_in(vault_folder, name="Ada", email="ada@example.org")


def test_grounds_of_a_field_are_explained(in_vault, subject):
    answer = in_vault("retention", "why", subject, "email")
    response = in_vault.json("retention", "why", subject, "email")
    (value,) = response["values"]

    assert answer.exit_code == 0, answer.output
    assert f"until {value['until']}, then erase" in answer.stdout
    for item in value["grounds"]:
        assert item["ground"] in answer.stdout
        assert item["until"] in answer.stdout
    assert "no consent" in answer.stdout
    assert "ada@example.org" not in answer.output
    assert (response["relationship"], value["state"]) == ("prospect", "kept")
    assert value["by"] == "order-fulfilment"


def test_field_without_a_value(in_vault, subject):
    assert "There is no such value" in in_vault("retention", "why", subject, "phone").stderr
    assert in_vault("retention", "why", subject, "shoe_size").exit_code == 1


def ground(name, until, *, lost=False):
    return RetentionGround(
        ground=name, until=until, least=None, since=None, counted_from=None, period=None, lost=lost, then="erase",
        views=(), law=None, article=None, reason=None,
    )  # fmt: skip


def test_bars_span_start_to_end():
    grounds = [
        ground("accounting", None),
        ground("order-fulfilment", date(2024, 1, 1)),
        ground("direct-marketing", date(2021, 1, 1), lost=True),
    ]
    limit = RetentionLimit(
        name="short",
        until=date(2022, 1, 1),
        since="collected",
        period="P2Y",
        then="erase",
        article=None,
        reason="so it is",
    )
    kept = RetainedValue(
        record=UUID(int=1), form=None, starts=date(2020, 1, 1), collected=date(2020, 1, 1), source="shop",
        served_until=None, until=None, by="accounting", then="erase", state="kept", grounds=grounds, idle=[],
        limits=[limit], holds=[], review=None,
    )  # fmt: skip
    years, *bars, today = picture(kept, date(2022, 1, 1))
    drawn = {line[:26].strip(): line[26:] for line in bars}

    assert years.split() == ["2020", "2024"]
    assert drawn["accounting"] == "=" * (WHY_WIDTH - 1) + ">"
    assert drawn["order-fulfilment"] == "=" * WHY_WIDTH
    assert drawn["direct-marketing"].endswith("x")
    assert len(drawn["direct-marketing"]) < len(drawn["limit short"]) < WHY_WIDTH
    assert today[26:].index("^") == len(drawn["limit short"]) - 1


def test_retention_event_is_recorded_and_shown(in_vault, subject):
    answer = in_vault("retention", "event", subject, "contract-began", "--on", "2024-03-31")
    assert answer.exit_code == 0, answer.output
    assert "contract-began on 2024-03-31; the next sweep checks the person." in answer.stderr
    shown = in_vault("retention", "relationship", subject)
    assert shown.stdout.splitlines() == ["CLOCK  OF              DAY", "event  contract-began  2024-03-31"]
    assert shown.stderr.strip() == "customer, contract running"
    response = in_vault.json("retention", "relationship", subject)
    assert (response["state"], response["running"], response["events"]) == (
        "customer", ["contract"], {"contract-began": "2024-03-31"},
    )  # fmt: skip
    assert response["subject"] == subject


def test_earlier_retention_event_changes_nothing(in_vault, subject):
    first = in_vault.json("retention", "event", subject, "claim-closed", "--on", "2024-03-31")
    assert first == {"event": "claim-closed", "on": "2024-03-31", "moved": True}
    answer = in_vault("retention", "event", subject, "claim-closed", "--on", "2023-03-31")
    assert "claim-closed is recorded for 2024-03-31 already" in answer.stderr
    assert in_vault.json("retention", "event", subject, "claim-closed", "--on", "3d")["moved"] is True


def test_invalid_retention_event(in_vault, subject):
    assert in_vault("retention", "event", subject, "moved-house").exit_code == 2
    assert in_vault("retention", "event", subject, "claim-closed", "--on", "soon").exit_code == 2
    ahead = (datetime.now(UTC) + timedelta(days=2)).date()
    answer = in_vault("retention", "event", subject, "claim-closed", "--on", str(ahead))
    assert (answer.exit_code, "an event cannot be recorded before it has happened" in answer.stderr) == (1, True)


def test_retention_of_an_unknown_person(in_vault, subject):
    stranger = "0199aabb-0000-7000-8000-000000000001"
    for command in (("event", stranger, "claim-closed"), ("relationship", stranger)):
        answer = in_vault("retention", *command)
        assert (answer.exit_code, "error:" in answer.stderr) == (1, True)


@pytest.fixture
def reviewed(vault_folder, in_vault):
    subject = person_in(vault_folder, name="Ada")

    async def over():
        async with open_vault(vault_folder) as vault, vault.services.data.transaction() as connection:
            ended = NewReview((UUID(subject), "profile", UUID(subject)), "name", "review", date(2026, 3, 4))
            await open_reviews(connection, DEFAULT_TENANT, [ended], datetime.now(UTC))

    asyncio.run(over())
    return subject


def test_review_is_listed_and_decided(in_vault, reviewed):
    (review,) = in_vault.json("retention", "reviews")["reviews"]
    assert (review["subject"], review["field"], review["ended_on"]) == (reviewed, "profile.name", "2026-03-04")
    table = in_vault("retention", "reviews").stdout.splitlines()
    assert table[0].split() == ["REVIEW", "PERSON", "FIELD", "OVER", "SINCE", "STATE"]
    assert table[1].split() == [review["id"], reviewed, "profile.name", "2026-03-04", "to", "be", "decided"]

    until = str((datetime.now(UTC) + timedelta(days=30)).date())
    kept = in_vault("retention", "decide", review["id"], "keep", "--until", until, "--reason", "claim")
    assert f"profile.name is kept until {until}, and reviewed again then." in kept.stderr
    assert "no values need a decision" in in_vault("retention", "reviews").stderr
    assert f"kept until {until}" in in_vault("retention", "reviews", "--decided").stdout

    gone = in_vault("retention", "decide", review["id"], "erase")
    assert "profile.name is erased by the next sweep" in gone.stderr
    assert in_vault.json("retention", "decide", review["id"], "erase")["state"] == "erase"


def test_invalid_review_decision(in_vault, reviewed):
    (review,) = in_vault.json("retention", "reviews")["reviews"]
    assert in_vault("retention", "decide", review["id"], "forget").exit_code == 2
    answer = in_vault("retention", "decide", review["id"], "keep")
    assert (answer.exit_code, "a future day" in answer.stderr) == (1, True), answer.stderr
