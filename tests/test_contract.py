"""The check of answers against the OpenAPI document notices each way in which an answer can differ from it."""

from __future__ import annotations

import json

import pytest

from tests.contract import Contract, Mismatch

DOCUMENT = {
    "paths": {
        "/v1/holds": {
            "get": {
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Hold"}}}},
                    "404": {"content": {"application/problem+json": {"schema": {"type": "object"}}}},
                }
            },
        },
        "/v1/holds/{hold}": {"delete": {"responses": {"204": {"description": "Deleted"}}}},
        "/v1/holds/{hold}:lift": {"post": {"responses": {"204": {"description": "Lifted"}}}},
        "/metrics": {"get": {"responses": {"200": {"content": {"text/plain": {"schema": {"type": "string"}}}}}}},
    },
    "components": {
        "schemas": {
            "Hold": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "until": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
                    "scope": {"$ref": "#/components/schemas/Scope"},
                },
                "required": ["id"],
            },
            "Scope": {"type": "object", "properties": {"field": {"type": "string"}}},
            "Problem": {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]},
        }
    },
}
ID = "01936d2e-7c1a-7000-8000-0123456789ab"
JSON, PROBLEM = "application/json", "application/problem+json"


@pytest.fixture
def contract():
    return Contract(DOCUMENT)


def _check(contract, answer, *, method="GET", path="/v1/holds", status=200, kind=JSON):
    contract.check(method, path, status, kind, answer if isinstance(answer, bytes) else json.dumps(answer).encode())


@pytest.mark.parametrize(
    "body", [{"id": ID}, {"id": ID, "until": None}, {"id": ID, "until": "2026-03-01", "scope": {"field": "email"}}]
)
def test_an_answer_as_described_passes(contract, body):
    _check(contract, body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"id": None},
        {"id": "4711"},
        {"id": ID, "until": "tomorrow"},
        {"id": ID, "more": 1},
        {"id": ID, "scope": {"field": "email", "more": 1}},
        [],
    ],
    ids=["absent", "null", "no uuid", "no date", "unnamed member", "unnamed member inside", "another type"],
)
def test_a_body_that_differs_is_a_mismatch(contract, body):
    with pytest.raises(Mismatch):
        _check(contract, body)


@pytest.mark.parametrize("kind", [None, "text/html", "application/problem+json"])
def test_another_media_type_is_a_mismatch(contract, kind):
    with pytest.raises(Mismatch):
        _check(contract, {"id": ID}, kind=kind)


def test_parameters_of_a_media_type_do_not_matter(contract):
    _check(contract, b"up 1", path="/metrics", kind="text/plain; version=0.0.4; charset=utf-8")


@pytest.mark.parametrize("status", [201, 409, 500])
def test_a_status_that_is_not_documented_is_a_mismatch(contract, status):
    with pytest.raises(Mismatch):
        _check(contract, {"id": ID}, status=status)


def test_a_body_where_none_is_documented_is_a_mismatch(contract):
    _check(contract, b"", method="DELETE", path=f"/v1/holds/{ID}", status=204, kind=None)
    with pytest.raises(Mismatch):
        _check(contract, {}, method="DELETE", path=f"/v1/holds/{ID}", status=204)


def test_an_address_is_that_of_its_longest_template(contract):
    _check(contract, b"", method="POST", path=f"/v1/holds/{ID}:lift", status=204, kind=None)


@pytest.mark.parametrize(("method", "path", "status"), [("PUT", "/v1/holds", 405), ("GET", "/nowhere", 404)])
def test_an_unknown_operation_answers_with_a_problem(contract, method, path, status):
    _check(contract, {"code": "not-found"}, method=method, path=path, status=status, kind=PROBLEM)
    for answer, kind, other in (({}, PROBLEM, status), ({"code": "x"}, JSON, status), ({"code": "x"}, PROBLEM, 200)):
        with pytest.raises(Mismatch):
            _check(contract, answer, method=method, path=path, status=other, kind=kind)


async def test_every_answer_of_a_node_is_checked(sqlite_node, monkeypatch):
    checked = []
    monkeypatch.setattr(Contract, "check", lambda _self, *answer: checked.append(answer[:3]))
    await sqlite_node.create()
    assert checked == [("POST", "/v1/subjects", 201)]
