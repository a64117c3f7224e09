"""Whatever changes something spends the caller's budget of writes, refused and invalid calls too, and no call appends
entries to the audit log without a limit.
"""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.vaults import problem
from vault.api.dependencies import READING
from vault.audit.refusals import Refusals
from vault.identity.sessions import add_session

DOCUMENT = json.loads((Path(__file__).parents[1] / "golden" / "openapi.json").read_text())
ALL = {
    operation["operationId"]: (method.upper(), path)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if path.startswith("/v1/")
}
OPERATIONS = {name: (method, path) for name, (method, path) in ALL.items() if method != "GET"}
WITHOUT_APP = {name for name, (_method, path) in ALL.items() if path.startswith("/v1/me/")} | {"confirmConsent"}
"""The calls of people: each person has a pace of her own, and who has no session a window of the vault's."""
READS = READING | {"readFields"}
WRITES = sorted(OPERATIONS.keys() - READS - WITHOUT_APP)


BODIES = {
    "readFields": {"subject": str(uuid4()), "fields": ["name"], "purpose": "order-fulfilment"},
    "searchSubjects": {"match": {"name": "Ada"}, "fields": ["name"], "purpose": "order-fulfilment"},
    "listRecords": {"fields": ["amount"], "purpose": "order-fulfilment", "limit": 1},
    "checkConsents": {"subjects": [str(uuid4())], "purposes": ["order-fulfilment"]},
    "explainDecision": {"subject": str(uuid4()), "fields": ["name"], "purpose": "order-fulfilment", "roles": ["dpo"]},
    "downloadEncryptedPackage": {"passphrase": "correct horse battery staple"},
    "downloadMyEncryptedPackage": {"passphrase": "correct horse battery staple"},
    "submitMyRequest": {"kind": "restriction"},
}
"""Bodies that are read, for operations with limits of their own; for others an invalid one counts alike."""


async def call(node, role, name, **how):
    method, path = ALL[name]
    names = {"collection": "purchase"}
    parts = [names.get(part[1:-1], str(uuid4())) if part.startswith("{") else part for part in _parts(path)]
    return await node.call(role, method, "".join(parts), BODIES.get(name, None if method == "GET" else {}), **how)


def _parts(path):
    return [part for piece in path.split("{") for part in _braced(piece)]


def _braced(piece):
    name, closing, rest = piece.partition("}")
    return ["{" + name + "}", rest] if closing else [piece]


ME = sorted(name for name, (_method, path) in ALL.items() if path.startswith("/v1/me/requests"))


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
        async with node.new_entries() as new_entries:
            for _ in range(3):
                problem(await call(node, "sales", name), 429, "rate-limited")
        assert [(entry.action, entry.decision, entry.code) for entry in new_entries] == [
            ("write", "failed", "rate-limited")
        ]
        assert (await call(node, "finance", name)).status_code != 429
        clock.advance(minutes=1)
        assert (await call(node, "sales", name)).status_code != 429


async def test_all_writes_of_a_principal_share_one_budget_which_reads_leave_alone(strict):
    for name in sorted(READS):
        assert (await call(strict, "sales", name)).status_code != 429, name
    assert (await call(strict, "sales", WRITES[0])).status_code != 429
    for name in WRITES:
        problem(await call(strict, "sales", name), 429, "rate-limited")


BUDGET, CALLS, ENTRIES = 6, 12, 2


@pytest.mark.parametrize("name", sorted(ALL.keys() - WITHOUT_APP - {"showConfirmationPage"}))
async def test_no_call_appends_entries_without_a_limit_and_each_refusal_is_counted(sqlite_place, clock, name):
    budgets = dict.fromkeys(("reads_per_minute", "searches_per_minute", "writes_per_minute"), BUDGET)
    async with sqlite_place.node(clock, **budgets) as node:
        log = node.services.audit_log
        for role in ("dpo", "stranger"):
            log.refusals = Refusals(log, clock, most=ENTRIES)
            async with node.new_entries() as new_entries:
                answers = [await call(node, role, name) for _ in range(CALLS)]
                await log.refusals.append_counts(now_too=True)
            assert answers[-1].status_code in {403, 429}
            reply = [body for answer in answers if "audit" in (body := answer.json() if answer.content else {})]
            assert {body["audit"] for body in reply} <= {str(entry.id) for entry in new_entries}
            # One entry says that the budget is used up, one that refusals are counted, and one has the count.
            assert len(new_entries) <= max(BUDGET, ENTRIES + 2) + 1
            refused = [body for body in reply if "code" in body]
            counted = [entry.count for entry in new_entries if entry.decision in {"denied", "failed"}]
            assert sum(counted) == len(refused)


async def test_a_person_appends_entries_at_her_pace(sqlite_place, clock):
    async with sqlite_place.node(clock, searches_per_minute=BUDGET) as node:
        assert len(ME) == 7
        subject = UUID(await node.create())
        async with node.services.data.transaction() as connection:
            _id, opened = await add_session(node.services, connection, "default", subject)
        bearer = {"Authorization": f"Bearer {opened.token}"}
        for name in ME:
            clock.advance(minutes=1)
            async with node.new_entries() as new_entries:
                for _ in range(CALLS):
                    answer = await call(node, None, name, headers=bearer)
            assert answer.status_code == 429, name
            assert len(new_entries) <= BUDGET + 1, name
