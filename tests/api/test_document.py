"""The OpenAPI document: valid, whole, and true."""

from __future__ import annotations

import jsonschema_rs
from schemathesis.specs.openapi.definitions import OPENAPI_31

from vault.api.schemas.subjects import NewSubject

OPEN = {"/v1/consents:confirm", "/v1/me/sessions", "/v1/me/sessions:verify"}
"""Nobody needs to be signed in for these: a token or a code from a letter is all that they take."""
ROUTES = {
    "/v1/read": {"post"},
    "/v1/subjects": {"post"},
    "/v1/subjects:upsert": {"post"},
    "/v1/subjects:search": {"post"},
    "/v1/subjects:merge": {"post"},
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


async def _document(node):
    return (await node.call(None, "GET", "/openapi.json")).json()


async def test_it_is_openapi_3_1(sqlite_node):
    document = await _document(sqlite_node)
    assert document["openapi"].startswith("3.1")
    jsonschema_rs.validator_for(OPENAPI_31).validate(document)


async def test_it_has_every_route_and_no_other(sqlite_node):
    document = await _document(sqlite_node)
    assert {path: set(operations) for path, operations in document["paths"].items()} == ROUTES


async def test_it_can_be_asked_for_again(sqlite_node):
    assert await _document(sqlite_node) == await _document(sqlite_node)


async def test_every_reference_leads_somewhere(sqlite_node):
    document = await _document(sqlite_node)

    def follow(thing):
        if isinstance(thing, dict):
            target = thing.get("$ref")
            if isinstance(target, str):
                place = document
                for step in target.removeprefix("#/").split("/"):
                    place = place[step]
            for each in thing.values():
                follow(each)
        elif isinstance(thing, list):
            for each in thing:
                follow(each)

    follow(document)


async def test_every_operation_tells_its_refusals_and_needs_a_bearer(sqlite_node):
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
            own = path.startswith("/v1/me/")  # people come with a session of their own
            assert operation["security"] == [{"session": []} if own else {"bearer": []}], path
            assert {"401", "403", "404", "422", "429", "503"} <= operation["responses"].keys()
            for status, told in operation["responses"].items():
                if status >= "400":
                    assert told["content"].keys() == {"application/problem+json"}, (path, status)


async def test_a_change_tells_what_can_be_wrong_with_its_revision(sqlite_node):
    document = await _document(sqlite_node)
    patch = document["paths"]["/v1/subjects/{subject}/profile"]["patch"]
    assert {"409", "412", "428"} <= patch["responses"].keys()
    assert "application/merge-patch+json" in patch["requestBody"]["content"]


async def test_the_examples_are_valid(sqlite_node):
    document = await _document(sqlite_node)
    read = document["paths"]["/v1/read"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    for example in read["examples"]:
        jsonschema_rs.validator_for(read).validate(example)
    profile = NewSubject.model_json_schema()["properties"]["profile"]["examples"][0]
    made = await sqlite_node.post("sales", "/v1/subjects", {"profile": profile, "purpose": "order-fulfilment"})
    assert made.status_code == 201


async def test_a_merge_patch_may_say_that_it_is_one(sqlite_node):
    subject = await sqlite_node.create()
    headers = {"If-Match": '"1"', "content-type": "application/merge-patch+json"}
    path = f"/v1/subjects/{subject}/profile"
    content = b'{"name": "Ada King", "purpose": "order-fulfilment", "source": "letter"}'
    changed = await sqlite_node.call("sales", "PATCH", path, content=content, headers=headers)
    assert changed.json() == {"id": subject, "revision": 2}
