"""Concurrency: two erasures of one subject, and writes during an erasure."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from tests.erasure.people import ask, certificate, keys_of, rows_of, run, somebody, state_of
from tests.imports.files import PURCHASES, Faults, bring_in, write_csv
from tests.requests.submitting import show, submitted
from tests.vaults import ADA
from vault.catalogue.model import Scope
from vault.erasure.start import begin_erasure, erasure_of
from vault.erasure.workflow import ERASURE_STEPS
from vault.errors import Conflict, Unavailable
from vault.ids import DEFAULT_TENANT
from vault.requests.decide import hand_back


async def test_of_two_concurrent_erasures_one_runs_and_the_other_joins(node):
    subject = await somebody(node)
    requests = [await ask(node, subject) for _ in range(2)]
    await asyncio.gather(*(run(node.services, request) for request in requests))
    one, other = [await erasure_of(node.services, DEFAULT_TENANT, request) for request in requests]
    assert one.id == other.id
    assert len(await node.sql("SELECT 1 FROM erasure")) == 1
    assert (
        len([entry for entry in await node.entries() if entry.action == "erase" and entry.decision == "allowed"]) == 1
    )
    assert await certificate(node, requests[0]) == await certificate(node, requests[1])


async def test_a_second_request_after_the_erasure_gets_the_same_certificate(node):
    subject = await somebody(node)
    first, second = await ask(node, subject), await ask(node, subject)
    await run(node.services, first)
    await run(node.services, second)
    assert await certificate(node, first) == await certificate(node, second)


async def test_concurrent_runs_of_one_job_erase_once(node):
    subject = await somebody(node)
    request = await ask(node, subject)
    await asyncio.gather(*(run(node.services, request) for _ in range(3)))
    assert await keys_of(node, subject) == []
    assert len(await node.sql("SELECT 1 FROM erasure")) == 1


async def test_writes_during_an_erasure_are_erased_or_refused(node):
    subject = await somebody(node)
    request = await ask(node, subject)
    purchase = {"order": "1", "product": "Cup", "amount": "3.00", "currency": "EUR"}
    when = "2010-01-05T12:00:00Z"
    writers = [
        node.append("sales", subject, "purchase", purchase, "order-fulfilment", occurred_at=when) for _ in range(8)
    ]
    changes = [node.patch("sales", subject, {"phone": ADA["phone"]}, "order-fulfilment", '"1"') for _ in range(2)]
    upsert = {"profile": {"name": "Ada"}, "external_ids": {"shop": "4711"}, "purpose": "order-fulfilment"}
    upserts = [node.post("sales", "/v1/subjects:upsert", upsert) for _ in range(2)]
    _none, *answers = await asyncio.gather(run(node.services, request), *writers, *changes, *upserts)
    assert {answer.status_code for answer in answers} <= {200, 201, 404, 409, 412}
    assert await state_of(node, subject) == "erased"
    assert await rows_of(node, "record", subject) == 0
    assert await keys_of(node, subject) == []


async def test_an_import_during_an_erasure_loses_no_other_subject(node, tmp_path):
    others = [await node.create(external_ids={"shop": str(number)}) for number in range(4)]
    subject = await somebody(node)
    request = await ask(node, subject)
    rows = [f"{who},{who}-{n},2010-01-05,1.00" for n in range(30) for who in (4711, 0, 1, 2, 3)]
    file = write_csv(tmp_path / "purchases.csv", "customer,line,at,amount", *rows)
    watcher = Faults()
    await asyncio.gather(
        run(node.services, request), bring_in(node, file, PURCHASES, watcher=watcher, chunk_lines=20, processes=1)
    )
    assert {code for _line, code, _field in watcher.told} <= {"subject-not-found"}
    for other in others:
        assert await rows_of(node, "record", other) == 31
    assert await rows_of(node, "record", subject) == 0
    assert await keys_of(node, subject) == []
    assert len(await node.sql("SELECT 1 FROM subject WHERE id = :id", id=UUID(subject))) == 1


async def test_reads_during_an_erasure_see_everything_or_nothing(node):
    subject = await somebody(node)
    request = await ask(node, subject)
    reads = [node.read("sales", subject, ["name", "email"], "order-fulfilment") for _ in range(10)]
    _none, *answers = await asyncio.gather(run(node.services, request), *reads)
    for answer in answers:
        assert answer.status_code == 404 or answer.json()["fields"] == {"name": ADA["name"], "email": ADA["email"]}


async def test_an_abandoned_erasure_does_not_block_another_one(node):
    """The first erasure was returned to staff before it deleted anything, and its request was then rejected."""
    subject = await somebody(node)
    first = await ask(node, subject, scope=Scope(fields=("profile.phone",)))
    await run(node.services, first, until="take-away")
    second = await ask(node, subject)
    assert await begin_erasure(node.services, DEFAULT_TENANT, second) is not None  # the first is under way: it waits
    await hand_back(node.services, DEFAULT_TENANT, first, code="cannot-open")
    await run(node.services, second)
    assert await state_of(node, subject) == "erased"
    assert (await certificate(node, second))["scope"] == "everything"
    assert len(await node.sql("SELECT 1 FROM erasure")) == 1


async def test_a_dropped_erasure_begins_again_when_its_request_continues(node):
    subject = await somebody(node)
    request = await ask(node, subject)
    await run(node.services, request, until="take-away")
    await node.sql("DELETE FROM erasure")
    steps = dict(ERASURE_STEPS)
    assert await steps["take-away"](node.services, DEFAULT_TENANT, request) is not None
    await run(node.services, request)
    assert await state_of(node, subject) == "erased"


async def test_a_request_behind_an_unproven_erasure_is_refused(node):
    subject = await somebody(node)
    first = await ask(node, subject, scope=Scope(fields=("profile.phone",)))
    await run(node.services, first, until="check")
    await hand_back(node.services, DEFAULT_TENANT, first, code="erasure-not-proven")
    with pytest.raises(Conflict):
        await begin_erasure(node.services, DEFAULT_TENANT, await ask(node, subject))


async def test_a_request_submitted_between_the_locks_keeps_its_text(postgres_place, clock, monkeypatch):
    """Its text was sealed with the key that the partial erasure is about to destroy."""
    async with postgres_place.node(clock) as node:
        subject = await somebody(node)
        request = await ask(node, subject, scope=Scope(fields=("profile.phone",)))
        await run(node.services, request, until="take-away")
        real, details, come = node.services.subjects.locked, {"changes": {"name": "Ada King"}}, []

        async def later(*whom):
            monkeypatch.setattr(node.services.subjects, "locked", real)
            if not come:
                come.append(await submitted(node, "rectification", subject, details=details))
            return await real(*whom)

        monkeypatch.setattr(node.services.subjects, "locked", later)
        with pytest.raises(Unavailable):
            await run(node.services, request)
        await run(node.services, request)
        assert (await show(node, come[0]))["details"] == details
