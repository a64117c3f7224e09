"""Data related to a swept subject is resealed with the values that stay and deleted with those that end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tests.erasure.people import ask, buy
from tests.rectification.submitting import carry_out
from tests.support import FixedClock
from tests.sweep.people import ADA, DEFAULT_TENANT, keys_of, rows_of, somebody, state_of, swept, there
from vault.crypto.seal import version_of
from vault.erasure.start import begin_erasure
from vault.lifecycle.erasures import RETENTION, Erasure, Facts, add_sweep_erasures

THEN, NOW = datetime(2022, 2, 1, 12, tzinfo=UTC), FixedClock().now()
SAID = {
    "purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox",
    "channel": "web", "evidence": "form 12, page 3",
}  # fmt: skip


@pytest.fixture
async def subject(node, clock):
    """Make a subject with a purchase years ago that accounting still keeps."""
    clock.advance(seconds=(THEN - clock.now()).total_seconds())
    subject = await somebody(node, bought=["2022-01-05T12:00:00Z"])
    clock.advance(seconds=(NOW - clock.now()).total_seconds())
    created = await node.post("support", f"/v1/subjects/{subject}/consents", SAID)
    assert created.status_code == 201, created.text
    for wrong in ("name", "phone"):
        said = {"fields": [wrong], "statement": "That is wrong."}
        assert (await node.post("dpo", f"/v1/subjects/{subject}/disputes", said)).status_code == 201
    await carry_out(node, subject, "access")
    return subject


async def test_related_data_opens_under_the_key_that_stays(node, subject):
    assert (await swept(node)).erased > 0
    (newest,) = await keys_of(node, subject)
    assert newest > 1
    shown = (await node.call("dpo", "GET", f"/v1/subjects/{subject}/consents")).json()
    assert [event["evidence"] for event in shown["history"] if event["evidence"]] == ["form 12, page 3"]
    rows = await node.sql("SELECT field, details FROM rectification WHERE subject_id = :id", id=UUID(subject))
    assert [(field, version_of(bytes(details))) for field, details in rows] == [("name", newest)]
    for (details,) in await node.sql("SELECT details FROM rights_request WHERE details IS NOT NULL"):
        assert version_of(bytes(details)) == newest


async def test_packages_of_what_was_erased_go(node, subject):
    assert await rows_of(node, "package", subject) == 1
    await swept(node)
    assert await rows_of(node, "package", subject) == 0


async def test_a_fully_swept_subject_keeps_only_the_proof_of_consent(node, clock, subject):
    clock.advance(days=365 * 12)
    assert (await swept(node)).whole == 1
    for table in ("package", "rectification", "subject_session", "consent_confirmation", "subject_clock"):
        assert await rows_of(node, table, subject) == 0, table
    bodies = await node.sql("SELECT body FROM consent_event WHERE subject_id = :id", id=UUID(subject))
    assert bodies
    assert not any(b"evidence" in bytes(body) for (body,) in bodies)
    left = await node.sql("SELECT count(*) FROM rights_request WHERE details IS NOT NULL")
    assert left[0][0] == 0


async def test_a_sweep_erases_merged_duplicates_too(node, clock):
    one = await node.create({"name": "Ada"}, external_ids={"shop": "1"})
    other = await node.create({"name": "Ada"}, external_ids={"shop": "2"})
    body = {"survivor": one, "duplicate": other, "evidence": "ticket 4711"}
    merged = await node.post("dpo", "/v1/subjects:merge", body)
    assert merged.status_code in {200, 201}, merged.text
    clock.advance(days=365 * 4)
    assert (await swept(node)).whole == 1
    assert (await keys_of(node, one), await keys_of(node, other)) == ([], [])
    assert await rows_of(node, "subject_alias", one) == 0


async def test_a_value_written_during_a_sweep_is_neither_lost_nor_swept(node, clock, subject):
    profile = {"phone": "+442079460999"}
    writes = [buy(node, subject, f"2026-03-0{day}T10:00:00Z", order=f"new-{day}") for day in range(1, 5)]
    changes = [node.patch("sales", subject, profile, "order-fulfilment") for _ in range(1)]
    _counts, *_made = await asyncio.gather(swept(node), *writes, *changes)
    result = await there(node, subject)
    assert {f"new-{day}" for day in range(1, 5)} <= set(result["purchase.order"])
    assert (await node.read("sales", subject, ["name"], "order-fulfilment")).json()["fields"] == {"name": ADA["name"]}


async def test_a_requested_erasure_waits_for_a_sweep_of_the_same_subject(node, clock, subject):
    request = await ask(node, subject)
    now = node.services.clock.now()
    cut_off = Erasure(
        id=UUID(int=7), request=None, subject=UUID(subject), state="taken", started_at=now, changed_at=now,
        key_version=1, facts=Facts(cause=RETENTION),
    )  # fmt: skip
    async with node.services.data.transaction() as connection:
        await add_sweep_erasures(connection, DEFAULT_TENANT, [cut_off])
    assert await begin_erasure(node.services, DEFAULT_TENANT, request) is not None
    counts = await swept(node)  # it ends what was cut off, and leaves alone who has asked
    assert (counts.waiting, counts.erased) == (1, 0)
    assert await begin_erasure(node.services, DEFAULT_TENANT, request) is None
    assert await state_of(node, subject) == "active"
