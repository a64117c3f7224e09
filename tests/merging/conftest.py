"""Vaults for the tests of merging, with and without mail."""

from tests.identity.conftest import inbox, mailing
from tests.vaults import node, place, postgres_place, sqlite_node, sqlite_place

__all__ = ["inbox", "mailing", "node", "place", "postgres_place", "sqlite_node", "sqlite_place"]
