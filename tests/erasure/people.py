"""Subjects to erase, and their erasure requests."""

from __future__ import annotations

import asyncio
from datetime import date
from uuid import UUID

import msgspec

from tests.vaults import ADA
from vault.catalogue.model import Scope
from vault.erasure.start import erasure_of
from vault.erasure.workflow import ERASURE_STEPS
from vault.ids import DEFAULT_TENANT, new_id
from vault.requests.model import Due, Event, Request
from vault.requests.store import add_request
from vault.requests.transaction import DETAILS, request_aad

BOTH = {**ADA, "external_ids": None}
LONG_AGO = "2010-01-05T12:00:00Z"
LATELY = "2026-02-01T12:00:00Z"


async def somebody(node, *, profile=None, external_ids=None, bought=(), complained=(), **more) -> str:
    """Make a subject with purchases and complaints at the given moments."""
    subject = await node.create(profile, external_ids=external_ids or {"shop": "4711"}, **more)
    for number, moment in enumerate(bought):
        await buy(node, subject, moment, order=f"order-{number}")
    for moment in complained:
        fields = {"subject": "Late", "body": "It came too late."}
        created = await node.append("support", subject, "complaint", fields, "complaint-handling", occurred_at=moment)
        assert created.status_code == 201, created.text
    return subject


async def buy(node, subject, moment=LATELY, order="order-1"):
    fields = {"order": order, "product": "Teapot", "amount": "12.90", "currency": "EUR"}
    created = await node.append("sales", subject, "purchase", fields, "order-fulfilment", occurred_at=moment)
    assert created.status_code == 201, created.text
    return created.json()["id"]


async def ask(node, subject, *, scope=None, details=None, state="in_progress", kind="erasure", language="en") -> UUID:
    """Insert a request as it is after its approval and start."""
    now = node.services.clock.now()
    due = Due(date(2026, 4, 7), "Art. 12(3) GDPR")
    whom = UUID(str(subject))
    request = Request(
        id=new_id(), subject=whom, kind=kind, state=state, regime="gdpr", jurisdiction="DE", received_at=now,
        due=due, internal_due=due, scope=scope or Scope(), language=language,
    )  # fmt: skip
    sealed = None
    if details is not None:
        keys = (await node.services.keyring.subject_keys(DEFAULT_TENANT, [whom]))[whom]
        where = request_aad(DEFAULT_TENANT, whom, request.id)
        sealed = keys.seal(DETAILS, msgspec.json.encode(details), where)
    event = Event(number=1, at=now, move="receive", before=None, after="received")
    async with node.services.data.transaction() as connection:
        await add_request(connection, await node.services.keyring.row_keys(DEFAULT_TENANT), request, sealed, [event])
    return request.id


async def run(services, request, *, until=None) -> None:
    """Run the steps of an erasure as a job does, up to but not including the step ``until``."""
    for name, step in ERASURE_STEPS:
        if name == until:
            return
        while (seconds := await step(services, DEFAULT_TENANT, request)) is not None:
            await asyncio.sleep(min(seconds, 0.05))


async def erase(node, subject, **how) -> UUID:
    """Erase a subject; returns the request."""
    request = await ask(node, subject, **how)
    await run(node.services, request)
    return request


async def certificate(node, request) -> dict:
    """Return the content of a request's certificate."""
    erasure = await erasure_of(node.services, DEFAULT_TENANT, request)
    return msgspec.json.decode(erasure.certificate)["certificate"]


async def state_of(node, subject) -> str:
    ((state,),) = await node.sql("SELECT state FROM subject WHERE id = :id", id=UUID(str(subject)))
    return state


async def keys_of(node, subject) -> list[int]:
    rows = await node.sql(
        "SELECT version FROM data_key WHERE subject_id = :id ORDER BY version", keystore=True, id=UUID(str(subject))
    )
    return [row[0] for row in rows]


async def rows_of(node, table, subject) -> int:
    ((count,),) = await node.sql(f"SELECT count(*) FROM {table} WHERE subject_id = :id", id=UUID(str(subject)))
    return count
