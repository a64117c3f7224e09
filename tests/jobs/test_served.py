"""Servers that are killed while they carry out requests: after a restart, each request is carried out once."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import httpx
import pytest

from tests.journeys.test_served import PATIENCE, Served
from vault.bootstrap import open_vault
from vault.clock import Clock
from vault.governance.tenants import add_app
from vault.ids import DEFAULT_TENANT

PEOPLE = 3


async def keys_of(place):
    """API keys that are valid by the real clock: of the shop, and of the privacy office."""
    results = []
    async with open_vault(place.folder, clock=Clock(), **place.urls) as vault:
        for role in ("sales", "dpo"):
            _, issued = await add_app(vault.services, DEFAULT_TENANT, f"desk-{role}", [role])
            results.append({"Authorization": f"Bearer {issued.key.reveal()}"})
    return results


def ask_for_access(client, shop, number):
    """Submit and verify a request for access, which starts the job."""
    body = {"profile": {"name": f"Person {number}", "email": f"p{number}@example.org"}, "purpose": "order-fulfilment"}
    created = client.post("/v1/subjects", json=body, headers=shop)
    assert created.status_code == 201, created.text
    asked = client.post("/v1/requests", json={"kind": "access", "subject": created.json()["id"]})
    assert asked.status_code == 201, asked.text
    request = asked.json()["id"]
    verified = client.post(f"/v1/requests/{request}:verify", json={"evidence": "came to the desk with a passport"})
    assert verified.json()["state"] == "approved", verified.text
    return request


def moves(client, request):
    shown = client.get(f"/v1/requests/{request}")
    assert shown.status_code == 200, shown.text
    return [event["move"] for event in shown.json()["history"]]


@pytest.mark.parametrize(("dialect", "workers"), [("sqlite", 1), ("postgresql", 2)])
async def test_requests_are_carried_out_once_although_servers_are_killed(place, workers):
    place = replace(place, urls={**place.urls, "jobs_takeover_seconds": "1"})
    shop, headers = await keys_of(place)
    with (
        Served(place, workers) as served,
        httpx.Client(base_url=served.url, headers=headers, timeout=PATIENCE) as client,
    ):
        requests = [ask_for_access(client, shop, number) for number in range(PEOPLE)]
        os.killpg(served.process.pid, signal.SIGKILL)
    with (
        Served(place, 1) as served,
        httpx.Client(base_url=served.url, headers=headers, timeout=PATIENCE) as client,
    ):
        served.until(lambda: all(moves(client, request)[-1] == "complete" for request in requests))
        for request in requests:
            assert moves(client, request) == ["receive", "verify", "approve", "start", "complete"]
            assert client.get(f"/v1/requests/{request}/package").content[:2] == b"PK"
        served.until(lambda: len(_jobs(client, state="done")) >= len(requests))
        assert {job["id"] for job in _jobs(client, state="done")} >= set(requests)
        assert _jobs(client) == []
        assert served.stop() in {0, -signal.SIGTERM}
    assert "Traceback" not in "".join(served.lines)


def _jobs(client, **parameters):
    return client.get("/v1/jobs", params=parameters).json()["jobs"]
