"""For those who run the vault: alive, ready, figures, limits."""

from __future__ import annotations

import re
from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families

from tests.vaults import problem
from vault.http.problem_codes import EXPLAINED

SEARCH = "/v1/subjects:search"


async def _figures(node):
    answer = await node.call(None, "GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def _grown(before, after, name, **labels):
    key = (name, tuple(sorted(labels.items())))
    return after.get(key, 0) - before.get(key, 0)


async def test_alive_and_ready(node):
    assert (await node.call(None, "GET", "/healthz")).json() == {"status": "alive"}
    assert (await node.call(None, "GET", "/readyz")).json() == {"status": "ready"}


async def test_reads_and_denials_are_counted_by_code(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    await node.append("sales", subject, "purchase", {"amount": "1"}, "order-fulfilment")
    before = await _figures(node)
    await node.read("support", subject, ["name", "email", "iban", "notes"], "customer-support")  # 1 shown, 3 not
    await node.read("support", subject, ["email"], "customer-support")  # refused as a whole
    await node.read("marketing", subject, ["email", "name"], "direct-marketing")
    await node.read("support", uuid4(), ["name"], "customer-support")
    await node.read("support", subject, ["name"], "curiosity")
    batch = {"subjects": [subject, str(uuid4())], "fields": ["name", "email"], "purpose": "customer-support"}
    await node.post("support", "/v1/read", batch)
    await node.post(
        "support",
        SEARCH,
        {"match": {"name": "Ada Lovelace"}, "fields": ["name", "email"], "purpose": "customer-support"},
    )
    listing = {"fields": ["amount", "order"], "purpose": "customer-support"}
    await node.post("support", f"/v1/subjects/{subject}/records/purchase:read", listing)
    after = await _figures(node)
    assert _grown(before, after, "cdv_fields_read_total") == 1 + 1 + 1 + 1
    told = {code: _grown(before, after, "cdv_fields_denied_total", code=code) for code in EXPLAINED}
    assert {code: count for code, count in told.items() if count} == {
        "not-granted": 1 + 1 + 2 + 1,
        "purpose-excludes-field": 1,
        "no-value": 1 + 1,
        "consent-missing": 2,
        "subject-not-found": 1,
    }
    problems = {code: _grown(before, after, "cdv_problems_total", code=code) for code in EXPLAINED}
    assert {code: count for code, count in problems.items() if count} == {
        "denied": 2,
        "subject-not-found": 1,
        "unknown-purpose": 1,
    }
    assert _grown(before, after, "cdv_requests_total", route="/v1/read", status="200") == 2
    assert _grown(before, after, "cdv_requests_total", route="/v1/read", status="403") == 2
    assert _grown(before, after, "cdv_request_seconds_count", route="/v1/read") == 6


async def test_labels_are_words_of_our_own(sqlite_node):
    node = sqlite_node
    subject = await node.create()
    for path in (
        f"/v1/subjects/{subject}",
        "/nowhere/ada@example.org",
        f"/v1/subjects/{subject}/records/ada:read",
        "/v1/ada",
    ):
        for method in ("GET", "POST", "PUT", "ADA"):
            await node.call("support", method, path, {} if method == "POST" else None)
    figures = await _figures(node)
    labels = {label for _name, pairs in figures for label in pairs}
    routes = {value for name, value in labels if name == "route"}
    documented = set((await node.http.get("/openapi.json")).json()["paths"])
    assert routes <= documented | {"unmatched", "/openapi.json"}
    for name, value in labels:
        assert "ada" not in value
        assert subject not in value
        if name == "code":
            assert value in EXPLAINED
        if name == "status":
            assert re.fullmatch(r"\d{3}|0", value)


async def test_the_caches_are_shown(sqlite_node):
    subject = await sqlite_node.create()
    await sqlite_node.read("support", subject, ["name"], "customer-support")
    figures = await _figures(sqlite_node)
    caches = {dict(pairs)["cache"] for name, pairs in figures if name == "cdv_cache"}
    assert {"data-keys", "decisions"} <= caches
    assert figures["cdv_cache", (("cache", "data-keys"), ("what", "subjects"))] == 1


async def test_searches_are_limited_more_strictly_than_reads(place, clock):
    async with place.node(clock, reads_per_minute=10, searches_per_minute=2) as node:
        subject = await node.create()
        search = {"match": {"name": "Ada Lovelace"}, "fields": ["name"], "purpose": "customer-support"}
        clock.advance(seconds=15)
        for _ in range(2):
            assert (await node.post("support", SEARCH, search)).status_code == 200
        refused = await node.post("support", SEARCH, search)
        problem(refused, 429, "rate-limited")
        assert refused.headers["retry-after"] == "45"
        assert "Ada" not in refused.text
        for _ in range(10):
            assert (await node.read("support", subject, ["name"], "customer-support")).status_code == 200
        problem(await node.read("support", subject, ["name"], "customer-support"), 429, "rate-limited")
        # Others have budgets of their own.
        assert (await node.read("fulfilment", subject, ["name"], "order-fulfilment")).status_code == 200
        clock.advance(seconds=45)
        assert (await node.post("support", SEARCH, search)).status_code == 200


async def test_who_enumerates_shows_on_the_audit_log_once_a_minute(place, clock):
    async with place.node(clock, searches_per_minute=2) as node:
        search = {"match": {"name": "Ada Lovelace"}, "fields": ["name"], "purpose": "customer-support"}
        for _minute in range(2):
            for _ in range(6):
                await node.post("support", SEARCH, search)
            clock.advance(minutes=1)
        listed = (await node.call("dpo", "GET", "/v1/audit/entries?action=search")).json()["entries"]
        assert [each["decision"] for each in listed] == ["failed", "allowed", "allowed"] * 2
        assert {each.get("code") for each in listed} == {"rate-limited", None}


async def test_a_batch_counts_as_many_reads_as_it_has_subjects(sqlite_place, clock):
    async with sqlite_place.node(clock, reads_per_minute=10) as node:
        body = {"subjects": [str(uuid4())] * 6, "fields": ["name"], "purpose": "customer-support"}
        assert (await node.post("support", "/v1/read", body)).status_code == 200
        problem(await node.post("support", "/v1/read", body), 429, "rate-limited")
        body["subjects"] = [str(uuid4())] * 4
        assert (await node.post("support", "/v1/read", body)).status_code == 200
        body["subjects"] = [str(uuid4())] * 11
        problem(await node.post("support", "/v1/read", body), 422, "beyond-rate-limit")


async def test_every_way_to_read_draws_on_the_same_budget(sqlite_place, clock):
    async with sqlite_place.node(clock, reads_per_minute=3) as node:
        subject = await node.create()
        assert (await node.call("support", "GET", f"/v1/subjects/{subject}")).status_code == 200
        explain = {"fields": ["name"], "purpose": "customer-support", "subject": subject}
        assert (await node.post("support", "/v1/decisions:explain", explain)).status_code == 200
        listing = {"fields": ["amount"], "purpose": "customer-support", "limit": 1}
        assert (await node.post("support", f"/v1/subjects/{subject}/records/purchase:read", listing)).status_code == 200
        problem(await node.read("support", subject, ["name"], "customer-support"), 429, "rate-limited")
        problem(await node.call("support", "GET", f"/v1/subjects/{subject}"), 429, "rate-limited")
        problem(await node.post("support", "/v1/decisions:explain", explain), 429, "rate-limited")


async def test_audit_entries_come_page_by_page(node):
    for number in range(7):
        await node.create({"name": f"P {number}"})
    seen, params = [], {"limit": 3, "action": "create"}
    while True:
        page = (await node.call("dpo", "GET", "/v1/audit/entries", params=params)).json()
        seen += [each["id"] for each in page["entries"]]
        if page["next"] is None:
            break
        params["before"] = page["next"]
    assert len(seen) == len(set(seen)) == 7
    assert seen == sorted(seen, reverse=True)
    principal = (await node.caller("sales")).principal.id
    mine = await node.call("dpo", "GET", "/v1/audit/entries", params={"principal": str(principal), "limit": 100})
    assert {each["principal_name"] for each in mine.json()["entries"]} == {"sales"}
    for limit in (0, 501, -1):
        answer = await node.call("dpo", "GET", "/v1/audit/entries", params={"limit": limit})
        problem(answer, 422, "invalid-body")


async def test_failed_sign_ins_do_not_flood_the_log(sqlite_node, clock):
    for _ in range(65):
        problem(await sqlite_node.call(None, "GET", "/v1/catalogue"), 401, "not-authenticated")
    signs = [each for each in await sqlite_node.entries() if each.action == "sign-in"]
    assert len(signs) == 60
    clock.advance(minutes=1)
    await sqlite_node.call(None, "GET", "/v1/catalogue")
    signs = [each for each in await sqlite_node.entries() if each.action == "sign-in"]
    assert sum(each.count for each in signs) == 66
