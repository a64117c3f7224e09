"""What arrives at the door malformed, too large, too late or in disguise."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.vaults import problem
from vault.api.app import create_app

READ, ONE, SEARCH = "/v1/read", "/v1/subjects", "/v1/subjects:search"
JSON = {"content-type": "application/json"}
BODIES = {
    "empty": b"",
    "cut off": b'{"subject": ',
    "not JSON": b"subject=1",
    "a list": b"[]",
    "null": b"null",
    "a number": b"1e999",
    "invalid UTF-8": b'{"purpose": "\xff\xfe"}',
    "UTF-16": '{"purpose": "x"}'.encode("utf-16"),
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep in a known key": b'{"fields":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "a huge number": b'{"fields": ' + b"9" * 10_000 + b"}",
    "NaN": b'{"fields": NaN}',
    "lone surrogate": b'{"purpose": "\\ud800", "fields": ["\\udfff"]}',
    "NUL": b'{"purpose": "\\u0000", "fields": []}',
    "trailing": b"{} {}",
    "byte order mark": b"\xef\xbb\xbf{}",
}


@pytest.mark.parametrize("path", [READ, ONE, SEARCH, "/v1/decisions:explain"])
async def test_a_malformed_body_is_a_422_problem(sqlite_node, path):
    for what, content in BODIES.items():
        answer = await sqlite_node.post("support", path, content=content, headers=JSON)
        body = problem(answer, 422, answer.json()["code"])
        known = {"invalid-json", "invalid-body", "unknown-field", "unknown-purpose", "invalid-fields"}
        assert body["code"] in known, what
        assert len(answer.content) < 2_000, what


async def test_a_deep_value_is_refused_where_it_would_be_merged(sqlite_node):
    subject = await sqlite_node.create()
    for depth in (50, 200, 300, 400, 500, 700, 900, 960):
        deep = b'{"address":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        path, headers = f"/v1/subjects/{subject}/profile?purpose=order-fulfilment", {**JSON, "If-Match": '"1"'}
        answer = await sqlite_node.call("sales", "PATCH", path, content=deep, headers=headers)
        assert answer.status_code == 422, (depth, answer.text)
        deep = b'{"purpose": "order-fulfilment", "profile": ' + deep + b"}"
        answer = await sqlite_node.post("sales", "/v1/subjects", content=deep, headers=JSON)
        assert answer.status_code == 422, (depth, answer.text)


CANARY = "kanarienvogel"


REFUSED = [
    ("POST", READ, {"subject": CANARY, "fields": [CANARY], "purpose": CANARY}),
    ("POST", READ, {"subject": str(uuid4()), "fields": [CANARY], "purpose": "customer-support"}),
    ("POST", READ, {"subject": str(uuid4()), "fields": ["name"], "purpose": CANARY}),
    ("POST", READ, {CANARY: 1}),
    ("POST", READ, {"fields": [{CANARY: 1}], "purpose": "x"}),
    ("POST", READ, {"fields": {CANARY: 1}, "purpose": "x"}),
    ("POST", ONE, {"profile": {CANARY: CANARY}, "purpose": "order-fulfilment"}),
    ("POST", ONE, {"profile": {"email": CANARY}, "purpose": "order-fulfilment"}),
    ("POST", ONE, {"profile": {"address": {CANARY: CANARY}}, "purpose": "order-fulfilment"}),
    ("POST", ONE, {"profile": {"name": "x"}, "external_ids": {CANARY: ""}, "purpose": "order-fulfilment"}),
    ("POST", ONE, {"profile": {"name": "x"}, "external_ids": {CANARY + "!": "1"}, "purpose": "order-fulfilment"}),
    ("POST", ONE, {"profile": {"name": "x"}, "source": CANARY + "\u00e9", "purpose": "order-fulfilment"}),
    ("POST", ONE, {"profile": {"name": "x"}, "purpose": CANARY}),
    ("POST", ONE, {"profile": {"name": "x"}, CANARY: 1, "purpose": "order-fulfilment"}),
    ("POST", ONE, {"profile": CANARY, "purpose": "order-fulfilment"}),
    ("POST", SEARCH, {"match": {CANARY: CANARY}, "purpose": "customer-support"}),
    ("POST", SEARCH, {"match": {"email": CANARY}, "purpose": "customer-support"}),
    ("POST", SEARCH, {"match": {"email": {CANARY: CANARY}}, "purpose": "customer-support"}),
    ("POST", SEARCH, {"match": {"phone": {"last_4": CANARY}}, "purpose": "customer-support"}),
    ("POST", SEARCH, {"match": {"email": "a@example.org"}, "purpose": "customer-support", "limit": CANARY}),
    ("POST", "/v1/decisions:explain", {"fields": [CANARY], "purpose": CANARY, "action": CANARY}),
    ("POST", f"/v1/subjects/{uuid4()}/records/{CANARY}", {"fields": {CANARY: 1}, "purpose": CANARY}),
    ("POST", f"/v1/subjects/{uuid4()}/records/purchase", {"fields": {CANARY: 1}, "purpose": "order-fulfilment"}),
    ("POST", f"/v1/subjects/{CANARY}/records/purchase", {"fields": {"amount": 1}, "purpose": "order-fulfilment"}),
    ("POST", f"/v1/subjects/{uuid4()}/records/{CANARY}:read", {"fields": [CANARY], "purpose": CANARY}),
    (
        "POST",
        f"/v1/subjects/{uuid4()}/records/purchase:read",
        {"fields": ["amount"], "purpose": "order-fulfilment", "cursor": CANARY},
    ),
    ("PATCH", f"/v1/subjects/{uuid4()}/profile?purpose={CANARY}", {"name": "x"}),
    ("PATCH", f"/v1/subjects/{uuid4()}/profile", {CANARY: "x", "purpose": "order-fulfilment"}),
    ("GET", f"/v1/subjects/{CANARY}", None),
    ("GET", f"/v1/audit/entries?subject={CANARY}&limit={CANARY}", None),
    ("GET", f"/{CANARY}", None),
    ("GET", f"/v1/subjects/{uuid4()}/{CANARY}/", None),
    ("GET", f"/v1/catalogue/?{CANARY}", None),
    ("DELETE", f"/v1/subjects/{uuid4()}?{CANARY}", None),
]


async def test_no_problem_repeats_the_input(sqlite_node):
    for method, path, body in REFUSED:
        sent = {"Idempotency-Key": CANARY * 20} if path == ONE and "name" in str(body) else {}
        answer = await sqlite_node.call("sales", method, path, body, headers=sent)
        assert 400 <= answer.status_code < 500, (path, body, answer.text)
        problem(answer, answer.status_code, answer.json()["code"])
        assert CANARY not in answer.text, (path, body)
        assert CANARY not in str(answer.headers), (path, body)


@pytest.mark.parametrize("path", [READ, ONE])
async def test_unknown_keys_are_refused(sqlite_node, path):
    good = {"purpose": "order-fulfilment", **({"profile": {"name": "x"}} if path == ONE else {"fields": ["name"]})}
    problem(await sqlite_node.post("sales", path, {**good, "purposes": "x"}), 422, "invalid-body")


@pytest.mark.parametrize("both", [{}, {"subject": str(uuid4()), "subjects": [str(uuid4())]}])
async def test_a_read_names_one_subject_or_several(sqlite_node, both):
    body = {"fields": ["name"], "purpose": "customer-support", **both}
    problem(await sqlite_node.post("support", READ, body), 422, "invalid-body")


async def test_a_read_with_duplicate_keys_is_refused(sqlite_node):
    """RFC 8259 §4 leaves open which one counts. No part of the vault may see another one than the part that decides."""
    subject = await sqlite_node.create()
    content = (
        f'{{"subject": "{subject}", "fields": ["name"], "purpose": "customer-support", "fields": ["email"],'
        '"purpose": "service-analytics"}'
    )
    problem(await sqlite_node.post("support", READ, content=content.encode(), headers=JSON), 422, "invalid-json")


async def test_one_field_under_two_names_is_shown_under_both(sqlite_node):
    subject = await sqlite_node.create()
    ask = {"subject": subject, "fields": ["email", "profile.email", "name"], "purpose": "order-fulfilment"}
    fields = (await sqlite_node.post("fulfilment", READ, json=ask)).json()["fields"]
    assert fields["email"] == fields["profile.email"] == "ada@example.org"
    assert fields["name"] == "Ada Lovelace"


DISGUISES = [
    "Email", "EMAIL", "email ", " email", "email.", ".email", "email\u0000", "\uff45mail", "e\u200bmail", "email\u00ad",
    "profile..email", "profile.email.", "profile.email.clear.", "profile.email.Clear", "PROFILE.email", "profile/email",
    "email.clear.clear", "email%2eclear", "ema\u0456l", "email\n", "*", "profile.*", "profile", "email,name", "",
    "vault:audit", "__class__", "profile.email.__class__", "email\ud800", "e" * 200,
]  # fmt: skip


async def test_a_similar_field_name_is_unknown(sqlite_node):
    subject = await sqlite_node.create()
    for name in DISGUISES:
        for role, purpose in (("support", "customer-support"), ("fulfilment", "order-fulfilment")):
            content = json.dumps({"subject": subject, "fields": [name, "name"], "purpose": purpose}).encode()
            answer = await sqlite_node.post(role, READ, content=content, headers=JSON)
            problem(answer, 422, answer.json()["code"])
            assert answer.json()["code"] in {"unknown-field", "invalid-json", "invalid-body"}, name
            assert "lovelace" not in answer.text.lower()
            assert "ada@" not in answer.text.lower()  # a plain "ada" may stand in any hexadecimal id


PURPOSES = [
        "Order-Fulfilment", "ORDER-FULFILMENT", "order-fulfilment ", " order-fulfilment", "order-fulfilment.",
        "order-fulfilment\u0000", "\uff4frder-fulfilment", "order\u2010fulfilment", "order_fulfilment", "*", "",
        "order-fulfilment\n", "o\u0440der-fulfilment", "order-\u200bfulfilment", "x" * 10_000,
]  # fmt: skip


async def test_a_similar_purpose_name_is_unknown(sqlite_node):
    subject = await sqlite_node.create()
    for purpose in PURPOSES:
        answer = await sqlite_node.read("fulfilment", subject, ["name"], purpose)
        problem(answer, 422, "unknown-purpose")
        answer = await sqlite_node.post("fulfilment", SEARCH, {"match": {"name": "Ada Lovelace"}, "purpose": purpose})
        problem(answer, 422, answer.json()["code"])


async def test_a_body_with_a_large_content_length_is_not_read(sqlite_place, clock):
    async with sqlite_place.node(clock, largest_body=2048) as node:
        for path in (READ, ONE, SEARCH):
            body = {"fields": ["x" * 3000], "purpose": "x"}
            problem(await node.post("sales", path, body), 413, "body-too-large")

            async def chunks():
                for _ in range(30):
                    yield b'{"fields": "' + b"x" * 100

            answer = await node.post("sales", path, content=chunks(), headers=JSON)
            problem(answer, 413, "body-too-large")
        fits = await node.create({"name": "x" * 1500})
        assert fits


@pytest.mark.parametrize("length", [b"9" * 5000, b"-1", b"x", b"\xb2", b"", b"18446744073709551616"])
async def test_an_invalid_content_length_is_not_an_internal_error(sqlite_node, length):
    status, body = await _raw(
        sqlite_node, READ, [(b"content-length", length)], [{"type": "http.request", "body": b"{}"}]
    )
    assert status in {413, 422}, body


async def test_a_request_without_a_body_part_is_an_empty_one(sqlite_node):
    for path in (READ, ONE):
        status, _body = await _raw(
            sqlite_node, path, [(b"content-type", b"application/json")], [{"type": "http.request"}]
        )
        assert status == 422


async def test_a_disconnected_client_gets_no_response(sqlite_node):
    messages = [{"type": "http.request", "body": b'{"sub', "more_body": True}, {"type": "http.disconnect"}]
    status, _body = await _raw(sqlite_node, READ, [], messages)
    assert status is None


async def _raw(node, path, headers, messages):
    """Speak ASGI itself: what no client library would send."""
    sent = []
    authorization = node.bearer("support")["Authorization"].encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"vault"), (b"authorization", authorization), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("vault", 80),
    }
    ahead = iter(messages)

    async def receive():
        return next(ahead, {"type": "http.disconnect"})

    async def send(message):
        sent.append(message)

    await create_app(node.vault)(scope, receive, send)
    starts = [message for message in sent if message["type"] == "http.response.start"]
    return (starts[0]["status"] if starts else None), b"".join(message.get("body", b"") for message in sent)


async def test_a_request_past_its_deadline_is_503(sqlite_place, clock):
    async with sqlite_place.node(clock) as patient:
        subject = await patient.create()
    async with sqlite_place.node(clock, request_deadline=0.2) as node:

        async def never(*_args, **_kwargs):
            await asyncio.Event().wait()

        node.services.subjects.find = never
        answer = await node.call("support", "GET", f"/v1/subjects/{subject}")
        problem(answer, 503, "deadline-passed")
        assert int(answer.headers["retry-after"]) >= 1


async def test_unknown_methods_and_paths_are_problems(sqlite_node):
    for method, path in (("GET", READ), ("PUT", ONE), ("DELETE", "/v1/catalogue"), ("POST", "/healthz")):
        answer = await sqlite_node.call("support", method, path)
        problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"]
    for path in ("/", "/v1", "/v1/subjects/", "/v1/read/", "/docs", "/redoc", "/v1/../etc/passwd"):
        problem(await sqlite_node.call("support", "POST", path), 404, "not-found")


DOCUMENT = json.loads((Path(__file__).parents[1] / "golden" / "openapi.json").read_text())


async def test_an_unknown_method_is_told_all_methods_of_the_path(sqlite_node):
    for path, operations in DOCUMENT["paths"].items():
        methods = {method.upper() for method in operations}
        concrete = re.sub(r"\{(\w+)\}", lambda part: "purchase" if part[1] == "collection" else str(uuid4()), path)
        for method in {"GET", "PUT", "OPTIONS"} - methods:
            for role in ("dpo", None):  # a path has its methods for everybody: nobody is asked who they are
                answer = await sqlite_node.call(role, method, concrete)
                assert problem(answer, 405, "method-not-allowed"), path
                assert set(answer.headers["allow"].split(", ")) == methods, (method, path)


async def test_an_id_with_a_colon_that_is_no_action_is_an_id(sqlite_node):
    """The hash of a notice has one, and an action that does not exist is an id that does not."""
    problem(await sqlite_node.call("dpo", "GET", f"/v1/notices/sha256:{'0' * 64}"), 404, "notice-not-found")
    problem(await sqlite_node.call("dpo", "GET", f"/v1/requests/{uuid4()}:bake"), 422, "invalid-body")
    problem(await sqlite_node.call(None, "GET", f"/v1/requests/{uuid4()}:bake"), 401, "not-authenticated")


@pytest.mark.parametrize(
    "time",
    [
        1772712000, 1772712000000, 1772712000.5, "1772712000", "12:00Z", "2026-03-05T12:00Z", "2026-03-05",
        "2026-03-05T12:00:00", "2026-03-05T12:00:00+0530", "2026-03-05T12:00:00\u221205:30", "20260305T120000Z",
        "2026-03-05T12:00:00 UTC", "\u0662\u0660\u0662\u0666-03-05T12:00:00Z", " 2026-03-05T12:00:00Z", True,
    ],
)  # fmt: skip
async def test_a_time_is_written_by_rfc_3339(sqlite_node, time):
    subject = await sqlite_node.create()
    body = {"fields": {"amount": "1.00"}, "purpose": "order-fulfilment"}
    path = f"/v1/subjects/{subject}/records/purchase"
    for key in ("occurred_at", "expires_at"):
        refused = problem(await sqlite_node.post("fulfilment", path, {**body, key: time}), 422, "invalid-body")
        assert refused["errors"][0]["at"] == f"/{key}"
        assert "2026-11-01T09:00:00Z" in refused["errors"][0]["detail"]
    if isinstance(time, str):
        params = {"since": time}
        answer = await sqlite_node.call("dpo", "GET", "/v1/processing-record", params=params)
        problem(answer, 422, "invalid-body")


@pytest.mark.parametrize(
    "time", ["2026-03-05T11:59:59Z", "2026-03-05t11:59:59z", "2026-03-05T17:29:59.123456+05:30", "2026-03-05 11:59:59Z"]
)
async def test_every_form_of_rfc_3339_is_accepted(sqlite_node, time):
    subject = await sqlite_node.create()
    body = {"fields": {"amount": "1.00"}, "purpose": "order-fulfilment", "occurred_at": time}
    answer = await sqlite_node.post("fulfilment", f"/v1/subjects/{subject}/records/purchase", body)
    assert answer.status_code == 201, answer.text


async def test_the_headers_that_every_answer_has(sqlite_node):
    subject = await sqlite_node.create()
    answers = [
        await sqlite_node.read("support", subject, ["name"], "customer-support"),
        await sqlite_node.read("support", subject, ["email"], "customer-support"),
        await sqlite_node.call(None, "GET", "/healthz"),
        await sqlite_node.call(None, "GET", "/nowhere"),
        await sqlite_node.call("dpo", "GET", "/v1/catalogue"),
    ]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Request-Id": "0190A3c2-7f55-7c1e-8d6f-1f2e3d4c5b6a"}, "0190A3c2-7f55-7c1e-8d6f-1f2e3d4c5b6a"),
        ({"X-Request-Id": "0190a3c27f557c1e8d6f1f2e3d4c5b6a"}, "0190a3c27f557c1e8d6f1f2e3d4c5b6a"),
        (
            {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        (
            {
                "X-Request-Id": "0190a3c27f557c1e8d6f1f2e3d4c5b6a",
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            },
            "0190a3c27f557c1e8d6f1f2e3d4c5b6a",
        ),
        (
            {
                "X-Request-Id": "customer-4711",
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            },
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        ({"X-Request-Id": "abc-123"}, None),
        ({"X-Request-Id": "4711"}, None),
        ({"X-Request-Id": "Zebulon-Quixotrix-1985-12-10-447700900123"}, None),
        ({"X-Request-Id": "447700900123-1985-12-10"}, None),
        ({"X-Request-Id": "0190a3c2-7f55-7c1e-8d6f1f2e3d4c5b6a"}, None),
        ({"X-Request-Id": "0190a3c27f557c1e8d6f1f2e3d4c5b6a1"}, None),
        ({"X-Request-Id": "ada@example.org"}, None),
        ({"X-Request-Id": "x" * 65}, None),
        ({"traceparent": "00-ADA-x-01"}, None),
        ({}, None),
    ],
)
async def test_only_a_uuid_or_32_hex_digits_of_the_caller_is_the_request_id(sqlite_node, headers, expected):
    answer = await sqlite_node.read("support", uuid4(), ["email"], "customer-support", headers=headers)
    shown = answer.json()["request_id"]
    assert shown == expected if expected else shown not in headers.values()
    assert (await sqlite_node.entries())[-1].request == shown


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YWRhOmFkYQ==",
        "Bearer cdv_1_2",
        "bearer x.y.z",
        "Bearer " + "x" * 20_000,
        "Bearer \u00e9",
    ],
)
async def test_a_missing_or_invalid_bearer_is_401(sqlite_node, authorization):
    for method, path in (("POST", READ), ("GET", "/v1/catalogue")):
        headers = [(b"authorization", authorization.encode("latin-1"))]
        body = {"content": b'{"fields": ["name"], "purpose": "customer-support"}'} if method == "POST" else {}
        answer = await sqlite_node.http.request(method, path, headers=httpx.Headers(headers), **body)
        problem(answer, 401, "not-authenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer ")


async def test_the_bearer_scheme_is_case_insensitive(sqlite_node):
    subject = await sqlite_node.create()
    for word in ("bearer", "BEARER", "Bearer"):
        headers = {"Authorization": f"{word} {sqlite_node.place.keys['default', 'support']}"}
        answer = await sqlite_node.read(None, subject, ["name"], "customer-support", headers=headers)
        assert answer.status_code == 200
        assert (await sqlite_node.call(None, "GET", "/v1/purposes", headers=headers)).status_code == 200
