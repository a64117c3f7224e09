"""Notices, the record of processing, the audit log, health and metrics over HTTP."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.policy.folders import SHIPPED, shipped
from tests.vaults import problem
from vault.api.routes.governance import accepted
from vault.governance.tenants import apply_policies
from vault.http.problem_codes import EXPLAINED
from vault.ids import DEFAULT_TENANT
from vault.periodic import PeriodicTasks
from vault.policy.policy_set import PolicySet

MARKETING = shipped()["notices/marketing@3.md"]
NEWER = MARKETING.replace("marketing@3", "marketing@4").replace("once", "twice")


def digest(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


async def apply(node, **notices):
    files = shipped() | {f"notices/{name}.md": text for name, text in notices.items()}
    await apply_policies(node.services, DEFAULT_TENANT, PolicySet.load(files))


async def listed(node, role="support", **how):
    answer = await node.call(role, "GET", "/v1/notices", **how)
    assert answer.status_code == 200
    return answer.json()["notices"]


async def test_notices_are_listed_with_versions_languages_and_hashes(sqlite_node):
    answer = await sqlite_node.call("support", "GET", "/v1/notices")
    body = answer.json()

    assert body["policy_version"] == PolicySet.from_folder(SHIPPED).version
    assert body["notices"]["marketing@3"] == {
        "title": "News and offers by e-mail",
        "purposes": ["direct-marketing"],
        "material": True,
        "valid_from": "2026-01-01",
        "in_force": True,
        "current": True,
        "good_for": ["direct-marketing"],
        "language": "en",
        "languages": {
            "en": {"title": "News and offers by e-mail", "digest": digest(MARKETING)},
            "de": {
                "title": "Neuigkeiten und Angebote per E-Mail",
                "digest": digest(shipped()["notices/marketing@3.de.md"]),
            },
        },
    }


async def test_a_newer_version_replaces_the_older_on_its_day(sqlite_node, clock):
    later = NEWER.replace("2026-01-01", f"{clock.now().date().replace(year=2031)}")
    await apply(sqlite_node, **{"marketing@4": later})
    before = await listed(sqlite_node)
    clock.advance(days=366 * 6)
    after = await listed(sqlite_node)

    def current_and_good_for(found):
        return [(found[f"marketing@{n}"]["current"], found[f"marketing@{n}"]["good_for"]) for n in (3, 4)]

    assert current_and_good_for(before) == [(True, ["direct-marketing"]), (False, [])]
    assert current_and_good_for(after) == [(False, []), (True, ["direct-marketing"])]
    assert before["marketing@4"]["in_force"] is False


async def test_a_text_is_served_unchanged_at_its_hash(node):
    for file in ("marketing@3", "marketing@3.de"):
        text = shipped()[f"notices/{file}.md"]
        answer = await node.call("support", "GET", f"/v1/notices/{digest(text)}")

        assert answer.status_code == 200
        assert answer.content == text.encode()
        assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
        assert answer.headers["etag"] == f'"{digest(text)}"'
        assert answer.headers["content-language"] == ("de" if file.endswith(".de") else "en")
        assert answer.headers.get_list("cache-control") == ["private, max-age=31536000, immutable"]
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_text_removed_from_the_policies_is_still_served(node):
    await apply(node, **{"marketing@4": NEWER})
    await apply(node)
    assert "marketing@4" not in await listed(node)

    answer = await node.call("analytics", "GET", f"/v1/notices/{digest(NEWER)}")
    assert answer.content == NEWER.encode()


async def test_a_matching_etag_gets_304(sqlite_node):
    path, tag = f"/v1/notices/{digest(MARKETING)}", f'"{digest(MARKETING)}"'
    for stated in (tag, f'"x", W/{tag}', "*"):
        answer = await sqlite_node.call("support", "GET", path, headers={"If-None-Match": stated})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    answer = await sqlite_node.call("support", "GET", path, headers={"If-None-Match": '"x"'})
    assert answer.status_code == 200


async def test_every_principal_of_the_tenant_and_no_one_else_may_read_notices(sqlite_node):
    path = f"/v1/notices/{digest(MARKETING)}"
    assert (await sqlite_node.call("stranger", "GET", path)).status_code == 200
    assert await listed(sqlite_node, "stranger")
    problem(await sqlite_node.call(None, "GET", "/v1/notices"), 401, "not-authenticated")
    problem(await sqlite_node.call(None, "GET", path), 401, "not-authenticated")


async def test_texts_of_another_tenant_are_not_found(sqlite_node):
    await apply(sqlite_node, **{"marketing@4": NEWER})
    path = f"/v1/notices/{digest(NEWER)}"

    assert (await sqlite_node.call("support", "GET", path)).status_code == 200
    problem(await sqlite_node.call("support", "GET", path, tenant="acme"), 404, "notice-not-found")


async def test_an_unknown_hash_is_not_found(sqlite_node):
    for wrong in ("sha256:" + "0" * 64, "marketing@3", "x" * 500):
        answer = await sqlite_node.call("support", "GET", f"/v1/notices/{wrong}")
        problem(answer, 404, "notice-not-found")
        assert wrong not in answer.text


async def test_notices_count_against_the_rate_of_reads(sqlite_place, clock):
    async with sqlite_place.node(clock, reads_per_minute=2) as node:
        await listed(node)
        assert (await node.call("support", "GET", f"/v1/notices/{digest(MARKETING)}")).status_code == 200
        problem(await node.call("support", "GET", "/v1/notices"), 429, "rate-limited")


PATH = "/v1/processing-record"


async def test_the_default_format_is_json(node):
    ada = await node.create()
    await node.read("fulfilment", ada, ["email"], "order-fulfilment")
    answer = await node.call("dpo", "GET", PATH)
    assert answer.status_code == 200
    record = answer.json()
    assert record.keys() == {
        "tenant", "controller", "generated_at", "policy_version", "period", "activities", "security", "findings", "audit",
    }  # fmt: skip
    assert record["period"] == {"since": "2025-03-05T12:00:00.000000Z", "until": "2026-03-05T12:00:00.000000Z"}
    (orders,) = [activity for activity in record["activities"] if activity["purpose"] == "order-fulfilment"]
    (reader,) = orders["use"]["readers"]
    assert reader["name"] == "fulfilment"
    assert [field["field"] for field in reader["fields"]] == ["email"]
    assert {"purpose-unused", "fields-unread"} <= {finding["code"] for finding in record["findings"]}
    assert record["audit"] == str((await node.entries())[-1].id)
    assert "ada@example.org" not in answer.text


@pytest.mark.parametrize(
    ("form", "media_type", "start"),
    [("csv", "text/csv", '"controller"'), ("markdown", "text/markdown", "# Record of processing"), ("json", "application/json", "{")],
)  # fmt: skip
@pytest.mark.parametrize("by", ["format", "accept"])
async def test_the_requested_format_is_returned(sqlite_node, form, media_type, start, by):
    how = {"params": {"format": form}} if by == "format" else {"headers": {"Accept": media_type}}
    answer = await sqlite_node.call("operator", "GET", PATH, **how)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith(start)


async def test_the_csv_can_be_parsed(sqlite_node):
    answer = await sqlite_node.call("dpo", "GET", PATH, params={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert {row["purpose"] for row in rows} >= {"order-fulfilment", "direct-marketing"}
    assert answer.headers["content-disposition"] == 'attachment; filename="processing-record.csv"'


async def test_the_format_outweighs_accept(sqlite_node):
    answer = await sqlite_node.call("dpo", "GET", PATH, params={"format": "json"}, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/html, */*;q=0.1", "json"),
        ("text/csv", "csv"),
        ("TEXT/CSV; header=present", "csv"),
        ("text/csv;q=0.5, text/markdown", "markdown"),
        ("text/markdown, */*", "markdown"),
        ("text/csv;q=0.3, */*;q=0.8", "json"),
        ("text/csv, application/json", "json"),
        ("text/csv;q=, ;;,", "json"),
    ],
)
def test_content_negotiation_prefers_the_clients_weights(accept, form):
    assert accepted(accept) == form


@pytest.mark.parametrize(
    "params", [{"format": "pdf"}, {"since": "yesterday"}, {"since": "2026-01-01T00:00:00"}, {"since": ""}]
)
async def test_malformed_parameters_are_a_problem(sqlite_node, params):
    problem(await sqlite_node.call("dpo", "GET", PATH, params=params), 422, "invalid-body")


async def test_a_future_period_is_refused(sqlite_node):
    answer = problem(
        await sqlite_node.call("dpo", "GET", PATH, params={"since": "2099-01-01T00:00:00Z"}), 422, "invalid-since"
    )
    assert "audit" in answer


@pytest.mark.parametrize("role", ["support", "marketing", "stranger"])
async def test_callers_without_the_permission_are_denied(sqlite_node, role):
    problem(await sqlite_node.call(role, "GET", PATH), 403, "not-granted")


async def test_unauthenticated_callers_are_refused(sqlite_node):
    problem(await sqlite_node.call(None, "GET", PATH), 401, "not-authenticated")


async def test_a_tenant_gets_its_own_record(sqlite_node):
    record = (await sqlite_node.call("dpo", "GET", PATH, tenant="acme")).json()
    assert record["tenant"] == "acme"


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


async def test_liveness_and_readiness_are_answered(node):
    assert (await node.call(None, "GET", "/healthz")).json() == {"status": "alive"}
    assert (await node.call(None, "GET", "/readyz")).json() == {"status": "ready"}


async def test_a_process_that_does_not_follow_the_policies_is_not_ready(node):
    seconds = [0.0]
    node.vault.periodic = PeriodicTasks(clock=lambda: seconds[0])

    async def fail():
        raise RuntimeError

    node.vault.periodic.start("follow-policies", 1.0, fail, required=True)
    assert (await node.call(None, "GET", "/readyz")).status_code == 200
    seconds[0] = 60.0
    problem(await node.call(None, "GET", "/readyz"), 503, "unavailable")


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
    answer = {code: _grown(before, after, "cdv_fields_denied_total", code=code) for code in EXPLAINED}
    assert {code: count for code, count in answer.items() if count} == {
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


async def test_metric_labels_contain_no_input(sqlite_node):
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


async def test_metrics_show_the_caches(sqlite_node):
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


async def test_a_rate_limited_caller_is_recorded_once_a_minute(place, clock):
    async with place.node(clock, searches_per_minute=2) as node:
        search = {"match": {"name": "Ada Lovelace"}, "fields": ["name"], "purpose": "customer-support"}
        for _minute in range(2):
            for _ in range(6):
                await node.post("support", SEARCH, search)
            clock.advance(minutes=1)
        listed = (await node.call("dpo", "GET", "/v1/audit/entries?action=search")).json()["entries"]
        assert [row["decision"] for row in listed] == ["failed", "allowed", "allowed"] * 2
        assert {row.get("code") for row in listed} == {"rate-limited", None}


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


async def test_audit_entries_are_paged(node):
    for number in range(7):
        await node.create({"name": f"P {number}"})
    seen, params = [], {"limit": 3, "action": "create"}
    while True:
        page = (await node.call("dpo", "GET", "/v1/audit/entries", params=params)).json()
        seen += [entry["id"] for entry in page["entries"]]
        if page["next"] is None:
            break
        params["before"] = page["next"]
    assert len(seen) == len(set(seen)) == 7
    assert seen == sorted(seen, reverse=True)
    principal = (await node.caller("sales")).principal.id
    mine = await node.call("dpo", "GET", "/v1/audit/entries", params={"principal": str(principal), "limit": 100})
    assert {entry["principal_name"] for entry in mine.json()["entries"]} == {"sales"}
    for limit in (0, 501, -1):
        answer = await node.call("dpo", "GET", "/v1/audit/entries", params={"limit": limit})
        problem(answer, 422, "invalid-body")


async def test_audit_entries_are_filtered_by_purpose_decision_and_time(node):
    subject = await node.create({"name": "Ada"})
    await node.read("sales", subject, ["name"], "order-fulfilment")
    await node.read("sales", subject, ["name"], "direct-marketing")

    async def listed(**params):
        answer = await node.call("dpo", "GET", "/v1/audit/entries", params={"action": "read", **params})
        return [(entry["purpose"], entry["decision"]) for entry in answer.json()["entries"]]

    assert await listed(purpose="order-fulfilment") == [("order-fulfilment", "allowed")]
    (refused,) = await listed(purpose="direct-marketing")
    assert await listed(decision=refused[1]) == [refused]
    assert await listed(decision="failed") == []
    assert len(await listed(since="2000-01-01T00:00:00Z")) == 2
    assert await listed(until="2000-01-01T00:00:00Z") == []
    for params in ({"decision": "maybe"}, {"since": "yesterday"}, {"until": "2026-01-01"}):
        problem(await node.call("dpo", "GET", "/v1/audit/entries", params=params), 422, "invalid-body")


async def test_failed_sign_ins_do_not_flood_the_log(sqlite_node, clock):
    for _ in range(65):
        problem(await sqlite_node.call(None, "GET", "/v1/catalogue"), 401, "not-authenticated")
    signs = [entry for entry in await sqlite_node.entries() if entry.action == "sign-in"]
    assert len(signs) == 60
    clock.advance(minutes=1)
    await sqlite_node.call(None, "GET", "/v1/catalogue")
    signs = [entry for entry in await sqlite_node.entries() if entry.action == "sign-in"]
    assert sum(sign.count for sign in signs) == 66
