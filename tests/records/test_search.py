"""Searching: what is found, what is not, and when there may be more."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.vaults import problem
from vault.subjects.rows import digests

SEARCH = "/v1/subjects:search"


async def _found(node, match, *, role="support", purpose="customer-support", **more):
    answer = await node.post(role, SEARCH, {"match": match, "purpose": purpose, **more})
    assert answer.status_code == 200, answer.text
    return [result["subject"] for result in answer.json()["results"]], answer.json()["more"]


async def test_a_search_beyond_its_limit_says_that_there_are_more(node):
    people = [await node.create({"name": f"Adam Nr {number}"}) for number in range(4)]
    assert await _found(node, {"name": {"prefix": "adam"}}, limit=4) == (sorted(people), False)
    result, more = await _found(node, {"name": {"prefix": "adam"}}, limit=3)
    assert (len(result), more) == (3, True)


async def test_a_subject_with_several_matching_records_is_found_once(node):
    subject = await node.create()
    for _ in range(3):
        await node.append("sales", subject, "purchase", {"order": "A-1", "amount": "1"}, "order-fulfilment")
    assert await _found(node, {"purchase.order": "a-1"}) == ([subject], False)


async def test_criteria_over_profile_and_records_must_all_hold(node):
    one, two = await node.create(), await node.create({"name": "Ada Lovelace", "email": "two@example.org"})
    await node.append("sales", two, "purchase", {"order": "A-1"}, "order-fulfilment")
    assert await _found(node, {"name": "Ada Lovelace", "purchase.order": "A-1"}) == ([two], False)
    assert await _found(node, {"email": "ada@example.org", "purchase.order": "A-1"}) == ([], False)
    assert await _found(node, {"name": "Ada Lovelace"}) == (sorted([one, two]), False)


async def test_a_subject_that_only_shares_a_short_digest_is_not_found(node):
    """Birthdays are indexed by 12 bits: many share a digest, and only those who share the day are found."""
    one = await node.create_fully(birth_date="1985-12-10")
    two = await node.create_fully(name="Grace")
    keys = await node.services.keyring.index_keys("default")
    field = node.services.policies.active("default").policy_set.catalogue.field("birth_date")
    (digest,) = digests(keys, field, "1985-12-10")
    assert not any(digest[2:])
    await node.sql(
        "INSERT INTO blind_index (tenant_id, digest, subject_id, record_id, version)"
        " VALUES ('default', :digest, :two, :two, :version)",
        digest=digest, two=UUID(two), version=keys.version,
    )  # fmt: skip
    result = await _found(node, {"birth_date": "1985-12-10"}, role="dpo", purpose="subject-rights")
    assert result == ([one], False)


async def test_an_invalid_search_is_refused(sqlite_node):
    for body, code in (
        ({"match": {}}, "invalid-body"),
        ({"match": {f"f{n}": "x" for n in range(6)}}, "invalid-body"),
        ({"match": {"name": {"prefix": "a"}}}, "invalid-value"),
        ({"match": {"name": {"prefix": ""}}}, "invalid-value"),
        ({"match": {"name": {"prefix": 12}}}, "invalid-value"),
        ({"match": {"name": {"prefix": None}}}, "invalid-value"),
        ({"match": {"name": {"last_4": "aaaa"}}}, "not-searchable"),
        ({"match": {"name": {"exact": "Ada", "prefix": "ad"}}}, "invalid-value"),
        ({"match": {"phone": {"last_4": "123"}}}, "invalid-value"),
        ({"match": {"phone": {"last_4": ["1"]}}}, "invalid-value"),
        ({"match": {"name": None}}, "invalid-value"),
        ({"match": {"name": "Ada"}, "limit": 101}, "invalid-body"),
        ({"match": {"name": "Ada"}, "limit": 0}, "invalid-body"),
    ):
        answer = await sqlite_node.post("support", SEARCH, {**body, "purpose": "customer-support"})
        assert problem(answer, 422, answer.json()["code"])["code"] == code, body


@pytest.mark.parametrize("name", ["Zo\u00eb", "Zoe\u0308", "ZO\u00cb", "\uff3ao\u00eb"])
async def test_a_search_ignores_case_and_unicode_composition(sqlite_node, name):
    subject = await sqlite_node.create({"name": "Zo\u00eb"})
    assert await _found(sqlite_node, {"name": name}) == ([subject], False)


async def test_two_domains_of_idna_2008_are_two_people_wherever_addresses_are_compared(node):
    """By search, by a claimed identity, and among duplicates."""
    sharp = await node.create({"name": "Eins", "email": "x@faß.de"})
    double = await node.create({"name": "Zwei", "email": "x@fass.de"})
    straight = await node.create({"name": "Drei", "email": "strasse@example.org"})
    for address, found in (
        ("X@FAẞ.de", sharp),
        ("x@xn--fa-hia.de", sharp),
        ("x@fass.de", double),
        ("Strasse@example.org", straight),
        ("straße@example.org", None),
    ):
        assert await _found(node, {"email": address}) == ([found] if found else [], False), address
        asked = {"kind": "access", "identity": {"email": address}}
        request = (await node.post("support", "/v1/requests", asked)).json()["id"]
        shown = await node.call("dpo", "GET", f"/v1/requests/{request}")
        assert shown.json()["subject"] == found, address
    duplicates = await node.post("dpo", f"/v1/subjects/{sharp}:duplicates")
    assert duplicates.json()["results"] == []
