"""Vaults that write letters, for the letter about an erasure."""

from tests.identity.conftest import inbox, mailing, sqlite_mailing
from tests.vaults import node, place, sqlite_node, sqlite_place

__all__ = ["inbox", "mailing", "node", "place", "sqlite_mailing", "sqlite_node", "sqlite_place"]
