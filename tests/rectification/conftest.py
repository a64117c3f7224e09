"""Whole vaults for the tests of rectification, restriction, objection and withdrawal, some of which write letters."""

from tests.identity.conftest import inbox, mailing, sqlite_mailing
from tests.vaults import node, place, sqlite_node, sqlite_place

__all__ = ["inbox", "mailing", "node", "place", "sqlite_mailing", "sqlite_node", "sqlite_place"]
