"""An interrupted merge loses nothing, and a repeated call completes it."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from tests.merging.test_merge import ADA, TWIN, buy, merge, purchases, read
from tests.vaults import problem
from vault.crypto.keyring import Keyring
from vault.errors import Unavailable
from vault.ids import TenantId
from vault.merging.merge import finish_merges
from vault.storage.database import Database


class Cut(Exception):
    """Stands for the death of the process."""


def cut(monkeypatch, owner, name, *, error=Cut, after=False):
    """Make a step fail once: before its work, or right after it."""
    real = getattr(owner, name)

    async def broken(*args, **kwargs):
        monkeypatch.setattr(owner, name, real)
        if after:
            await real(*args, **kwargs)
        raise error("cut off")

    monkeypatch.setattr(owner, name, broken)


async def two(node):
    survivor, duplicate = await node.create({"name": ADA["name"]}), await node.create(TWIN)
    await buy(node, duplicate)
    return survivor, duplicate


async def is_whole(node, survivor, duplicate):
    """Check that the merge is complete, and that nothing is missing."""
    result = await read(node, survivor, "name", "email", "phone")
    assert result == {"name": ADA["name"], "email": TWIN["email"], "phone": TWIN["phone"]}
    assert len(await purchases(node, survivor)) == 1
    assert await keys_of(node, duplicate) == 0
    assert len(await node.sql("SELECT 1 FROM subject_alias WHERE alias_id = :id", id=UUID(duplicate))) == 1
    merges = [entry for entry in await node.entries() if entry.action == "merge" and entry.decision == "allowed"]
    assert len([item for item in merges if item.code != "replayed"]) == 1


async def keys_of(node, subject):
    return len(await node.sql("SELECT 1 FROM data_key WHERE subject_id = :id", keystore=True, id=UUID(subject)))


@pytest.mark.parametrize(
    ("module", "step"),
    [("reseal", "records_of"), ("records", "take_away"), ("records", "lead_to"), ("consents", "move")],
)
async def test_crash_within_the_transaction_changes_nothing(node, monkeypatch, module, step):
    from vault.consent.personal_data import ConsentData
    from vault.merging import reseal
    from vault.records import personal_data as records

    survivor, duplicate = await two(node)
    cut(monkeypatch, {"reseal": reseal, "records": records, "consents": ConsentData}[module], step, after=True)
    assert (await merge(node, survivor, duplicate)).status_code == 500
    assert await read(node, duplicate, "email") == {"email": TWIN["email"]}
    assert await read(node, survivor, "name") == {"name": ADA["name"]}
    assert await keys_of(node, duplicate) == 1
    assert (await merge(node, survivor, duplicate)).status_code == 201
    await is_whole(node, survivor, duplicate)


async def test_crash_at_the_commit_changes_nothing(node, monkeypatch):
    from vault.audit.log import AuditLog

    survivor, duplicate = await two(node)
    cut(monkeypatch, AuditLog, "append_in", error=Unavailable)
    problem(await merge(node, survivor, duplicate), 503, "unavailable")
    assert await read(node, duplicate, "email") == {"email": TWIN["email"]}
    assert (await merge(node, survivor, duplicate)).status_code == 201
    await is_whole(node, survivor, duplicate)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_repeated_call_completes_an_interrupted_key_destruction(node, monkeypatch, after):
    survivor, duplicate = await two(node)
    cut(monkeypatch, Keyring, "destroy_subject_keys", error=Unavailable, after=after)
    problem(await merge(node, survivor, duplicate), 503, "unavailable")
    assert await keys_of(node, duplicate) == (0 if after else 1)
    problem(await node.read("dpo", duplicate, ["name"], "subject-rights"), 404, "subject-not-found")
    assert (await merge(node, survivor, duplicate)).status_code == 200
    await is_whole(node, survivor, duplicate)


async def test_another_merge_completes_an_interrupted_key_destruction(node, monkeypatch):
    survivor, duplicate = await two(node)
    cut(monkeypatch, Keyring, "destroy_subject_keys")
    assert (await merge(node, survivor, duplicate)).status_code == 500
    assert await keys_of(node, duplicate) == 1
    others = await node.create(), await node.create()
    assert (await merge(node, *others)).status_code == 201
    assert await keys_of(node, duplicate) == 0


async def test_finish_merges_completes_an_interrupted_key_destruction(node, monkeypatch):
    survivor, duplicate = await two(node)
    cut(monkeypatch, Keyring, "destroy_subject_keys")
    await merge(node, survivor, duplicate)
    assert await finish_merges(node.services, TenantId("default")) == 1
    await is_whole(node, survivor, duplicate)


async def test_two_concurrent_calls_merge_once(node):
    survivor, duplicate = await two(node)
    answers = await asyncio.gather(*(merge(node, survivor, duplicate) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers)[:3] == [200, 200, 200]
    assert max(answer.status_code for answer in answers) == 201
    await is_whole(node, survivor, duplicate)


async def test_opposite_concurrent_merges_lose_no_data(node):
    one, other = await two(node)
    answers = await asyncio.gather(merge(node, one, other), merge(node, other, one))
    assert sorted(answer.status_code for answer in answers) == [201, 404]
    (survivor,) = [answer.json()["id"] for answer in answers if answer.status_code == 201]
    assert len(await purchases(node, survivor)) == 1
    assert (await read(node, survivor, "email"))["email"] == TWIN["email"]


async def test_writes_during_a_merge_are_refused_or_moved(node):
    survivor, duplicate = await two(node)
    body = {"fields": {"order": "1"}, "purpose": "order-fulfilment"}
    path = f"/v1/subjects/{duplicate}/records/purchase"
    arriving = [node.post("sales", path, body) for _ in range(10)]
    merged, *answers = await asyncio.gather(merge(node, survivor, duplicate), *arriving)
    assert merged.status_code == 201
    written = sum(answer.status_code == 201 for answer in answers)
    assert {answer.status_code for answer in answers} <= {201, 404}
    assert len(await purchases(node, survivor)) == 1 + written
    assert await node.sql("SELECT 1 FROM record WHERE subject_id = :id", id=UUID(duplicate)) == []


async def test_repeated_call_finds_a_commit_whose_answer_was_lost(node, monkeypatch):
    survivor, duplicate = await two(node)
    await node.post("dpo", "/v1/subjects:merge", {})  # leases writes, so that the next transaction is the merge's
    real = Database.transaction
    lost = []

    def losing(self):
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def opened():
            async with real(self) as connection:
                yield connection
            if not lost and self is node.services.data:
                lost.append(True)
                raise Unavailable("the answer to the commit is lost")

        return opened()

    monkeypatch.setattr(Database, "transaction", losing)
    problem(await merge(node, survivor, duplicate), 503, "unavailable")
    assert (await merge(node, survivor, duplicate)).status_code == 200
    await is_whole(node, survivor, duplicate)


async def test_repeated_call_under_its_idempotency_key_destroys_remaining_keys(node, monkeypatch):
    """An app repeats a call that failed with 503 under the same key: the answer must not claim success too early."""
    survivor, duplicate = await two(node)
    key = {"Idempotency-Key": "merge-1"}
    cut(monkeypatch, Keyring, "destroy_subject_keys", error=Unavailable)
    problem(await merge(node, survivor, duplicate, headers=key), 503, "unavailable")
    assert await keys_of(node, duplicate) == 1
    assert (await merge(node, survivor, duplicate, headers=key)).status_code == 201
    await is_whole(node, survivor, duplicate)
