"""An index that is declared when values are there leads to all of them, or the search says that it does not."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.records.test_short_digests import _index_is_right
from tests.support import FixedClock
from tests.vaults import problem
from vault.errors import Unavailable
from vault.governance.tenants import apply_policies, rebuild_indexes
from vault.ids import DEFAULT_TENANT
from vault.merging.duplicates import find_pairs
from vault.policy.policy_set import PolicySet
from vault.records import build_index as job
from vault.records.build_index import AGAIN, build_index
from vault.requests.verification import Match, find_person
from vault.subjects.index_builds import list_builds
from vault.workflows import pending_work, work_off

NAME = "[field.profile.name]\n"
EMAIL = "[field.profile.email]\n"
SEARCH = "/v1/subjects:search"
LOVE = {"match": {"name": {"prefix": "love"}}, "purpose": "customer-support", "limit": 100}


def without(files, field, kinds):
    """Return the policies in which a field has only some of its indexes."""
    head, name, rest = files["catalogue.toml"].partition(field)
    before, search, after = rest.partition("search = [")
    _old, end, after = after.partition("]\n")
    assert "[field." not in before, "the field has an index"
    listed = ", ".join(f'"{kind}"' for kind in kinds)
    return PolicySet.load(files | {"catalogue.toml": f"{head}{name}{before}{search}{listed}{end}{after}"})


def with_short_digests(files, field):
    """Return the policies in which the index of whole values of a field has other digests."""
    head, name, rest = files["catalogue.toml"].partition(field)
    short = f"{head}{name}search_bits = {{ exact = 64 }}\n{rest}"
    return PolicySet.load(files | {"catalogue.toml": short})


def active(node):
    return dict(node.services.policies.active(DEFAULT_TENANT).policy_set.files)


async def indexed_later(node, before=None, people=5):
    """Create people while the beginnings of names have no index, then declare it; returns their ids."""
    files = active(node)
    await apply_policies(node.services, DEFAULT_TENANT, before or without(files, NAME, ("exact",)))
    made = [
        await node.create({"name": f"Lovelace {number}", "email": f"ada{number}@example.org"})
        for number in range(people)
    ]
    await apply_policies(node.services, DEFAULT_TENANT, PolicySet.load(files))
    return made


async def builds(node):
    async with node.services.data.reading() as connection:
        return await list_builds(connection, DEFAULT_TENANT)


async def run(node):
    """Run the jobs of all builds as a node does that follows the policies."""
    node.services.clock.advance(minutes=1)
    return [await build_index(node.services, DEFAULT_TENANT, build.id) for build in await builds(node)]


async def found(node, ask=LOVE):
    answer = await node.post("support", SEARCH, ask)
    assert answer.status_code == 200, answer.text
    return {item["subject"] for item in answer.json()["results"]}


@pytest.mark.parametrize("portion", [2, 5, 50])
async def test_a_search_is_refused_until_its_index_leads_to_all_people(node, monkeypatch, portion):
    monkeypatch.setattr(job, "PORTION", portion)
    people = await indexed_later(node)
    answer = problem(await node.post("support", SEARCH, LOVE), 503, "index-building")
    assert "cdv policy indexes" in answer["hint"]
    assert await found(node, LOVE | {"match": {"name": "Lovelace 1"}}) == {people[1]}, "its other index is whole"

    assert await run(node) == [None]

    assert await builds(node) == []
    assert await found(node) == set(people)
    await _index_is_right(node)


async def test_a_search_with_several_criteria_is_refused_for_one_of_them(sqlite_node):
    await indexed_later(sqlite_node)
    ask = LOVE | {"match": {"email": "ada1@example.org", **LOVE["match"]}}
    problem(await sqlite_node.post("support", SEARCH, ask), 503, "index-building")
    assert (await sqlite_node.post("stranger", SEARCH, LOVE)).status_code == 403


async def test_a_build_that_is_killed_goes_on_where_it_was(node, monkeypatch):
    monkeypatch.setattr(job, "PORTION", 2)
    people = await indexed_later(node)
    cover, covered = job._cover, []

    async def killed(services, connection, tenant, field, portion):
        if len(covered) == 2:
            raise RuntimeError("killed")
        covered.extend(portion)
        await cover(services, connection, tenant, field, portion)

    monkeypatch.setattr(job, "_cover", killed)
    with pytest.raises(RuntimeError, match="killed"):
        await run(node)
    (build,) = await builds(node)
    assert (build.people, build.left, build.total) == (2, 3, 5)
    problem(await node.post("support", SEARCH, LOVE), 503, "index-building")

    monkeypatch.setattr(job, "_cover", cover)
    assert await build_index(node.services, DEFAULT_TENANT, build.id) is None
    assert await found(node) == set(people)
    await _index_is_right(node)


async def test_values_that_are_written_while_an_index_is_built_are_in_it_once(node, monkeypatch):
    monkeypatch.setattr(job, "PORTION", 1)
    people = await indexed_later(node, people=3)
    cover, left = job._cover, [people[0], people[2]]

    async def with_writes(services, connection, tenant, field, portion):
        await cover(services, connection, tenant, field, portion)
        covered.extend(portion)

    covered = []
    monkeypatch.setattr(job, "_cover", with_writes)
    node.services.clock.advance(minutes=1)
    (build,) = await builds(node)
    assert await job._build_portion(node.services, DEFAULT_TENANT, build.id) == 0
    for subject in left:  # one who is covered, and one who is not yet
        done = await node.patch("sales", subject, {"name": "Lovell"}, "order-fulfilment", '"1"')
        assert done.status_code == 200, done.text
    new = await node.create({"name": "Lovelady"})
    assert await build_index(node.services, DEFAULT_TENANT, build.id) is None

    assert [str(subject) for subject in covered] == [*people, new]
    assert await found(node) == {*people, new}
    await _index_is_right(node)


async def test_a_build_waits_until_every_node_follows_the_policies(sqlite_node):
    await indexed_later(sqlite_node)
    (build,) = await builds(sqlite_node)
    assert await build_index(sqlite_node.services, DEFAULT_TENANT, build.id) == 60
    sqlite_node.services.clock.advance(seconds=59)
    assert await build_index(sqlite_node.services, DEFAULT_TENANT, build.id) == 1
    assert (await builds(sqlite_node))[0].people == 0


async def test_a_node_that_does_not_follow_builds_nothing(sqlite_place):
    clock = FixedClock()
    async with sqlite_place.node(clock) as one, sqlite_place.node(clock) as behind:
        files = active(one)
        await apply_policies(one.services, DEFAULT_TENANT, without(files, NAME, ("exact",)))
        await behind.services.policies.refresh()
        await one.create({"name": "Lovelace"})
        await apply_policies(one.services, DEFAULT_TENANT, PolicySet.load(files))
        clock.advance(minutes=1)
        (build,) = await builds(one)
        assert await build_index(behind.services, DEFAULT_TENANT, build.id) == AGAIN
        await behind.services.policies.refresh()
        assert await build_index(behind.services, DEFAULT_TENANT, build.id) is None


async def test_a_build_is_a_job_that_a_node_finds_and_works_off(node):
    await indexed_later(node)
    (build,) = await builds(node)
    work = await pending_work(node.services, DEFAULT_TENANT)
    assert [(item.workflow, item.id) for item in work] == [("build-index", build.id)]
    node.services.clock.advance(minutes=1)
    assert [ended.code async for ended in work_off(node.services, DEFAULT_TENANT)] == [None]
    assert await pending_work(node.services, DEFAULT_TENANT) == []


async def test_an_index_that_was_away_is_built_again(sqlite_node):
    files = active(sqlite_node)
    people = [await sqlite_node.create({"name": "Lovelace"})]
    await apply_policies(sqlite_node.services, DEFAULT_TENANT, without(files, NAME, ("exact",)))
    assert await builds(sqlite_node) == []
    people += [await sqlite_node.create({"name": "Lovelady"})]
    await apply_policies(sqlite_node.services, DEFAULT_TENANT, PolicySet.load(files))
    assert [build.name for build in await builds(sqlite_node)] == ["profile.name:prefix"]
    await apply_policies(sqlite_node.services, DEFAULT_TENANT, without(files, NAME, ("exact",)))
    assert await builds(sqlite_node) == [], "what is not declared is not built"
    await apply_policies(sqlite_node.services, DEFAULT_TENANT, PolicySet.load(files))
    await run(sqlite_node)
    assert await found(sqlite_node) == set(people)


@pytest.mark.parametrize("bits", [8, 64])
async def test_an_index_with_digests_of_another_length_is_another_one(sqlite_node, bits):
    files = active(sqlite_node)
    subject = await sqlite_node.create({"name": "Lovelace"})
    head, field, rest = files["catalogue.toml"].partition(NAME)
    changed = head + field + f"search_bits = {{ exact = {bits} }}\n" + rest
    await apply_policies(sqlite_node.services, DEFAULT_TENANT, PolicySet.load(files | {"catalogue.toml": changed}))
    assert [build.name for build in await builds(sqlite_node)] == ["profile.name:exact"]
    await run(sqlite_node)
    assert await found(sqlite_node, LOVE | {"match": {"name": "Lovelace"}}) == {subject}


async def test_other_changes_of_policies_and_tenants_without_people_have_nothing_to_build(sqlite_node):
    files = active(sqlite_node)
    await apply_policies(sqlite_node.services, DEFAULT_TENANT, without(files, NAME, ("exact",)))
    await apply_policies(sqlite_node.services, DEFAULT_TENANT, PolicySet.load(files))
    assert await builds(sqlite_node) == [], "there is no one"
    await sqlite_node.create({"name": "Lovelace"})
    titled = files["catalogue.toml"].replace('title = "Full name"', 'title = "Name"')
    assert await apply_policies(
        sqlite_node.services, DEFAULT_TENANT, PolicySet.load(files | {"catalogue.toml": titled + "\n"})
    )
    assert await builds(sqlite_node) == []


@pytest.mark.parametrize("state", ["erased", "retained"])
async def test_nothing_leads_to_a_person_who_was_erased(sqlite_node, state):
    people = await indexed_later(sqlite_node, people=2)
    gone = UUID(people[0])
    await sqlite_node.sql("DELETE FROM blind_index WHERE subject_id = :id", id=gone)
    await sqlite_node.set_state(gone, state)
    await run(sqlite_node)
    rows = await sqlite_node.sql("SELECT DISTINCT subject_id FROM blind_index")
    assert {UUID(bytes=bytes(row[0])) for row in rows} == {UUID(people[1])}


async def test_an_address_whose_index_is_being_built_proves_no_one(sqlite_node):
    (ada,) = await indexed_later(sqlite_node, with_short_digests(active(sqlite_node), EMAIL), people=1)
    identity = {"email": "ada0@example.org"}
    assert await find_person(sqlite_node.services, DEFAULT_TENANT, identity) == Match(None, wide=True)
    await run(sqlite_node)
    assert await find_person(sqlite_node.services, DEFAULT_TENANT, identity) == Match(UUID(ada))


async def test_duplicates_say_which_fields_do_not_lead_to_all_people(sqlite_node):
    ada, other = await indexed_later(sqlite_node, with_short_digests(active(sqlite_node), EMAIL), people=2)
    answer = (await sqlite_node.post("dpo", f"/v1/subjects/{ada}:duplicates")).json()
    assert (answer["more"], answer["too_wide"]) == (True, ["email"])
    with pytest.raises(Unavailable, match="being built"):
        _ = [pairs async for pairs in find_pairs(sqlite_node.services, await sqlite_node.caller("dpo"))]
    await run(sqlite_node)
    answer = (await sqlite_node.post("dpo", f"/v1/subjects/{other}:duplicates")).json()
    assert (answer["more"], answer["too_wide"]) == (False, [])


async def test_an_index_can_be_built_again(sqlite_node):
    subject = await sqlite_node.create({"name": "Lovelace"})
    await sqlite_node.sql("DELETE FROM blind_index")
    assert await rebuild_indexes(sqlite_node.services, DEFAULT_TENANT, "name") == [
        "profile.name:exact",
        "profile.name:prefix",
    ]
    problem(await sqlite_node.post("support", SEARCH, LOVE), 503, "index-building")
    for build in await builds(sqlite_node):  # at once: the policies have not changed
        assert await build_index(sqlite_node.services, DEFAULT_TENANT, build.id) is None
    assert await found(sqlite_node) == {subject}
    assert "rebuild-index" in [entry.code for entry in await sqlite_node.entries()]
