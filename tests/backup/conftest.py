"""Whole vaults for the tests of backups, and empty places to restore them into."""

import pytest

from tests.backup.restores import somewhere
from tests.vaults import node, place, postgres_place, sqlite_node, sqlite_place

__all__ = ["node", "place", "postgres_place", "somewhere", "sqlite_node", "sqlite_place"]


@pytest.fixture
def to(tmp_path):
    """Where backups go: not there yet."""
    return tmp_path / "backups"
