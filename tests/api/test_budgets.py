"""Whatever changes something spends the caller's budget of writes, refused and invalid calls too."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest

from tests.vaults import problem
from vault.api.dependencies import READING

DOCUMENT = json.loads((Path(__file__).parents[1] / "golden" / "openapi.json").read_text())
OPERATIONS = {
    operation["operationId"]: (method.upper(), path)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if method != "get" and path.startswith("/v1/")
}
WITHOUT_APP = {name for name, (_method, path) in OPERATIONS.items() if path.startswith("/v1/me/")} | {"confirmConsent"}
"""The calls of people: each person has a pace of her own, and who has no session a window of the vault's."""
READS = READING | {"readFields"}
WRITES = sorted(OPERATIONS.keys() - READS - WITHOUT_APP)


async def call(node, role, name):
    method, path = OPERATIONS[name]
    names = {"collection": "purchase"}
    parts = [names.get(part[1:-1], str(uuid4())) if part.startswith("{") else part for part in _parts(path)]
    return await node.call(role, method, "".join(parts), {})


def _parts(path):
    return [part for piece in path.split("{") for part in _braced(piece)]


def _braced(piece):
    name, closing, rest = piece.partition("}")
    return ["{" + name + "}", rest] if closing else [piece]


@pytest.fixture
async def strict(place, clock):
    async with place.node(clock, writes_per_minute=1) as node:
        yield node


def test_what_reads_is_named_by_operations_that_exist():
    assert OPERATIONS.keys() > READING
    assert len(WRITES) > 30


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_is_refused_beyond_the_budget_of_its_principal(sqlite_place, clock, name):
    async with sqlite_place.node(clock, writes_per_minute=1) as node:
        first = await call(node, "sales", name)
        assert first.status_code != 429
        async with node.new_entries() as made:
            for _ in range(3):
                problem(await call(node, "sales", name), 429, "rate-limited")
        assert [(entry.action, entry.decision, entry.code) for entry in made] == [("write", "failed", "rate-limited")]
        assert (await call(node, "finance", name)).status_code != 429
        clock.advance(minutes=1)
        assert (await call(node, "sales", name)).status_code != 429


async def test_all_writes_of_a_principal_share_one_budget_which_reads_leave_alone(strict):
    for name in sorted(READS):
        assert (await call(strict, "sales", name)).status_code != 429, name
    assert (await call(strict, "sales", WRITES[0])).status_code != 429
    for name in WRITES:
        problem(await call(strict, "sales", name), 429, "rate-limited")
