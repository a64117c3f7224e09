"""Reviews at the command line: what waits, the decision, and what came of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from tests.cli.people import person_in
from vault.bootstrap import open_vault
from vault.ids import DEFAULT_TENANT
from vault.retention.review_store import NewReview, open_reviews


@pytest.fixture
def subject(vault_folder, in_vault):
    subject = person_in(vault_folder, name="Ada")

    async def over():
        async with open_vault(vault_folder) as vault, vault.services.data.transaction() as connection:
            ended = NewReview((UUID(subject), "profile", UUID(subject)), "name", "review", date(2026, 3, 4))
            await open_reviews(connection, DEFAULT_TENANT, [ended], datetime.now(UTC))

    asyncio.run(over())
    return subject


def test_what_waits_is_listed_and_decided(in_vault, subject):
    (review,) = in_vault.json("retention", "reviews")["reviews"]
    assert (review["subject"], review["field"], review["ended_on"]) == (subject, "profile.name", "2026-03-04")
    table = in_vault("retention", "reviews").stdout.splitlines()
    assert table[0].split() == ["REVIEW", "PERSON", "FIELD", "OVER", "SINCE", "STATE"]
    assert table[1].split() == [review["id"], subject, "profile.name", "2026-03-04", "to", "be", "decided"]

    until = str((datetime.now(UTC) + timedelta(days=30)).date())
    kept = in_vault("retention", "decide", review["id"], "keep", "--until", until, "--reason", "claim")
    assert f"profile.name is kept until {until}, and reviewed again then." in kept.stderr
    assert "no values need a decision" in in_vault("retention", "reviews").stderr
    assert f"kept until {until}" in in_vault("retention", "reviews", "--decided").stdout

    gone = in_vault("retention", "decide", review["id"], "erase")
    assert "profile.name is erased by the next sweep" in gone.stderr
    assert in_vault.json("retention", "decide", review["id"], "erase")["state"] == "erase"


def test_a_decision_that_is_none_is_told(in_vault, subject):
    (review,) = in_vault.json("retention", "reviews")["reviews"]
    assert in_vault("retention", "decide", review["id"], "forget").exit_code == 2
    told = in_vault("retention", "decide", review["id"], "keep")
    assert (told.exit_code, "a future day" in told.stderr) == (1, True), told.stderr
