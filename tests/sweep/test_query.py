"""Previews count ending values by day and field without opening them, and a dry run changes nothing."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tests.sweep.people import DEFAULT_TENANT, REVIEWED, go_to, put_in_force, somebody, state_of, swept, there
from tests.vaults import problem
from vault.access.callers import operator_caller
from vault.crypto.seal import SubjectKeys
from vault.sweep.query import dry_run, list_sweeps, preview, start_sweep

LAST_DAY = date(2029, 3, 5)
DUE, SWEEPS = "/v1/retention/due", "/v1/retention/sweeps"


def me():
    return operator_caller(DEFAULT_TENANT)


async def two(node):
    """Make two subjects whose values all end three years later, and one with an order."""
    people = [await node.create({"name": "Ada", "email": "ada@example.org"}), await node.create({"name": "Bob"})]
    await somebody(node, profile={"name": "Eve"}, bought=["2026-03-01T10:00:00Z"])
    return people


async def test_preview_counts_by_day(node, clock):
    await two(node)
    await swept(node)
    go_to(clock, LAST_DAY - timedelta(days=89))
    result = await preview(node.services, me())
    shown = [tuple(dict(line).values()) for line in result.ends if line.field in {"profile.name", "profile.email"}]
    assert shown == [
        (LAST_DAY + timedelta(days=1), "profile.email", "erase", 1),
        (LAST_DAY + timedelta(days=1), "profile.name", "erase", 2),
    ]
    assert (result.waiting, result.next) == ([], None)
    assert (await preview(node.services, me(), days=89)).ends == []


async def test_preview_agrees_with_the_sweep(node, clock):
    people = await two(node)
    await swept(node)
    go_to(clock, LAST_DAY)
    foreseen = sum(end.values for end in (await preview(node.services, me(), days=1)).ends)
    clock.advance(days=1)
    waiting = (await preview(node.services, me(), days=0)).waiting
    assert {job.state for job in waiting} == {"next-sweep"}
    assert sum(job.values for job in waiting) == foreseen
    assert (await swept(node)).erased == foreseen
    assert {await state_of(node, person) for person in people} == {"erased"}
    assert (await preview(node.services, me(), days=0)).waiting == []


async def test_dry_run_opens_and_writes_nothing(node, clock, monkeypatch):
    (subject, _other) = await two(node)
    clock.advance(days=365 * 4)
    before = await node.sql("SELECT subject_id, collection, due_at, revision FROM record ORDER BY 1, 2")
    for name in (name for name in dir(SubjectKeys) if name.startswith("open")):
        monkeypatch.delattr(SubjectKeys, name)
    async with node.new_entries() as entries:
        result = await dry_run(node.services, me())
    monkeypatch.undo()
    assert [(entry.action, entry.decision) for entry in entries] == [("read-retention", "allowed")]
    assert {(item.field, item.then) for item in result.would} >= {("profile.email", "erase")}
    assert result.people == 3
    assert before == await node.sql("SELECT subject_id, collection, due_at, revision FROM record ORDER BY 1, 2")
    assert (await there(node, subject))["profile.email"] == ["ada@example.org"]


async def test_preview_pages_add_up(node, clock):
    for number in range(5):
        await node.create({"name": f"Ada {number}"})
    clock.advance(days=365 * 4)
    whole = await preview(node.services, me(), days=0)
    parts = [await preview(node.services, me(), days=0, limit=2)]
    while parts[-1].next is not None:
        parts.append(await preview(node.services, me(), days=0, limit=2, after=parts[-1].next))
    assert [part.people for part in parts] == [2, 2, 1]
    assert sum(line.values for part in parts for line in part.waiting) == whole.waiting[0].values == 5


async def test_preview_of_one_field(sqlite_node, clock):
    await two(sqlite_node)
    clock.advance(days=365 * 4)
    result = await preview(sqlite_node.services, me(), field="email")
    assert [(job.field, job.values) for job in result.waiting] == [("profile.email", 1)]


async def test_preview_shows_values_in_review(sqlite_node, clock):
    node = sqlite_node
    await put_in_force(node, (REVIEWED, 'at_end = { notes = "review" }\n' + REVIEWED))
    await node.create_fully(name="Ada", notes="Prefers mornings.")
    clock.advance(days=365 * 4)
    await swept(node)
    result = await preview(node.services, me())
    assert [(job.field, job.state) for job in result.waiting] == [("profile.notes", "in-review")]


async def test_sweep_is_started_and_listed_with_permission(node):
    await node.create({"name": "Ada"})
    started = await node.post("operator", SWEEPS, headers={"Idempotency-Key": "once"})
    assert started.status_code == 202, started.text
    again = await node.post("operator", SWEEPS, headers={"Idempotency-Key": "once"})
    assert again.json() == started.json()
    joined = await node.post("dpo", SWEEPS)
    assert joined.json()["id"] == started.json()["id"]
    assert joined.json()["state"] == "waiting"
    await swept(node)
    listed = await node.call("dpo", "GET", SWEEPS)
    (sweep,) = listed.json()["sweeps"]
    assert (sweep["id"], sweep["state"], sweep["counts"]["people"]) == (started.json()["id"], "done", 1)
    page = await node.call("dpo", "GET", DUE, params={"days": "30"})
    assert page.status_code == 200, page.text
    assert page.json()["ends"] == []
    problem(await node.post("support", SWEEPS), 403, "not-granted")
    problem(await node.call("support", "GET", DUE), 403, "not-granted")
    problem(await node.call("dpo", "GET", DUE, params={"field": "nonsense"}), 422, "invalid-preview")


@pytest.mark.parametrize("what", [{"days": 3_654}, {"days": -1}, {"limit": 0}, {"field": "nobody.knows"}])
async def test_invalid_preview_parameters_are_refused(sqlite_node, what):
    from vault.errors import InvalidInput

    with pytest.raises(InvalidInput) as raised:
        await preview(sqlite_node.services, me(), **what)
    assert raised.value.code == "invalid-preview"


async def test_a_sweep_started_twice_is_one(node):
    one, other = await start_sweep(node.services, me()), await start_sweep(node.services, me())
    assert one.id == other.id
    assert len((await list_sweeps(node.services, me())).sweeps) == 1
