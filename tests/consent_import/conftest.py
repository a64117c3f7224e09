"""Whole vaults for the tests of importing consents."""

from tests.vaults import node, place, sqlite_node, sqlite_place

__all__ = ["node", "place", "sqlite_node", "sqlite_place"]
