"""Holds that tests place and lift, and the erasures that go on afterwards."""

from __future__ import annotations

import asyncio

import msgspec

from vault.holds.resume_erasures import RESUME_STEPS, pending_resumes
from vault.ids import DEFAULT_TENANT

HOLDS = "/v1/holds"
REVIEW = "2026-09-01"


async def ask_for_hold(node, *subjects, role="dpo", **more):
    """Ask for a hold at the door; returns the answer."""
    body = {
        "matter": "LG-2026-0815", "owner": "legal-dept", "review_on": REVIEW,
        "subjects": [str(subject) for subject in subjects], **more,
    }  # fmt: skip
    return await node.post(role, HOLDS, body)


async def hold_of(node, *subjects, **more) -> str:
    """Place a hold; returns its id."""
    created = await ask_for_hold(node, *subjects, **more)
    assert created.status_code == 201, created.text
    return created.json()["id"]


async def lift(node, hold) -> None:
    done = await node.post("dpo", f"{HOLDS}/{hold}:lift", {"reason": "settled"})
    assert done.status_code == 200, done.text


async def go_on(node) -> list[str]:
    """Run the erasures that go on, as their jobs do; returns their ids."""
    result = await pending_resumes(node.services)
    for resume in result:
        for _name, step in RESUME_STEPS:
            while (seconds := await step(node.services, resume.tenant, resume.id)) is not None:
                await asyncio.sleep(min(seconds, 0.05))
    return [str(item.id) for item in result]


async def certificates(node) -> list[dict]:
    """Return what the certificates say, the oldest first."""
    rows = await node.sql("SELECT certificate FROM erasure ORDER BY id")
    return [msgspec.json.decode(bytes(row[0]))["certificate"] for row in rows if row[0] is not None]


async def ledger_lines(node) -> list[tuple[str, dict]]:
    """Return the holds on the ledger of tombstones: what was done, and what the line says."""
    return [
        (line.kind, msgspec.json.decode(line.body))
        async for line in node.services.restore_ledger.since(node.services.clock.now().replace(year=2000))
        if line.kind.startswith("hold") and line.tenant == DEFAULT_TENANT
    ]
