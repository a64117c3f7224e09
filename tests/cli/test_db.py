"""The tables of both databases."""

from __future__ import annotations

import json
import sqlite3


def test_a_new_vault_is_current(in_vault):
    assert in_vault.json("db", "status") == {
        "data": {"dialect": "sqlite", "current": True},
        "keys": {"dialect": "sqlite", "current": True},
        "ledger": {"dialect": "sqlite", "current": True},
    }
    assert "data" in in_vault.ok("db", "status")


def test_an_upgrade_of_what_is_current_changes_nothing(in_vault):
    changed = in_vault.json("db", "upgrade")
    assert all(each["before"] == each["after"] is not None for each in changed.values())


def test_a_database_of_another_version_is_told_and_not_opened(in_vault, vault_folder):
    database = sqlite3.connect(vault_folder / "data.sqlite")
    with database:
        database.execute("DELETE FROM alembic_version")
    database.close()
    result = in_vault("db", "status", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["data"]["current"] is False
    assert "hint: run `cdv db upgrade`" in in_vault("db", "status").stderr
    refused = in_vault("apps", "list")
    assert refused.exit_code == 1
    assert (
        "error: the data database is of another version than this program\nhint: run `cdv db upgrade`" in refused.stderr
    )


def test_where_no_vault_is_none_is_made(cdv, tmp_path):
    assert cdv("db", "upgrade").exit_code == 1
    assert cdv("db", "status").exit_code == 1
    assert list(tmp_path.iterdir()) == []
