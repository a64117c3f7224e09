"""Control characters: refused in every path and query, and harmless in every body, on both databases.

PostgreSQL takes no NUL: without these checks the answer would be that of a database that is down.
"""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from tests.vaults import ADA, problem

CONTROLS = ("\0", "\x01", "\n", "\x1f", "\x7f")
KNOWN = {"purpose": "order-fulfilment", "collection": "purchase", "notice": "marketing@3"}
ROLES = ("dpo", "sales", "operator")


async def _operations(node):
    document = (await node.call(None, "GET", "/openapi.json")).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield document, method.upper(), path, operation


async def test_no_path_and_no_query_takes_a_control_character(node):
    tried = 0
    async for _document, method, path, operation in _operations(node):
        plain = re.sub(r"\{[^}]*\}", "x", path)
        addresses = [f"{plain}%s", f"{plain}?unknown=%s", f"{plain}?%s"]
        addresses += [re.sub(r"\{[^}]*\}", "x", path.replace(part, "%s")) for part in re.findall(r"\{[^}]*\}", path)]
        queries = [item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"]
        addresses += [f"{plain}?{name}=a%s" for name in queries]
        for address in addresses:
            for character in CONTROLS:
                answer = await node.call("dpo", method, address % quote(character))
                problem(answer, 422, "control-character")
                tried += 1
    assert tried > 1500


async def test_other_characters_are_no_control_characters(sqlite_node):
    for address in ("/v1/notices/%20%7e%C3%A9%C2%80%25%30", "/v1/audit?action=%20%E2%82%AC%2500"):
        answer = await sqlite_node.call("dpo", "GET", address)
        assert "control-character" not in answer.text


def _resolved(document, schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _value(document, name, schema, depth=0):
    """Make up a value that comes as near to a valid one as the schema says."""
    schema = _resolved(document, schema)
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return _value(document, name, schema[union][0], depth)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        if depth > 4:
            return {}
        values = {key: _value(document, key, item, depth + 1) for key, item in schema.get("properties", {}).items()}
        return values or {"name": "text"}
    if kind == "array":
        return [_value(document, name, schema.get("items", {}), depth + 1)]
    if kind in {"integer", "number"}:
        return schema.get("minimum", 1)
    if kind == "boolean":
        return True
    if schema.get("format") == "date-time":
        return "2026-03-05T11:00:00Z"
    if schema.get("format") == "date":
        return "2026-03-05"
    if name in {"subject", "subjects", "winner", "loser"}:
        return "SUBJECT"
    return KNOWN.get(name, "text")


def _with_nul(value, place=()):
    """Yield copies of a JSON value, each with a NUL in one of its texts or keys."""
    if isinstance(value, str):
        yield "\0"
        yield value + "\0"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from ([*value[:index], changed, *value[index + 1 :]] for changed in _with_nul(item))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from ({**value, key: changed} for changed in _with_nul(item))
        yield {**value, "a\0": "text"}


def _subject(value, subject):
    if isinstance(value, dict):
        return {key: _subject(item, subject) for key, item in value.items()}
    if isinstance(value, list):
        return [_subject(item, subject) for item in value]
    return value.replace("SUBJECT", subject) if isinstance(value, str) else value


async def test_a_nul_in_a_body_is_never_taken_for_a_database_that_is_down(node):
    subject = await node.create(dict(ADA))
    tried = 0
    async for document, method, path, operation in _operations(node):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        address = re.sub(r"\{[^}]*\}", "x", path.replace("{subject}", subject).replace("{collection}", "purchase"))
        body = _subject(_value(document, "", content["schema"]), subject)
        for changed in _with_nul(body):
            for role in ROLES[: 1 + (tried % 3 == 0)]:
                answer = await node.call(role, method, address, changed)
                assert answer.status_code < 500, (method, path, changed, answer.text)
                tried += 1
    assert tried > 300


@pytest.mark.parametrize("fields", [{"name": "A\0"}, {"email": "a\0@example.org"}, {"address": {"street": "\0"}}])
async def test_a_nul_in_a_value_is_refused_with_its_place(node, fields):
    answer = await node.post("sales", "/v1/subjects", {"profile": fields, "purpose": "order-fulfilment"})
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/read", {"fields": ["name"], "purpose": "a\0"}),
        ("/v1/read", {"fields": ["name\0"], "purpose": "customer-support"}),
        ("/v1/read", {"fields": ["name"], "purpose": "customer-support", "reason": "a\0"}),
        ("/v1/subjects:search", {"match": {"email": "a\0"}, "fields": ["name"], "purpose": "customer-support"}),
        ("/v1/subjects:search", {"match": {"a\0": "b"}, "fields": ["name"], "purpose": "customer-support"}),
    ],
)
async def test_a_nul_in_a_read_or_search_is_no_server_error(node, path, body):
    subject = await node.create(dict(ADA))
    answer = await node.post("support", path, {**body, **({"subject": subject} if path == "/v1/read" else {})})
    assert answer.status_code < 500, answer.text
