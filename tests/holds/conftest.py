"""Whole vaults for the tests of holds."""

from tests.vaults import node, place, postgres_place, sqlite_node, sqlite_place

__all__ = ["node", "place", "postgres_place", "sqlite_node", "sqlite_place"]
