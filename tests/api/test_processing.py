"""The record of processing over HTTP."""

from __future__ import annotations

import csv
import io

import pytest

from tests.vaults import problem
from vault.api.routes.governance import accepted

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
    told = problem(
        await sqlite_node.call("dpo", "GET", PATH, params={"since": "2099-01-01T00:00:00Z"}), 422, "invalid-since"
    )
    assert "audit" in told


@pytest.mark.parametrize("role", ["support", "marketing", "stranger"])
async def test_callers_without_the_permission_are_denied(sqlite_node, role):
    problem(await sqlite_node.call(role, "GET", PATH), 403, "not-granted")


async def test_unauthenticated_callers_are_refused(sqlite_node):
    problem(await sqlite_node.call(None, "GET", PATH), 401, "not-authenticated")


async def test_a_tenant_gets_its_own_record(sqlite_node):
    record = (await sqlite_node.call("dpo", "GET", PATH, tenant="acme")).json()
    assert record["tenant"] == "acme"
