"""Requests generated from the OpenAPI document and the catalogue: none causes a server error."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support import FixedClock
from tests.vaults import ADA

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
FEW = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,  # the same requests each time: a failure here is a failure everywhere
    suppress_health_check=list(HealthCheck),
    phases=[hypothesis.Phase.generate],
    database=None,
)
GENEROUS = {"reads_per_minute": 10_000_000, "searches_per_minute": 1_000_000, "writes_per_minute": 1_000_000}
ROLES = ("sales", "support", "dpo", "operator")


class Server:
    """A node on an event loop of its own, for synchronous tests."""

    def __init__(self, place):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._opening = place.node(FixedClock(), **GENEROUS)

    def __enter__(self):
        self._thread.start()
        self.node = self.run(self._opening.__aenter__())
        self.subject = self.run(self.node.create(dict(ADA)))
        return self

    def __exit__(self, *_error):
        self.run(self._opening.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@pytest.fixture
def server(sqlite_place):
    with Server(sqlite_place) as server:
        yield server


@contextmanager
def _told(what):
    try:
        yield
    except BaseException as error:
        error.add_note(repr(what)[:2000])
        raise


def _operations(server):
    document = server.run(server.node.call(None, "GET", "/openapi.json")).json()
    schema = schemathesis.openapi.from_dict(document)
    return [operation.ok() for operation in schema.get_all_operations()]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_generated_requests_cause_no_server_error(server, mode):
    tried = sum(_try(server, operation, mode) for operation in _operations(server))
    assert tried > 150


def _try(server, operation, mode):
    """Generate requests, and send each unchanged and again with existing names; the generation is the slow part."""
    tried = 0
    strategy = operation.as_strategy(generation_mode=mode)

    @FEW
    @given(strategy, st.sampled_from(ROLES))
    def check(case, role):
        nonlocal tried
        for steered in (False, True):
            sent = case.as_transport_kwargs(base_url="http://vault")
            if steered:
                _steer(sent, server.subject)
            request = _request(sent, server.node.bearer(role))
            with _told(request):
                answer = server.run(server.node.http.request(**request))
                assert answer.status_code < 500, answer.text
                case.validate_response(answer, checks=CHECKS)
            tried += 1

    try:
        check()
    except hypothesis.errors.Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE
    return tried


def _request(sent, bearer):
    request = {
        "method": sent["method"],
        "url": sent["url"],
        "params": sent.get("params"),
        "headers": _headers(sent, bearer),
    }
    for kind in ("json", "data"):
        if sent.get(kind) is not None:
            form = kind == "data" and isinstance(sent[kind], dict)
            request["json" if kind == "json" else "data" if form else "content"] = sent[kind]
    return request


def _headers(sent, bearer):
    plain = {
        name: value
        for name, value in (sent.get("headers") or {}).items()
        if name.lower() not in {"authorization", "user-agent", "host", "content-length"} and str(value).isascii()
    }
    return {**{name: str(value).replace("\n", "").replace("\r", "") for name, value in plain.items()}, **bearer}


def _steer(sent, subject):
    """Put existing names into a generated request, so that it passes the first checks."""
    body = sent.get("json")
    if isinstance(body, dict):
        if "purpose" in body:
            body["purpose"] = "subject-rights"
        if "decision" in body and "notice" in body:
            body |= {"purpose": "direct-marketing", "notice": "marketing@3", "evidence": "a form"}
        if isinstance(body.get("fields"), list):
            body["fields"] = ["name", "email.masked"]
        if "subject" in body:
            body["subject"] = subject
        if isinstance(body.get("profile"), dict):
            body["profile"] = {"name": "Somebody", **body["profile"]}
    if "/v1/subjects/" in sent["url"]:
        rest = sent["url"].partition("/v1/subjects/")[2].split("/", 1)
        verb = "".join(rest[0].partition(":")[1:])
        sent["url"] = "http://vault/v1/subjects/" + "/".join([subject + verb, *rest[1:]])
        collection = sent["url"].partition("/records/")[2]
        if collection:
            sent["url"] = sent["url"].replace(
                f"/records/{collection}", "/records/purchase" + (":read" if ":read" in collection else "")
            )


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["ada@example.org", "+442079460123", "2020-02-29", "DE75512108001245126199", "12.5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.sampled_from(["prefix", "last_4", "exact", "street", "country"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
MANY = settings(FEW, max_examples=120)


def _send(server, role, method, path, body, **headers):
    # By hand: httpx refuses what JSON does not know (NaN, lone surrogates), and clients send it all the same.
    content = json.dumps(body).encode()
    headers = {"content-type": "application/json", **headers}
    with _told((method, path, content)):
        answer = server.run(server.node.call(role, method, path, content=content, headers=headers))
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
    return answer


def test_any_value_for_any_field_causes_no_server_error(server):
    catalogue = server.node.services.policies.active("default").policy_set.catalogue
    profile = [name for name, field in catalogue.collections["profile"].fields.items() if not field.system]
    many = {
        collection.name: list(collection.fields) for collection in catalogue.collections.values() if collection.many
    }
    one = f"/v1/subjects/{server.subject}"

    @MANY
    @given(st.dictionaries(st.sampled_from(profile), _json, min_size=1, max_size=4), st.integers(0, 3))
    def on_the_profile(values, revision):
        _send(server, "sales", "POST", "/v1/subjects", {"profile": values, "purpose": "loyalty-programme"})
        body = {**values, "purpose": "subject-rights"}
        _send(server, "dpo", "PATCH", f"{one}/profile", body, **{"If-Match": f'"{revision}"'})

    @MANY
    @given(st.sampled_from(sorted(many)), st.data())
    def in_a_record(collection, data):
        fields = data.draw(st.dictionaries(st.sampled_from(many[collection]), _json, min_size=1, max_size=3))
        moments = st.none() | st.sampled_from(
            [
                "2026-01-01T00:00:00Z",
                "0001-01-01T00:00:00+14:00",
                "9999-12-31T23:59:59-14:00",
                "2026-01-01T00:00:00",
                0,
                1e30,
            ]
        )
        body = {"fields": fields, "purpose": "subject-rights"}
        body |= {"occurred_at": data.draw(moments), "expires_at": data.draw(moments)}
        body["external_id"] = data.draw(st.none() | st.text(max_size=5))
        _send(server, "dpo", "POST", f"{one}/records/{collection}", body)

    on_the_profile()
    in_a_record()
    state = server.run(server.node.call("dpo", "GET", one))
    assert state.status_code == 200
    views = [view.name for view in catalogue.views()]
    read = _send(
        server, "dpo", "POST", "/v1/read", {"subject": server.subject, "fields": views, "purpose": "subject-rights"}
    )
    assert read.status_code == 200, read.text


def test_any_search_value_causes_no_server_error(server):
    catalogue = server.node.services.policies.active("default").policy_set.catalogue
    names = [field.whole for field in catalogue.fields()] + ["email", "phone", "name", "email.masked", "shoe"]

    @MANY
    @given(
        st.dictionaries(st.sampled_from(names), _json, min_size=1, max_size=3),
        st.sampled_from(["subject-rights", "customer-support"]),
    )
    def search(match, purpose):
        body = {"match": match, "fields": ["name"], "purpose": purpose}
        _send(server, "dpo" if purpose == "subject-rights" else "support", "POST", "/v1/subjects:search", body)

    search()


def test_any_header_causes_no_server_error(server):
    printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)
    body = {"profile": {"name": "Ada"}, "purpose": "order-fulfilment"}

    @MANY
    @given(
        st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(
                ("Idempotency-Key", "If-Match", "X-Request-Id", "traceparent", "Accept", "Cookie", "Range"), printable
            ),
        ),
        st.sampled_from(["POST", "PATCH", "GET"]),
    )
    def send(headers, method):
        path = {"POST": "/v1/subjects", "PATCH": f"/v1/subjects/{server.subject}/profile", "GET": "/v1/catalogue"}[
            method
        ]
        sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        sent += [(name.encode(), value.encode()) for name, value in server.node.bearer("sales").items()]
        sent.append((b"content-type", b"application/json"))
        given_body = {**body, **body["profile"]} if method == "PATCH" else body
        content = None if method == "GET" else json.dumps(given_body).encode()
        with _told((method, headers)):
            answer = server.run(server.node.http.request(method, path, headers=sent, content=content))
            assert answer.status_code < 500, answer.text

    send()
