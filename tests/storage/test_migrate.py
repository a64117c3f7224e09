"""Migrations create the tables of the code once, on both databases."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

import vault
from vault.storage import migrate
from vault.storage.columns import DataTable, KeyTable, LedgerTable
from vault.storage.migrate import is_current, upgrade

for module in pkgutil.walk_packages(vault.__path__, "vault."):
    if not module.name.endswith("__main__"):  # whatever room has tables, they are on the list then
        importlib.import_module(module.name)

ROOT = Path(__file__).parents[2]
FAMILIES = pytest.mark.parametrize(
    ("which", "family"), [("data", DataTable), ("keys", KeyTable), ("ledger", LedgerTable)]
)


@FAMILIES
async def test_migrated_tables_match_the_code(open_database, which, family):
    database = open_database()
    await upgrade(database, which)

    def differences(connection):
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, family.metadata)

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


@FAMILIES
async def test_migrated_primary_keys_and_constraints_match_the_code(open_database, which, family):
    """Alembic compares no primary keys."""
    database = open_database()
    await upgrade(database, which)

    def keys(connection):
        inspector = inspect(connection)
        return {
            name: (
                inspector.get_pk_constraint(name)["constrained_columns"],
                {column["name"]: column["nullable"] for column in inspector.get_columns(name)},
                sorted(key["constrained_columns"] for key in inspector.get_foreign_keys(name)),
            )
            for name in inspector.get_table_names()
            if name != "alembic_version"
        }

    async with database.reading() as connection:
        created = await connection.run_sync(keys)
    assert created == {
        name: (
            [column.name for column in table.primary_key],
            {column.name: column.nullable for column in table.columns},
            sorted([column.name for column in constraint.columns] for constraint in table.foreign_key_constraints),
        )
        for name, table in family.metadata.tables.items()
    }


def test_every_hot_table_has_the_tenant_first_in_its_key():
    alone = {"api_key", "restore"}  # found by its id alone, which tells its tenant; and of the whole database
    for table in [*DataTable.metadata.tables.values(), *KeyTable.metadata.tables.values()]:
        if table.name not in alone:
            assert next(iter(table.primary_key)).name == "tenant_id", table.name


async def test_an_upgrade_runs_once_and_reports_its_revisions(open_database):
    database = open_database()
    assert not await is_current(database, "data")
    before, after = await upgrade(database, "data")
    assert before is None
    assert after is not None
    assert await is_current(database, "data")
    assert await upgrade(database, "data") == (after, after)


async def test_an_upgrade_that_fails_leaves_nothing_behind(open_database):
    database = open_database()
    async with database.transaction() as connection:
        await connection.exec_driver_sql("CREATE TABLE audit_entry (mine INTEGER)")
    with pytest.raises(Exception, match="did not answer in time"):
        await upgrade(database, "data")
    async with database.reading() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert names == ["audit_entry"]


def test_two_nodes_that_start_together_migrate_one_after_the_other(data_url):
    program = (
        "import asyncio, sys\n"
        "from vault.storage.database import Database\n"
        "from vault.storage.migrate import upgrade\n"
        "async def main():\n"
        "    database = Database(sys.argv[1], timeout=30)\n"
        "    print(*await upgrade(database, 'data'))\n"
        "    await database.close()\n"
        "asyncio.run(main())\n"
    )
    nodes = [
        subprocess.Popen([sys.executable, "-c", program, data_url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = sorted(node.communicate(timeout=60)[0].split() for node in nodes)
    assert [node.returncode for node in nodes] == [0, 0]
    newest = said[0][1]
    assert said == [[newest, newest], ["None", newest]]


@pytest.mark.parametrize("which", ["data", "keys", "ledger"])
def test_revisions_read_without_alembic_match_those_of_alembic(which):
    scripts = ScriptDirectory.from_config(migrate._config(which))
    assert migrate._head(which) == scripts.get_current_head()
    assert set(migrate._revisions(which)) == {script.revision for script in scripts.walk_revisions()}
