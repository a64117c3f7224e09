"""Twice the body, path, query or header is at most about twice the work, at every route; counted as in test_linear."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from tests.linear.test_linear import MODULES, MOST, NOT_COUNTED
from tests.linear.work import counted, modules_of
from tests.security.test_control_characters import _subject, _value
from vault.api.app import create_app

pytestmark = pytest.mark.xdist_group("linear")
GENEROUS = {"reads_per_minute": 10_000_000, "searches_per_minute": 1_000_000, "writes_per_minute": 1_000_000}
SMALL = 40_000
"""Work that any request may cost."""
SIZES = (300, 600)


@pytest.fixture(scope="module")
def work():
    with counted(modules_of(*MODULES, but=NOT_COUNTED)) as count:
        yield count


def larger(value, size):
    """Yield the names of bodies that are larger in one place, and the bodies."""
    names = {f"n{number}": 1 for number in range(size)}
    yield "keys", {**value, **names} if isinstance(value, dict) else names
    yield "levels", json.loads('{"a":' * (size // 4) + "1" + "}" * (size // 4))
    for key, item in value.items() if isinstance(value, dict) else ():
        if isinstance(item, str):
            yield f"text {key}", {**value, key: "a\u0301\u0327" + "é b-" * size}
        elif isinstance(item, list) and item:
            yield f"items {key}", {**value, key: item * size}
        elif isinstance(item, dict):
            yield f"keys of {key}", {**value, key: {**item, **names}}
            yield f"texts of {key}", {**value, key: dict.fromkeys(item, "é b-" * size)}


async def test_the_work_for_a_request_grows_with_its_size_only(work, sqlite_place, clock):
    async with sqlite_place.node(clock, **GENEROUS) as node:
        subject = await node.create()
        transport = httpx.ASGITransport(create_app(node.vault))
        document = (await node.call(None, "GET", "/openapi.json")).json()
        slow, bodies = {}, set()
        async with httpx.AsyncClient(transport=transport, base_url="http://vault") as http:

            async def cost(method, address, role="dpo", headers=None, **how):
                before = work.work
                await http.request(method, address, headers={**node.bearer(role), **(headers or {})}, **how)
                return work.work - before

            async def compare(name, once, twice):
                await cost(**once)
                costs = [await cost(**once), await cost(**twice)]
                if costs[1] > MOST * costs[0] + SMALL:
                    slow[name] = costs

            for path, methods in document["paths"].items():
                for verb, operation in methods.items():
                    method = verb.upper()
                    address = path.replace("{subject}", subject).replace("{collection}", "purchase")
                    plain = re.sub(r"\{[^}]*\}", "x", address)
                    long = [re.sub(r"\{[^}]*\}", "x" * size, path) + "?a=" + "a%61," * size for size in SIZES]
                    await compare((method, path, "address"), *({"method": method, "address": each} for each in long))
                    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
                    if content is None:
                        continue
                    bodies.add((method, path))
                    body = _subject(_value(document, "", content["schema"]), subject)
                    both = zip(larger(body, SIZES[0]), larger(body, SIZES[1]), strict=True)
                    for (name, once), (_name, twice) in both:
                        sent = [
                            {"method": method, "address": plain, "content": json.dumps(each)} for each in (once, twice)
                        ]
                        for each in sent:
                            each["headers"] = {"content-type": "application/json", "if-match": '"1"'}
                        await compare((method, path, name), *sent)
            for name in (
                "Authorization",
                "Idempotency-Key",
                "If-Match",
                "X-Request-Id",
                "traceparent",
                "Cookie",
                "Accept",
            ):
                sent = [{name: '"a, b.c;' * size} for size in SIZES]
                body = {"profile": {"name": "Ada"}, "purpose": "order-fulfilment"}
                await compare(
                    ("header", name),
                    *({"method": "POST", "address": "/v1/subjects", "headers": each, "json": body} for each in sent),
                )
        assert len(bodies) > 25
        assert slow == {}
