"""Whole vaults that may post to this machine, and a receiver of webhooks that really listens."""

from __future__ import annotations

import pytest

from tests.recipients.receiver import Receiver
from tests.vaults import place, postgres_place, sqlite_place

__all__ = ["place", "postgres_place", "sqlite_place"]


@pytest.fixture
async def node(place, clock):
    async with place.node(clock, webhooks_to_private_addresses=True) as node:
        yield node


@pytest.fixture
async def sqlite_node(sqlite_place, clock):
    async with sqlite_place.node(clock, webhooks_to_private_addresses=True) as node:
        yield node


@pytest.fixture
async def receiver():
    """A server on this machine that takes what is posted to it."""
    async with Receiver() as receiver:
        yield receiver
