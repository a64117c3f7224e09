"""The OpenAPI document is valid and complete, and describes the real answers."""

from __future__ import annotations

import re

import jsonschema_rs
from schemathesis.specs.openapi.definitions import OPENAPI_31

from vault.api.routes.read import BatchReadRequest, ReadBody, ReadRequest
from vault.api.routes.subjects import NewSubject

OPEN = {"/v1/consents:confirm", "/v1/me/sessions", "/v1/me/sessions:verify"}
"""Routes without sign-in: a token or a code from a letter is all that they take."""
ROUTES = {
    "/v1/read": {"post"},
    "/v1/subjects": {"post"},
    "/v1/subjects:upsert": {"post"},
    "/v1/subjects:search": {"post"},
    "/v1/subjects:merge": {"post"},
    "/v1/shared-contacts": {"get"},
    "/v1/shared-contacts/{contact}:settle": {"post"},
    "/v1/subjects/{subject}:duplicates": {"post"},
    "/v1/subjects/{subject}": {"get"},
    "/v1/subjects/{subject}/profile": {"patch"},
    "/v1/subjects/{subject}/records/{collection}": {"post"},
    "/v1/subjects/{subject}/records/{collection}:read": {"post"},
    "/v1/decisions:explain": {"post"},
    "/v1/audit/entries": {"get"},
    "/v1/catalogue": {"get"},
    "/v1/purposes": {"get"},
    "/v1/notices": {"get"},
    "/v1/notices/{digest}": {"get"},
    "/v1/notices:mine": {"get"},
    "/v1/notices:sent": {"get"},
    "/v1/notices/{notice}:acknowledge": {"post"},
    "/v1/notices/{notice}:chase": {"post"},
    "/v1/webhook": {"get", "put", "delete"},
    "/v1/webhook:rotate-secret": {"post"},
    "/v1/webhook:test": {"post"},
    "/v1/webhooks": {"get"},
    "/v1/subjects/{subject}/consents": {"get", "post"},
    "/v1/subjects/{subject}/consents/{event}/receipt": {"get"},
    "/v1/signing-keys": {"get"},
    "/v1/subjects/{subject}/consents:signal": {"post"},
    "/v1/subjects/{subject}/objections": {"post"},
    "/v1/subjects/{subject}/objections/{event}:decide": {"post"},
    "/v1/subjects/{subject}/restriction": {"post"},
    "/v1/subjects/{subject}/restriction:announce": {"post"},
    "/v1/subjects/{subject}/restriction:lift": {"post"},
    "/v1/subjects/{subject}/disputes": {"post"},
    "/v1/subjects/{subject}/disputes/{dispute}:resolve": {"post"},
    "/v1/subjects/{subject}/fields:verify": {"post"},
    "/v1/subjects/{subject}/rectifications": {"get"},
    "/v1/subjects/{subject}/erasure:preview": {"get", "post"},
    "/v1/subjects/{subject}/retention": {"get"},
    "/v1/subjects/{subject}/retention-events": {"post"},
    "/v1/subjects/{subject}/relationship": {"get"},
    "/v1/retention/due": {"get"},
    "/v1/retention/sweeps": {"get", "post"},
    "/v1/retention/reviews": {"get"},
    "/v1/retention/reviews/{review}:decide": {"post"},
    "/v1/erasures": {"get"},
    "/v1/jobs": {"get"},
    "/v1/me/sessions": {"post"},
    "/v1/me/sessions:verify": {"post"},
    "/v1/me/session": {"delete"},
    "/v1/me/requests": {"get", "post"},
    "/v1/me/requests/{request}": {"get"},
    "/v1/me/requests/{request}:cancel": {"post"},
    "/v1/me/requests/{request}:verify": {"post"},
    "/v1/me/requests/{request}/package": {"get"},
    "/v1/me/requests/{request}/package:download": {"post"},
    "/v1/requests/{request}:verify": {"post"},
    "/v1/requests/{request}/grounds": {"post"},
    "/v1/requests/{request}/certificate": {"get"},
    "/v1/holds": {"get", "post"},
    "/v1/holds/{hold}": {"get", "patch", "delete"},
    "/v1/holds/{hold}:lift": {"post"},
    "/v1/requests": {"get", "post"},
    "/v1/requests/{request}": {"get"},
    "/v1/requests/{request}:approve": {"post"},
    "/v1/requests/{request}:reject": {"post"},
    "/v1/requests/{request}:extend": {"post"},
    "/v1/requests/{request}:cancel": {"post"},
    "/v1/requests/{request}:complete": {"post"},
    "/v1/requests/{request}:reopen": {"post"},
    "/v1/requests/{request}:ask-identity": {"post"},
    "/v1/requests/{request}/package": {"get"},
    "/v1/requests/{request}/package:download": {"post"},
    "/v1/requests/{request}/package:send": {"post"},
    "/v1/consents:check": {"post"},
    "/v1/consents:import": {"post"},
    "/v1/consents:confirm": {"get", "post"},
    "/v1/processing-record": {"get"},
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
    "/problems": {"get"},
}

LOWER_CAMEL_CASE = re.compile(r"[a-z]+([A-Z][a-z0-9]*)+")


async def _document(node):
    return (await node.call(None, "GET", "/openapi.json")).json()


