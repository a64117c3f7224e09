"""Bring the made-up customers in, through the same door as any app."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from vault.cli.demo.server import DemoFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vault.cli.demo.customers import Customer, Fields

AT_ONCE = 16
"""Requests under way at the same time: the audit log commits for all of them together."""
SOURCE = "demo"


async def fill(
    url: str, keys: Mapping[str, str], customers: Sequence[Customer], told: Callable[[int], None]
) -> list[str]:
    """Create customers with all of their records.

    Args:
        url: of the server.
        keys: of the apps, by name.
        customers: whom.
        told: called with the number of customers after each.

    Returns:
        their ids, in order.

    Raises:
        DemoFailed: one was not taken.
    """
    places = asyncio.Semaphore(AT_ONCE)
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client:

        async def one(customer: Customer) -> str:
            async with places:
                subject = await _create(client, keys, customer)
                told(1)
                return subject

        return list(await asyncio.gather(*map(one, customers)))


async def _create(client: httpx.AsyncClient, keys: Mapping[str, str], customer: Customer) -> str:
    body = {"profile": customer.profile, "external_ids": {"shop": customer.external_id}, "purpose": "order-fulfilment"}
    subject = await _post(client, keys["shop"], "/v1/subjects", body)
    for app, collection, purpose, records in (
        ("shop", "purchase", "order-fulfilment", customer.purchases),
        ("helpdesk", "interaction", "customer-support", customer.interactions),
        ("helpdesk", "complaint", "complaint-handling", customer.complaints),
    ):
        for record in records:
            path = f"/v1/subjects/{subject}/records/{collection}"
            await _post(client, keys[app], path, {**record, "purpose": purpose})
    return subject


async def _post(client: httpx.AsyncClient, key: str, path: str, body: Fields) -> str:
    answer = await client.post(path, json={**body, "source": SOURCE}, headers={"Authorization": f"Bearer {key}"})
    if answer.status_code != httpx.codes.CREATED:
        raise DemoFailed(f"the vault does not take a customer: {answer.status_code}", hint=answer.text[:500])
    return str(answer.json()["id"])
