"""Searching where many people share a value: nobody is lost, however common each of the criteria is."""

from __future__ import annotations

import json
import random
from typing import Any
from uuid import UUID

import pytest

from tests.imports.files import bring_in, counts, write_csv
from tests.vaults import problem
from vault.records import matching
from vault.subjects import leads
from vault.subjects.leads import COMMON, START

SEARCH = "/v1/subjects:search"
FAMILY = """
purpose = "order-fulfilment"
[external_ids]
shop = "no"
[fields]
name = "name"
family_name = "family"
"""
VALUES = {
    "name": ["Zeta Mueller", "Ada Mueller", "Ada King"],
    "family_name": ["Mueller", "King", "Kong"],
    "phone": ["+442079460123", "+442079461123"],
    "birth_date": ["1985-12-10", "1990-01-01", "1970-05-05"],
}
ORDERS = ["A-1", "A-2", "B-1"]


async def _page(node, match, **more):
    body = {"match": match, "purpose": "subject-rights", **more}
    answer = await node.post("dpo", SEARCH, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _pages(node, match, limit=20):
    """Search page by page to the end; returns the people of each page."""
    pages, cursor = [], None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        page = await _page(node, match, limit=limit, **more)
        assert page["more"] is (page["next"] is not None)
        pages.append([result["subject"] for result in page["results"]])
        cursor = page["next"]
        if cursor is None:
            return pages


async def _people(node, tmp_path, lines):
    report = await bring_in(node, write_csv(tmp_path / "people.csv", "no,name,family", *lines), FAMILY)
    assert counts(report)[3] == 0


async def test_one_of_1200_who_share_a_name_is_found_by_it_and_one_more(node, tmp_path):
    lines = [[str(number), f"Nr {number} Müller", "Müller"] for number in range(1_200)]
    await _people(node, tmp_path, lines)
    zeta = await node.create({"name": "Zeta Müller", "family_name": "Müller"})
    both = {"family_name": "Müller", "name": "Zeta Müller"}
    assert await _pages(node, {"name": "Zeta Müller"}) == [[zeta]]
    assert await _pages(node, both) == [[zeta]]
    everyone = await _pages(node, {"family_name": "Müller"}, limit=100)
    assert len({item for page in everyone for item in page}) == sum(map(len, everyone)) == 1_201
    two_common = await _pages(node, {"family_name": "Müller", "name": {"prefix": "nr"}}, limit=100)
    assert len({item for page in two_common for item in page}) == 1_200


def _meets(values: list[str], condition: Any) -> bool:
    """The naive model: compare each value that somebody has."""
    if not isinstance(condition, dict):
        return condition.lower() in [value.lower() for value in values]
    ((kind, part),) = condition.items()
    if kind == "prefix":
        return any(value.lower().startswith(part.lower()) for value in values)
    return any(value.endswith(part) for value in values)


def _condition(chance: random.Random, field: str) -> Any:
    value = chance.choice(ORDERS if field == "purchase.order" else VALUES[field])
    if field in {"name", "family_name"} and chance.random() < 0.5:
        return {"prefix": value[: chance.randint(2, 4)]}
    return {"last_4": value[-4:]} if field == "phone" and chance.random() < 0.5 else value


@pytest.mark.parametrize("seed", range(2))
async def test_all_pages_together_are_what_a_naive_search_finds(node, monkeypatch, seed):
    """Whatever people share, and however small the portions of the work are."""
    chance = random.Random(seed)
    for name, most in (("MOST_OPENED", 9), ("PORTION", 4), ("AT_ONCE", 8)):
        monkeypatch.setattr(matching, name, chance.randint(2, most))
    people: dict[str, dict[str, list[str]]] = {}
    for _ in range(16):
        profile = {name: chance.choice(values) for name, values in VALUES.items() if chance.random() < 0.8}
        subject = await node.create_fully(**{"name": "Nobody Else", **profile})
        orders = [chance.choice(ORDERS) for _ in range(chance.choice((0, 0, 1, 6)))]
        for order in orders:
            await node.append("sales", subject, "purchase", {"order": order}, "order-fulfilment")
        people[subject] = {**{name: [value] for name, value in profile.items()}, "purchase.order": orders}
    for _ in range(20):
        fields = chance.sample([*VALUES, "purchase.order"], chance.randint(1, 5))
        match = {field: _condition(chance, field) for field in fields}
        right = sorted(
            subject
            for subject, values in people.items()
            if all(_meets(values.get(field, []), condition) for field, condition in match.items())
        )
        limit = chance.randint(1, 6)
        pages = await _pages(node, match, limit=limit)
        assert [item for page in pages for item in page] == right, match
        assert all(len(page) <= limit for page in pages)


async def test_a_page_opens_no_more_records_than_its_bound_and_a_portion(node, monkeypatch):
    monkeypatch.setattr(matching, "MOST_OPENED", 4)
    monkeypatch.setattr(matching, "PORTION", 2)
    opened: list[int] = []

    async def counted(*args, **how):
        result = await leads.leads_of(*args, **how)
        opened.append(len(result))
        return result

    monkeypatch.setattr(matching, "leads_of", counted)
    for number in range(12):
        await node.create({"name": f"Adam {number}"})
    pages = 0
    cursor: dict[str, str] = {}
    while True:
        opened.clear()
        page = await _page(node, {"name": {"prefix": "adam"}}, limit=100, **cursor)
        pages += 1
        assert sum(opened) <= 4 + 2
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert pages >= 2


async def test_several_criteria_that_are_all_too_common_are_refused_in_words(node, monkeypatch):
    monkeypatch.setattr(matching, "MOST_SHARING", 3)
    people = [await node.create({"name": f"Adam {n}", "family_name": "Adamson"}) for n in range(4)]
    wide = {"name": {"prefix": "adam"}, "family_name": "Adamson"}
    refused = await node.post("dpo", SEARCH, {"match": wide, "purpose": "subject-rights"})
    answer = problem(refused, 422, "search-too-wide")
    assert "Adam" not in json.dumps(answer)
    assert "add a criterion" in answer["hint"]
    assert await _pages(node, {"family_name": "Adamson"}) == [sorted(people)]
    assert await _pages(node, {**wide, "name": "Adam 2"}) == [[people[2]]]


async def test_a_cursor_is_sealed_and_good_for_its_app_and_question_only(node):
    people = sorted([await node.create({"name": "Ada", "family_name": "King"}) for _ in range(3)])
    both = {"name": "Ada", "family_name": "King"}
    first = await _page(node, both, limit=1)
    cursor = first["next"]
    assert [result["subject"] for result in first["results"]] == people[:1]
    assert UUID(people[0]).hex not in cursor.encode().hex()
    again = await _page(node, {"family_name": "KING", "name": "ada"}, limit=2, cursor=cursor)
    assert [result["subject"] for result in again["results"]] == people[1:]
    turned = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    body = {"match": both, "purpose": "subject-rights"}
    for role, asked in (
        ("dpo", {**body, "cursor": turned}),
        ("dpo", {**body, "cursor": UUID(people[0]).hex}),
        ("dpo", {**body, "cursor": "\u00e9"}),
        ("dpo", {**body, "match": {"name": "Ada"}, "cursor": cursor}),
        ("support", {"match": both, "purpose": "customer-support", "cursor": cursor}),
    ):
        problem(await node.post(role, SEARCH, asked), 422, "invalid-cursor")


async def test_each_page_counts_as_a_search_and_is_on_the_audit_log(node):
    people = sorted([await node.create({"name": "Ada"}) for _ in range(2)])
    first = await _page(node, {"name": "Ada"}, limit=1)
    async with node.new_entries() as entries:
        await _page(node, {"name": "Ada"}, limit=1, cursor=first["next"])
    (entry,) = entries
    assert (entry.action, entry.subjects) == ("search", (await node.pseudonym(people[1]),))


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_postgresql_reads_the_primary_key_in_order_and_seeks_in_it(postgres_place, count):
    """Also where all of the digests are common, and with the statistics that a busy vault has."""
    async with postgres_place.node() as node:
        await node.sql(
            "INSERT INTO blind_index (tenant_id, digest, subject_id, record_id, version)"
            " SELECT 'default', decode(lpad(to_hex(d), 64, '0'), 'hex'), s.id, s.id, 1 FROM generate_series(0, 4) d,"
            " (SELECT gen_random_uuid() AS id FROM generate_series(1, 4000)) s"
        )
        await node.sql("ANALYZE blind_index")
        digests = {f"digest_{number}": number.to_bytes(32) for number in range(count)}
        text, values = COMMON[count - 1].for_postgresql({"tenant": "default", "after": START, "most": 50, **digests})
        async with node.services.data.reading() as connection:
            await connection.exec_driver_sql("SELECT 1")
            raw = (await connection.get_raw_connection()).driver_connection
            plans = await raw.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", *values)
            (plan,) = json.loads(plans) if isinstance(plans, str) else plans
    scans = list(_scans(plan["Plan"]))
    assert len(scans) == count
    assert {scan["Node Type"] for scan in scans} <= {"Index Only Scan", "Index Scan"}
    assert all("digest" in scan["Index Cond"] and "subject_id" in scan["Index Cond"] for scan in scans)
    assert all(scan["Actual Rows"] * scan["Actual Loops"] <= 60 for scan in scans), "it stops when the page is full"


def _scans(plan: dict[str, Any]):
    if "Scan" in plan["Node Type"] and plan.get("Relation Name") == "blind_index":
        yield plan
    for part in plan.get("Plans", ()):
        yield from _scans(part)