def _operations(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"{method.upper()} {path}", operation


def _is_typed(schema):
    if schema.get("type") == "object":
        return "properties" in schema or isinstance(schema.get("additionalProperties"), dict)
    return bool({"$ref", "oneOf", "anyOf", "allOf", "items", "type"} & schema.keys())


def _validator(document, name):
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema_rs.validator_for(schema, validate_formats=True)


async def test_the_document_is_openapi_3_1(sqlite_node):
    document = await _document(sqlite_node)
    assert document["openapi"].startswith("3.1")
    jsonschema_rs.validator_for(OPENAPI_31).validate(document)


async def test_the_document_has_every_route_and_no_other(sqlite_node):
    document = await _document(sqlite_node)
    assert {path: set(operations) for path, operations in document["paths"].items()} == ROUTES


async def test_the_document_is_the_same_each_time(sqlite_node):
    assert await _document(sqlite_node) == await _document(sqlite_node)


async def test_every_reference_resolves(sqlite_node):
    document = await _document(sqlite_node)

    def follow(node):
        if isinstance(node, dict):
            target = node.get("$ref")
            if isinstance(target, str):
                schema = document
                for step in target.removeprefix("#/").split("/"):
                    schema = schema[step]
            for value in node.values():
                follow(value)
        elif isinstance(node, list):
            for item in node:
                follow(item)

    follow(document)


async def test_every_operation_describes_its_errors_and_needs_a_bearer(sqlite_node):
    document = await _document(sqlite_node)
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            if not path.startswith("/v1"):
                assert "security" not in operation
                continue
            if path in OPEN:
                assert operation["security"] == []
                continue
            scheme = "session" if path.startswith("/v1/me/") else "bearer"  # data subjects have sessions
            assert operation["security"] == [{scheme: []}], path
            assert {"401", "403", "404", "422", "429", "503"} <= operation["responses"].keys()
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert response["content"].keys() == {"application/problem+json"}, (path, status)


async def test_a_profile_change_describes_the_errors_of_its_revision(sqlite_node):
    document = await _document(sqlite_node)
    patch = document["paths"]["/v1/subjects/{subject}/profile"]["patch"]
    assert {"409", "412", "428"} <= patch["responses"].keys()
    assert "application/merge-patch+json" in patch["requestBody"]["content"]


async def test_every_operation_has_a_unique_id_of_its_own(sqlite_node):
    ids = {name: operation["operationId"] for name, operation in _operations(await _document(sqlite_node))}
    assert len(set(ids.values())) == len(ids)
    assert [name for name, value in ids.items() if not LOWER_CAMEL_CASE.fullmatch(value)] == []


async def test_every_json_answer_has_a_schema(sqlite_node):
    untyped = {
        name
        for name, operation in _operations(await _document(sqlite_node))
        for status, response in operation["responses"].items()
        if status < "300"
        and not all(
            _is_typed(content["schema"])
            for media_type, content in response.get("content", {}).items()
            if media_type.endswith("json")
        )
    }
    assert untyped == set()


async def test_every_schema_has_a_plain_name(sqlite_node):
    names = (await _document(sqlite_node))["components"]["schemas"]
    assert [name for name in names if "__" in name or name.endswith(("Told", "Ask"))] == []


async def test_the_bodies_of_a_read_are_described_as_they_are_parsed():
    described = ReadRequest.model_fields.keys() | BatchReadRequest.model_fields.keys()
    assert described == set(ReadBody.__struct_fields__)


async def test_answers_with_raw_values_match_their_schemas(sqlite_node):
    """Answers of read, search and list are not built from the views that describe them."""
    node, document = sqlite_node, await _document(sqlite_node)
    fields, purpose = ["name", "email.masked", "language"], "customer-support"
    ada = await node.create(external_ids={"shop": "4711"})
    bare = await node.create({"name": "Grace Hopper"})
    bought = {"order": "A-1", "amount": "1.00", "currency": "EUR"}
    for more in ({}, {"occurred_at": "2026-01-05T09:00:00Z"}):
        created = await node.append("sales", ada, "purchase", bought, "order-fulfilment", **more)
        assert created.status_code == 201, created.text

    one = await node.read("support", bare, fields, purpose)
    _validator(document, "ReadResult").validate(one.json())
    assert one.json()["denied"]["language"]["code"] == "no-value"
    batch = await node.post("support", "/v1/read", {"subjects": [ada, bare], "fields": fields, "purpose": purpose})
    _validator(document, "BatchReadResult").validate(batch.json())
    answer = await node.post(
        "support", "/v1/subjects:search", {"match": {"email": "ada@example.org"}, "fields": fields, "purpose": purpose}
    )
    _validator(document, "SearchResult").validate(answer.json())
    assert answer.json()["results"]
    how = {"fields": ["order", "amount"], "purpose": "order-fulfilment", "limit": 1}
    page = await node.post("fulfilment", f"/v1/subjects/{ada}/records/purchase:read", how)
    _validator(document, "RecordPage").validate(page.json())
    assert page.json()["next"]
    denied = await node.read("marketing", ada, ["name"], "order-fulfilment")
    assert denied.status_code == 403
    _validator(document, "Problem").validate(denied.json())


async def test_the_examples_are_valid(sqlite_node):
    document = await _document(sqlite_node)
    read = document["components"]["schemas"]["ReadRequest"]
    for example in read["examples"]:
        jsonschema_rs.validator_for(read).validate(example)
    profile = NewSubject.model_json_schema()["properties"]["profile"]["examples"][0]
    created = await sqlite_node.post("sales", "/v1/subjects", {"profile": profile, "purpose": "order-fulfilment"})
    assert created.status_code == 201


async def test_a_merge_patch_may_have_its_own_media_type(sqlite_node):
    subject = await sqlite_node.create()
    headers = {"If-Match": '"1"', "content-type": "application/merge-patch+json"}
    path = f"/v1/subjects/{subject}/profile"
    content = b'{"name": "Ada King", "purpose": "order-fulfilment", "source": "letter"}'
    changed = await sqlite_node.call("sales", "PATCH", path, content=content, headers=headers)
    assert changed.json() == {"id": subject, "revision": 2}
