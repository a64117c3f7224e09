"""Approved requests, and synthetic content that is larger than one sealed chunk."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from uuid import UUID

import msgspec

from vault.export import build
from vault.export.build import PACKAGE_STEPS, build_package
from vault.export.store import CHUNK_BYTES
from vault.ids import TenantId, new_id
from vault.jobs.workflow import Workflow
from vault.requests.model import Due, Event, Request, Verification
from vault.requests.store import add_request, find_request, save_request

DEFAULT = TenantId("default")
LARGE = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(3 * CHUNK_BYTES // 32))
"""Incompressible bytes: three chunks."""
CONTENT = {"index.html": b"<h1>Your data</h1>", "csv/purchase.csv": LARGE}


async def made_up_entries(_services, _tenant, _subject, _request):
    for name, data in CONTENT.items():
        yield name, _pieces(data)


async def _pieces(data):
    for start in range(0, len(data), 50_000):
        yield data[start : start + 50_000]


async def _build(services, tenant, request):
    build.package_entries = made_up_entries
    return await build_package(services, tenant, request)


MADE_UP = Workflow("access", (("build-package", _build), PACKAGE_STEPS[1]))
"""The steps of a package with synthetic content, for a process of its own."""


async def approved(node, subject, kind="access", *, tenant="default", state="in_progress", **more):
    """Insert a request that was verified and approved; returns its id."""
    now = node.services.clock.now()
    due = Due((now + timedelta(days=30)).date(), "made up")
    request = Request(
        **{
            "id": new_id(),
            "subject": UUID(str(subject)),
            "kind": kind,
            "state": state,
            "regime": "gdpr",
            "jurisdiction": "DE",
            "received_at": now,
            "due": due,
            "internal_due": due,
            "verification": Verification("staff", "fresh", now),
            **more,
        }
    )
    event = Event(number=1, at=now, move="receive", before=None, after=state)
    async with node.services.data.transaction() as connection:
        await add_request(connection, await node.services.keyring.row_keys(TenantId(tenant)), request, None, [event])
    return request.id


async def request_of(node, request, *, tenant="default"):
    async with node.services.data.reading() as connection:
        return (await find_request(connection, await node.services.keyring.row_keys(TenantId(tenant)), request)).request


async def change(node, request, **changes):
    """Change a request directly in the store."""
    changed = msgspec.structs.replace(await request_of(node, request), **changes)
    async with node.services.data.transaction() as connection:
        await save_request(connection, await node.services.keyring.row_keys(DEFAULT), changed, None, [])


async def built(node, kind="access", **more):
    """Build a package for a new subject; returns the ids of the subject and of the request."""
    subject = await node.create(**more)
    request = await approved(node, subject, kind)
    assert await build_package(node.services, DEFAULT, request) is None
    return UUID(subject), request


async def with_package(node, subject):
    """Insert a request for access and build its package; returns the id of the request."""
    request = await approved(node, subject)
    real, build.package_entries = build.package_entries, made_up_entries
    try:
        assert await build_package(node.services, DEFAULT, request) is None
    finally:
        build.package_entries = real
    return request
