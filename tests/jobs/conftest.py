"""The fixtures that open whole vaults."""

import pytest

from tests.vaults import node, place, postgres_place, sqlite_node, sqlite_place


@pytest.fixture
async def postgres_node(postgres_place, clock):
    async with postgres_place.node(clock) as node:
        yield node


__all__ = ["node", "place", "postgres_place", "sqlite_node", "sqlite_place"]
