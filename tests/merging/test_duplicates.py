"""Possible duplicates are proposed by field names and a score, never with a value."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from tests.merging.test_merge import merge
from tests.vaults import ADA, OTHER, problem
from vault.access.callers import operator_caller
from vault.merging import duplicates
from vault.merging.duplicates import MOST_SHARING, STEPS, find_pairs
from vault.subjects.tables import BLIND_INDEX


async def proposed(node, subject, role="dpo"):
    answer = await node.post(role, f"/v1/subjects/{subject}:duplicates")
    assert answer.status_code == 200, answer.text
    return {result["id"]: (result["score"], result["matched"]) for result in answer.json()["results"]}


async def test_subjects_with_the_same_email_are_proposed(node):
    one = await node.create({"name": "Ada Lovelace", "email": "ada@example.org", "phone": "+442079460123"})
    other = await node.create({"name": "A. L.", "email": "ADA@example.org"})
    await node.create({"name": "Charles Babbage", "email": "charles@example.org"})
    assert await proposed(node, one) == {other: (85, ["email"])}
    assert await proposed(node, other) == {one: (85, ["email"])}


async def test_more_matching_fields_give_a_higher_score(node):
    one = await node.create({"name": "Ada Lovelace", "email": "ada@example.org", "phone": "+442079460123"})
    both = await node.create({"name": "A. L.", "email": "ada@example.org", "phone": "+442079460123"})
    phone = await node.create({"name": "A. L.", "phone": "+442079460123"})
    result = await proposed(node, one)
    assert list(result) == [both, phone]
    assert result[both] == (96, ["email", "phone"])
    assert result[phone] == (75, ["phone"])


async def test_same_value_in_another_field_of_the_type_counts(node):
    one = await node.create({"name": "Ada", "email": "ada@example.org"})
    other = await node.create_fully(email="new@example.org", email_secondary="ada@example.org")
    assert await proposed(node, one) == {other: (85, ["email"])}
    assert await proposed(node, other) == {one: (85, ["email_secondary"])}


async def test_name_and_birth_date_together_are_proposed(node):
    born = {"birth_date": "1985-12-10"}
    one = await node.create_fully(name="Ada Lovelace", **born)
    await node.create_fully(name="Ada Lovelace", birth_date="1985-12-11")
    await node.create_fully(name="Charles Babbage", **born)
    twin = await node.create_fully(name="Ada Lovelace", **born)
    assert await proposed(node, one) == {twin: (64, ["name", "birth_date"])}


@pytest.fixture
def common(monkeypatch):
    """Values that four people share are common."""
    monkeypatch.setattr(duplicates, "MOST_PER_DIGEST", 3)


async def _answer(node, subject):
    answer = await node.post("dpo", f"/v1/subjects/{subject}:duplicates")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return {result["id"]: result["matched"] for result in body["results"]}, body["more"], body["too_wide"]


async def test_two_values_that_many_share_lead_to_those_who_share_both(node, common):
    """Neither is cut at its oldest before they are intersected."""
    for _ in range(5):
        await node.create_fully(name="Ada Lovelace", birth_date="1990-01-02")
        await node.create_fully(name="Charles Babbage", birth_date="1985-12-10")
    one = await node.create_fully(name="Ada Lovelace", birth_date="1985-12-10")
    twin = await node.create_fully(name="Ada Lovelace", birth_date="1985-12-10")
    assert await _answer(node, one) == ({twin: ["name", "birth_date"]}, False, [])


async def test_a_common_value_counts_for_those_whom_a_rare_one_leads_to(node, common):
    for _ in range(5):
        await node.create_fully(name="Ada Lovelace")
    one = await node.create_fully(name="Ada Lovelace", birth_date="1985-12-10")
    twin = await node.create_fully(name="Ada Lovelace", birth_date="1985-12-10")
    assert await _answer(node, one) == ({twin: ["name", "birth_date"]}, False, [])


async def test_a_value_that_is_enough_and_too_common_is_named(node, common):
    company = {"phone": "+442079460123"}
    for number in range(5):
        await node.create({"name": f"Nr {number}", **company})
    one = await node.create({"name": "Ada Lovelace", "email": "ada@example.org", **company})
    other = await node.create({"name": "A. L.", "email": "ada@example.org", **company})
    assert await _answer(node, one) == ({other: ["email", "phone"]}, True, ["phone"])


async def test_two_values_that_too_many_share_together_are_named(node, common):
    people = [await node.create_fully(name="Ada Lovelace", birth_date="1985-12-10") for _ in range(6)]
    assert await _answer(node, people[-1]) == ({}, True, ["name", "birth_date"])


async def test_equal_truncated_digests_of_different_values_are_not_proposed(node):
    """Different birth dates can share a truncated digest; here all of them do."""
    one = await node.create_fully(name="Ada Lovelace", birth_date="1985-12-10")
    other = await node.create_fully(name="Ada Lovelace", birth_date="1990-01-02")
    digests = {bytes(row[0]) for row in await node.sql("SELECT digest FROM blind_index") if len(row[0]) == 2}
    assert len(digests) == 2
    async with node.services.data.transaction() as connection:
        index_keys = await node.services.keyring.index_keys((await node.caller("dpo")).tenant)
        for subject in (one, other):
            there = {bytes(row[0]) for row in await _digests(connection, subject)}
            for digest in digests - there:
                row = ("default", digest, UUID(subject), UUID(subject), index_keys.version)
                await node.services.data.bulk(connection, BLIND_INDEX, [row])
    assert await proposed(node, one) == {}


async def _digests(connection, subject):
    from sqlalchemy import select

    return (
        await connection.execute(select(BLIND_INDEX.c.digest).where(BLIND_INDEX.c.subject_id == UUID(subject)))
    ).all()


async def test_restricted_and_merged_subjects_are_not_compared(node):
    one, restricted, gone = [await node.create(dict(ADA)) for _ in range(3)]
    other = await node.create({"name": "Somebody"})
    assert (await merge(node, other, gone)).status_code == 201
    await node.set_state(restricted, "restricted")
    assert list(await proposed(node, one)) == [other]
    problem(await node.post("dpo", f"/v1/subjects/{restricted}:duplicates"), 403, "restricted")
    problem(await node.post("dpo", f"/v1/subjects/{gone}:duplicates"), 404, "subject-not-found")


async def test_subjects_of_other_tenants_are_not_compared(node):
    one = await node.create(dict(ADA))
    theirs = await node.create(dict(ADA), tenant=OTHER)
    assert await proposed(node, one) == {}
    problem(await node.post("dpo", f"/v1/subjects/{theirs}:duplicates"), 404, "subject-not-found")


@pytest.mark.parametrize("role", ["sales", "support", "operator", "stranger"])
async def test_finding_duplicates_needs_the_permission_to_merge(node, role):
    one = await node.create(dict(ADA))
    problem(await node.post(role, f"/v1/subjects/{one}:duplicates"), 403, "not-granted")


async def test_result_has_no_values_and_the_audit_log_names_fields_and_subjects(node):
    one, other = await node.create(dict(ADA)), await node.create(dict(ADA))
    async with node.new_entries() as entries:
        answer = await node.post("dpo", f"/v1/subjects/{one}:duplicates")
    assert not any(value in answer.text for value in (ADA["email"], ADA["name"], ADA["phone"], ADA["birth_date"]))
    (entry,) = entries
    assert (entry.action, entry.decision) == ("find-duplicates", "allowed")
    assert "profile.email.clear" in entry.matched
    assert entry.subjects == (await node.pseudonym(one), await node.pseudonym(other))
    assert answer.json()["audit"] == str(entry.id)


async def test_all_pairs_of_a_tenant_are_found(node):
    one, other = await node.create(dict(ADA)), await node.create(dict(ADA))
    third = await node.create({"name": "Charles Babbage", "phone": "+442079460987"})
    fourth = await node.create({"name": "C. Babbage", "phone": "+442079460987"})
    for name in ("Ida", "Ivy", "Ian"):
        await node.create({"name": name})
    steps = [step async for step in find_pairs(node.services, operator_caller())]
    assert len(steps) == STEPS
    pairs = {frozenset((str(pair.one), str(pair.other))): pair.matched for step in steps for pair in step.pairs}
    assert set(pairs) == {frozenset((one, other)), frozenset((third, fourth))}
    assert pairs[frozenset((third, fourth))] == ["phone"]
    assert len([pair for step in steps for pair in step.pairs]) == 2


async def test_a_search_for_all_pairs_says_how_many_values_it_did_not_compare(node):
    """Nine people share a telephone: they are in no pair, and the search does not pass for a complete one."""
    # Their names share no beginning, which would lead to pairs as well.
    for name in ("Alma", "Bert", "Cleo", "Dora", "Emil", "Fritz", "Gerda", "Hans")[:MOST_SHARING]:
        await node.create({"name": name, "phone": "+442079460987"})
    steps = [step async for step in find_pairs(node.services, operator_caller())]
    before = sum(step.too_common for step in steps)
    assert [pair for step in steps for pair in step.pairs if pair.matched == ["phone"]] != []
    await node.create({"name": "Ilse", "phone": "+442079460987"})
    steps = [step async for step in find_pairs(node.services, operator_caller())]
    assert [pair for step in steps for pair in step.pairs if "phone" in pair.matched] == []
    assert sum(step.too_common for step in steps) > before


def test_the_command_says_how_many_values_it_did_not_compare(sqlite_place, monkeypatch, tmp_path):
    import asyncio

    from typer.testing import CliRunner

    from vault.cli import app

    async def make():
        async with sqlite_place.node() as node:
            for number in range(MOST_SHARING + 1):
                await node.create({"name": f"Person {number}", "phone": "+442079460987"})

    asyncio.run(make())
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        app, ["subjects", "duplicates", "--json"], env={"CDV_VAULT": str(sqlite_place.folder)}, prog_name="cdv"
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == []
    assert f"that more than {MOST_SHARING} people share were not compared" in " ".join(done.stderr.split())


def test_the_command_lists_and_merges_duplicate_pairs(sqlite_place, monkeypatch, tmp_path):
    import asyncio

    from typer.testing import CliRunner

    from vault.cli import app

    async def make():
        async with sqlite_place.node() as node:
            return [await node.create(dict(ADA)) for _ in range(2)]

    people = asyncio.run(make())
    monkeypatch.chdir(tmp_path)

    def cdv(*arguments):
        env = {"CDV_VAULT": str(sqlite_place.folder)}
        return CliRunner().invoke(app, ["subjects", *arguments], env=env, prog_name="cdv")

    done = cdv("duplicates", "--json")
    assert done.exit_code == 0, done.output
    (pair,) = json.loads(done.stdout)
    assert {pair["one"], pair["other"]} == set(people)
    assert ADA["email"] not in cdv("duplicates").output
    done = cdv("merge", *people, "--evidence", "ticket 4711", "--yes", "--json")
    assert (done.exit_code, json.loads(done.stdout)["id"]) == (0, people[0]), done.output
    assert "merged already" in cdv("merge", *people, "--evidence", "ticket 4711", "--yes").stderr
    assert json.loads(cdv("duplicates", "--json").stdout) == []
    refused = cdv("merge", people[0], people[0], "--evidence", "x", "--yes")
    assert (refused.exit_code, "themselves" in refused.stderr) == (1, True)
