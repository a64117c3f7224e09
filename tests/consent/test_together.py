"""Concurrent changes of consents, and changes by imports, corrections and merges."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import select, text

from tests.imports.files import bring_in, subject_of, write_csv
from vault.consent.store import compare
from vault.ids import DEFAULT_TENANT
from vault.subjects.tables import RECORD

GIVEN = {
    "purpose": "direct-marketing", "decision": "given", "notice": "marketing@3", "method": "checkbox",
}  # fmt: skip
WITHDRAWN = {"purpose": "direct-marketing", "decision": "withdrawn"}
CHILDREN = """
purpose = "subject-rights"

[external_ids]
shop = "no"

[fields]
name = "name"
birth_date = "born"
"""


@pytest.fixture
async def nodes(place, clock):
    async with place.node(clock) as one, place.node(clock) as two:
        yield one, two


async def say(node, subject, body):
    return await node.post("support", f"/v1/subjects/{subject}/consents", body)


async def kinds(node, subject):
    answer = (await node.call("support", "GET", f"/v1/subjects/{subject}/consents")).json()
    return [event["kind"] for event in answer["history"]], answer["consents"]["direct-marketing"]["state"]


async def consistent(node):
    return not [difference async for step in compare(node.services, DEFAULT_TENANT) for difference in step.differences]


async def test_concurrent_events_are_ordered(nodes):
    subject = await nodes[0].create()
    said = [GIVEN, WITHDRAWN] * 6
    answers = await asyncio.gather(*(say(nodes[n % 2], subject, body) for n, body in enumerate(said)))
    assert [answer.status_code for answer in answers] == [201] * 12
    history, state = await kinds(nodes[0], subject)
    assert len(history) == 12
    assert history[0] == state  # the latest counts
    assert await consistent(nodes[0])


async def test_a_consent_concurrent_with_a_childs_birth_date_does_not_remain(nodes):
    """In either order, a consent without a guardian does not survive the birth date of a child."""
    one, two = nodes
    for number in range(4):
        subject = await one.create({"name": f"Child {number}"})
        await say(one, subject, WITHDRAWN)
        said, changed = await asyncio.gather(
            say(one, subject, GIVEN), two.patch("dpo", subject, {"birth_date": "2015-01-01"}, "subject-rights", '"1"')
        )
        assert changed.status_code == 200
        assert said.status_code in {201, 422}
        assert (await kinds(one, subject))[1] in {"withdrawn", "expired"}
    assert await consistent(one)


async def test_an_imported_birth_date_of_a_child_ends_its_consents(node, tmp_path):
    body = {"external_ids": {}, "purpose": "order-fulfilment"}
    people = []
    for number in range(3):
        created = await node.post(
            "sales", "/v1/subjects", {**body, "profile": {"name": f"P{number}"}, "external_ids": {"shop": str(number)}}
        )
        people.append(created.json()["id"])
    await say(node, people[0], GIVEN)
    await say(node, people[1], GIVEN)
    file = write_csv(tmp_path / "born.csv", "no,name,born", "0,P0,2015-01-01", "1,P1,1980-01-01", "2,P2,2015-01-01")
    report = await bring_in(node, file, CHILDREN)
    assert report.refused == 0
    assert str(await subject_of(node, "0")) == people[0]
    assert [(await kinds(node, person))[1] for person in people] == ["expired", "given", "none"]
    assert await consistent(node)


async def test_a_corrected_birth_date_of_an_adult_changes_nothing(node):
    subject = await node.create()
    await say(node, subject, GIVEN)
    revision = '"1"'
    for born in ("1990-01-01", None, "1991-01-01"):
        changed = await node.patch("dpo", subject, {"birth_date": born}, "subject-rights", revision)
        revision = changed.headers["etag"]
    assert await kinds(node, subject) == (["given"], "given")


async def test_the_settings_in_consent_toml_expire_an_old_consent(node, clock):
    folder = node.vault.settings.policies
    text = (folder / "consent.toml").read_text()
    (folder / "consent.toml").write_text(text.replace("# valid_months = 60", "valid_months = 2"))
    from vault.bootstrap import apply_folders

    await apply_folders(node.vault)
    subject = await node.create()
    await say(node, subject, {**GIVEN, "valid_until": "2030-01-01T00:00:00Z"})
    answer = (await node.call("support", "GET", f"/v1/subjects/{subject}/consents")).json()
    assert answer["consents"]["direct-marketing"]["valid_until"] == "2026-05-05T12:00:00.000000Z"
    assert answer["history"][0]["valid_until"] == "2026-05-05T12:00:00.000000Z"
    clock.advance(days=61)
    assert (await kinds(node, subject))[1] == "expired"


async def test_a_failed_part_rolls_back_the_whole_change(node, monkeypatch):
    """The event, the row and the audit entry are written together, or none of them is."""
    subject = await node.create()
    before = await node.sql("SELECT standing, state FROM subject")

    async def fail(*_args):
        raise RuntimeError

    monkeypatch.setattr(node.services.audit_log, "append_in", fail)
    answer = await say(node, subject, GIVEN)
    assert answer.status_code == 500
    monkeypatch.undo()
    assert await node.sql("SELECT id FROM consent_event") == []
    assert await node.sql("SELECT standing, state FROM subject") == before


async def test_a_statement_to_the_old_id_of_a_merged_person_is_refused_with_the_new_id(node):
    survivor, duplicate = await node.create(), await node.create({"name": "Ada L."})
    await say(node, duplicate, GIVEN)
    body = {"survivor": survivor, "duplicate": duplicate, "evidence": "same card"}
    assert (await node.post("dpo", "/v1/subjects:merge", body)).status_code == 201
    for path, sent in (
        ("consents", WITHDRAWN),
        ("objections", {"purpose": "fraud-prevention"}),
        ("consents:signal", None),
    ):
        answer = await node.post("support", f"/v1/subjects/{duplicate}/{path}", sent, headers={"Sec-GPC": "1"})
        response = answer.json()
        assert (answer.status_code, response["code"], response["merged_into"]) == (404, "subject-merged", survivor)
    response = (await node.call("support", "GET", f"/v1/subjects/{duplicate}/consents")).json()
    assert (response["code"], response["merged_into"]) == ("subject-merged", survivor)
    assert (await say(node, survivor, WITHDRAWN)).json()["state"] == "withdrawn"
    assert await consistent(node)


async def test_an_import_waits_for_locked_people_without_holding_others(postgres_place, clock, tmp_path):
    """A merge locks the person before the record; an import in the other order would deadlock."""
    async with postgres_place.node(clock) as node:
        subject = await node.create({"name": "P0"}, external_ids={"shop": "0"})
        await say(node, subject, GIVEN)
        file = write_csv(tmp_path / "born.csv", "no,name,born", "0,P1,2015-01-01")
        async with node.services.data.transaction() as connection:
            await node.services.subjects.locked(connection, DEFAULT_TENANT, UUID(subject))
            importing = asyncio.create_task(bring_in(node, file, CHILDREN))
            waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            while not (await connection.execute(waits)).scalar_one() and not importing.done():
                await asyncio.sleep(0)
            free = select(RECORD.c.id).where(RECORD.c.subject_id == UUID(subject)).with_for_update(nowait=True)
            assert len((await connection.execute(free)).all()) == 1
        assert (await importing).updated == 1


async def test_a_row_that_is_restricted_without_an_event_stays_so(node):
    """A restriction without an event is not lifted by an event about a purpose."""
    subject = await node.create()
    await node.set_state(subject, "restricted")
    assert (await say(node, subject, GIVEN)).status_code == 201
    assert await node.sql("SELECT state FROM subject") == [("restricted",)]
    item = {**WITHDRAWN, "subject": subject, "occurred_at": "2020-01-01T00:00:00Z"}
    brought = await node.post("dpo", "/v1/consents:import?source=crm", [item])
    assert brought.json()["written"] == 1
    assert await node.sql("SELECT state FROM subject") == [("restricted",)]
