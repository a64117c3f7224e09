"""Without a durable audit entry no value is returned, whatever fails in the audit log or a database."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import asynccontextmanager, closing
from uuid import UUID

import asyncpg
import pytest

from tests.vaults import problem
from vault.errors import Unavailable

SECRETS = ("Ada", "Lovelace", "ada@example.org", "7946")
NEW = {"profile": {"name": "New"}, "external_ids": {"shop": "9"}, "purpose": "order-fulfilment"}
SEARCH = {"match": {"email": "ada@example.org"}, "fields": ["name"], "purpose": "customer-support"}
QUICK = {"database_timeout": 0.6, "audit_deadline": 0.4}
"""Deadlines in seconds that keep these tests short."""


def _calls(subject):
    """One call for every operation that returns a value or makes a change."""
    one = f"/v1/subjects/{subject}"
    buy = {"fields": {"amount": "1.00"}, "purpose": "order-fulfilment"}
    return [
        ("support", "POST", "/v1/read", {"subject": subject, "fields": ["name"], "purpose": "customer-support"}),
        ("support", "POST", "/v1/read", {"subjects": [subject], "fields": ["name"], "purpose": "customer-support"}),
        ("support", "POST", "/v1/subjects:search", SEARCH),
        ("fulfilment", "POST", f"{one}/records/purchase:read", {"fields": ["amount"], "purpose": "order-fulfilment"}),
        ("support", "GET", one, None),
        ("support", "POST", "/v1/decisions:explain", {"fields": ["name"], "purpose": "customer-support"}),
        ("dpo", "GET", "/v1/audit/entries", None),
        ("dpo", "GET", "/v1/catalogue", None),
        ("sales", "POST", "/v1/subjects", NEW),
        ("sales", "POST", "/v1/subjects:upsert", NEW),
        ("sales", "PATCH", f"{one}/profile?purpose=order-fulfilment", {"name": "New"}),
        ("sales", "POST", f"{one}/records/purchase", buy),
        ("support", "POST", f"{one}/consents", {"purpose": "direct-marketing", "decision": "withdrawn"}),
        ("support", "GET", f"{one}/consents", None),
        ("support", "POST", f"{one}/objections", {"purpose": "direct-marketing"}),
        ("support", "POST", "/v1/consents:check", {"subjects": [subject], "purposes": ["order-fulfilment"]}),
        ("dpo", "POST", f"{one}/restriction:lift", {}),
        ("dpo", "POST", f"{one}/fields:verify", {"fields": ["name"], "purpose": "subject-rights"}),
        ("dpo", "POST", f"{one}/disputes", {"fields": ["name"], "statement": "not mine"}),
        ("dpo", "GET", f"{one}/rectifications", None),
        (None, "POST", "/v1/consents:confirm", {"token": "x"}),
        # Denials and failures too: they are entries like any other.
        ("support", "POST", "/v1/read", {"subject": subject, "fields": ["email"], "purpose": "customer-support"}),
        ("support", "POST", "/v1/read", {"subject": subject, "fields": ["shoe"], "purpose": "customer-support"}),
        ("support", "GET", "/v1/audit/entries", None),
        (None, "GET", "/v1/catalogue", None),
    ]


async def _all_stay_inside(node, subject):
    for role, method, path, body in _calls(subject):
        headers = {"If-Match": '"1"'} if method == "PATCH" else {}
        began = time.monotonic()
        answer = await node.call(role, method, path, body, headers=headers)
        took = time.monotonic() - began
        response = problem(answer, 503, answer.json()["code"])
        assert response["code"] in {"audit-unavailable", "unavailable"}, (path, response)
        assert int(answer.headers["retry-after"]) >= 1
        assert not any(secret in answer.text for secret in SECRETS), path
        assert took < 5, (path, took)


async def _warm(node):
    """Make a subject and call every operation once to fill the caches."""
    subject = await node.create()
    await node.append("sales", subject, "purchase", {"amount": "1.00"}, "order-fulfilment")
    for role, method, path, body in _calls(subject):
        if method in {"GET", "POST"} and body is not NEW:
            await node.call(role, method, path, body)
    return subject


async def test_a_missing_audit_log_fails_every_call(place, clock):
    async with place.node(clock, **QUICK) as node:
        subject = await _warm(node)
        rows = await _rows(node)
        await node.sql("ALTER TABLE audit_entry RENAME TO hidden")
        await _all_stay_inside(node, subject)
        await node.sql("ALTER TABLE hidden RENAME TO audit_entry")
        assert await _rows(node) == rows  # no write went through without its entry
        assert (await node.read("support", subject, ["name"], "customer-support")).status_code == 200


async def test_an_audit_log_without_its_subject_index_fails_every_call(place, clock):
    async with place.node(clock, **QUICK) as node:
        subject = await _warm(node)
        before = await node.count()
        await node.sql("ALTER TABLE audit_subject RENAME TO hidden")
        answer = await node.read("support", subject, ["name"], "customer-support")
        problem(answer, 503, "audit-unavailable")
        await node.sql("ALTER TABLE hidden RENAME TO audit_subject")
        assert await node.count() == before


async def _rows(node):
    counted = {}
    for table in ("subject", "record", "external_ref", "blind_index", "consent_event"):
        ((counted[table],),) = await node.sql(f"SELECT count(*) FROM {table}")
    return counted


async def test_a_locked_sqlite_database_fails_every_call(sqlite_place, clock):
    async with sqlite_place.node(clock, **QUICK) as node:
        subject = await _warm(node)
        rows = await _rows(node)
        with closing(sqlite3.connect(sqlite_place.folder / "data.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await _all_stay_inside(node, subject)
            other.execute("ROLLBACK")
        assert await _rows(node) == rows
        assert (await node.read("support", subject, ["name"], "customer-support")).status_code == 200


async def test_concurrent_calls_on_a_locked_log_fail_within_one_deadline(sqlite_place, clock):
    async with sqlite_place.node(clock, **QUICK) as node:
        subject = await _warm(node)
        with closing(sqlite3.connect(sqlite_place.folder / "data.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            answers = await asyncio.gather(
                *(node.read("support", subject, ["name"], "customer-support") for _ in range(20))
            )
            assert time.monotonic() - began < 3
            other.execute("ROLLBACK")
        assert {answer.status_code for answer in answers} == {503}


@pytest.mark.parametrize("file", ["data.sqlite", "keys.sqlite"])
async def test_a_missing_database_file_fails_every_call(sqlite_place, clock, file):
    async with sqlite_place.node(clock, **QUICK) as node:
        subject = await _warm(node)
        node.services.keyring.clear()
        (sqlite_place.folder / file).rename(sqlite_place.folder / "moved")
        read = await node.read("support", subject, ["name"], "customer-support")
        assert problem(read, 503, read.json()["code"])["code"] in {"unavailable", "audit-unavailable"}
        assert not any(secret in read.text for secret in SECRETS)
        problem(await node.call(None, "GET", "/readyz"), 503, "unavailable")
        assert (await node.call(None, "GET", "/healthz")).status_code == 200
        (sqlite_place.folder / "moved").rename(sqlite_place.folder / file)
        assert (await node.call(None, "GET", "/readyz")).status_code == 200
        assert (await node.read("support", subject, ["name"], "customer-support")).status_code == 200


async def test_calls_fail_while_postgresql_is_down_and_succeed_afterwards(postgres_place, clock, postgres_uri):
    async with postgres_place.node(clock, **QUICK) as node:
        subject = await _warm(node)
        name = postgres_place.urls["database_url"].partition("/vault_")[2].partition("?")[0]
        name = f"vault_{name}"
        other = await asyncpg.connect(postgres_uri)
        try:
            await other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            await _all_stay_inside(node, subject)
            problem(await node.call(None, "GET", "/readyz"), 503, "unavailable")
            assert (await node.call(None, "GET", "/healthz")).status_code == 200
        finally:
            await other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await other.close()
        assert (await node.read("support", subject, ["name"], "customer-support")).status_code == 200
        assert (await node.call(None, "GET", "/readyz")).status_code == 200


async def test_a_blocked_audit_table_on_postgresql_fails_every_call(postgres_place, clock, postgres_uri):
    async with postgres_place.node(clock, **QUICK) as node:
        subject = await _warm(node)
        rows = await _rows(node)
        other = await asyncpg.connect(postgres_place.urls["database_url"])
        try:
            held = other.transaction()
            await held.start()
            await other.execute("LOCK TABLE audit_entry IN ACCESS EXCLUSIVE MODE")
            for role, method, path, body in _calls(subject):
                if path.startswith("/v1/audit"):
                    continue  # who reads the log itself waits for it longer
                headers = {"If-Match": '"1"'} if method == "PATCH" else {}
                began = time.monotonic()
                answer = await node.call(role, method, path, body, headers=headers)
                assert time.monotonic() - began < 4, path
                assert answer.json()["code"] in {"audit-unavailable", "unavailable"}, (path, answer.text)
                assert answer.status_code == 503
                assert not any(secret in answer.text for secret in SECRETS)
            await held.rollback()
        finally:
            await other.close()
        assert (await node.read("support", subject, ["name"], "customer-support")).status_code == 200
        assert await _rows(node) == rows


async def test_a_malformed_audit_entry_prevents_the_answer(sqlite_node):
    """If a bug puts a value that is not on the allow-list into an entry, no value is returned either."""
    subject = await sqlite_node.create()
    created = sqlite_node.services.audit_log.entry
    sqlite_node.services.audit_log.entry = lambda **facts: created(**{**facts, "code": "Not A Code"})
    answer = await sqlite_node.read("support", subject, ["name"], "customer-support")
    problem(answer, 500, "audit-entry-refused")
    assert not any(secret in answer.text for secret in SECRETS)


async def test_a_commit_of_unknown_outcome_keeps_the_keys(node):
    """The database may have committed a new subject and failed before it answered: the keys must be kept."""
    real = node.services.data.transaction

    @asynccontextmanager
    async def committed_but_not_told():
        async with real() as connection:
            yield connection
        raise Unavailable("the line was cut")

    headers = {"Idempotency-Key": "k"}
    body = {"profile": {"name": "Ada Lovelace"}, "purpose": "order-fulfilment"}
    # From here on it is known who calls, and some of its writes are leased.
    await node.read("sales", UUID(int=1), ["name"], "customer-support")
    await node.post("sales", "/v1/subjects", {})
    begun = 0

    def transactions():
        # The first is the idempotency key's, the second the customer's.
        nonlocal begun
        begun += 1
        return committed_but_not_told() if begun == 2 else real()

    node.services.data.transaction = transactions
    answer = await node.post("sales", "/v1/subjects", body, headers=headers)
    node.services.data.transaction = real
    assert answer.status_code == 503, answer.text
    again = await node.post("sales", "/v1/subjects", body, headers=headers)
    assert again.status_code == 201
    assert again.headers["idempotent-replayed"] == "true"
    seen = await node.read("support", again.json()["id"], ["name"], "customer-support")
    assert seen.json()["fields"] == {"name": "Ada Lovelace"}
