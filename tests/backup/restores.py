"""Disasters, and what is restored after them: as the command line does it, into another folder and other databases."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from dataclasses import replace

import asyncpg
import msgspec
import pytest
from sqlalchemy import select

from tests.backup.backups import PG_TOOLS, quietly
from tests.vaults import Place
from vault.backup import restore as steps
from vault.backup.gate import NotReplayed
from vault.backup.manifest import find_backup
from vault.cli.backup import Plan, continue_restore, restore_backup
from vault.lifecycle.restore_ledger import TOMBSTONE_LEDGER

__all__ = ["NotReplayed", "somewhere"]

_numbers = itertools.count()


@pytest.fixture
def somewhere(request, tmp_path):
    """Make empty places to restore into: a folder with a copy of the root key, and databases of the same kind."""

    async def make(place: Place) -> Place:
        folder = tmp_path / f"restored-{next(_numbers)}"
        folder.mkdir()
        shutil.copy2(place.folder / "root.key", folder / "root.key")
        if place.dialect == "sqlite":
            return Place(folder, "sqlite", {}, place.keys)
        uri = request.getfixturevalue("postgres_uri")
        stem = folder.name.replace("-", "_")
        names = {"database_url": f"{stem}_data", "keystore_url": f"{stem}_keys"}
        await _on(uri, *[f"CREATE DATABASE {name}" for name in names.values()])
        drop = [f"DROP DATABASE {name} WITH (FORCE)" for name in names.values()]
        request.addfinalizer(lambda: asyncio.run(_on(uri, *drop)))
        urls = {which: uri.replace("/postgres?", f"/{name}?", 1) for which, name in names.items()}
        return Place(folder, "postgresql", urls, place.keys)

    return make


def wanted(backup, lost: Place, new: Place, **how) -> Plan:
    """Say what is restored: of the vault that was lost, only the ledger and the root key are there still."""
    settings = {**new.urls, "pg_tools": PG_TOOLS, "ledger_url": f"sqlite:///{lost.folder / 'ledger.sqlite'}"}
    return Plan(backup.folder, new.folder, settings={**settings, **how.pop("settings", {})}, **how)


async def bring_back(backup, lost: Place, new: Place, clock, **how):
    """Restore, replay and open; returns what was replayed."""
    return await restore_backup(wanted(backup, lost, new, **how), quietly, clock=clock)


async def bring_back_closed(backup, lost: Place, new: Place, clock) -> None:
    """Restore and die before anything is replayed."""
    asked = wanted(backup, lost, new)
    target = await begin(asked, clock)
    order = steps.read_order(new.folder)
    await steps.carry_out(order, target, quietly)


async def begin(asked: Plan, clock):
    """Check all that can be wrong, and lay the order down."""
    from vault.cli.backup import _target

    text = steps.adapted("", asked.settings)
    target = _target(text, asked.folder)
    backup = find_backup(asked.backup, target.provider)
    text = steps.adapted(steps.settings_in(backup, target.provider), asked.settings)
    await steps.check(backup, target, without_ledger=False, progress=quietly)
    asked.folder.mkdir(exist_ok=True)
    steps.write_order(asked.folder, steps.new_order(backup, text, clock.now(), without_ledger=None))
    return target


async def replay_rest(new: Place, clock):
    """Go on as ``cdv restore --continue`` does."""
    return await continue_restore(new.folder, quietly, clock=clock)


def opened(new: Place) -> Place:
    """Return a restored place as its own ``cdv.toml`` has it."""
    return replace(new, urls={})


async def ledger_lines(node) -> list:
    """Return what stands on the ledger of tombstones: kind, person, and body."""
    async with node.services.restore_ledger._database.reading() as connection:
        rows = (await connection.execute(select(TOMBSTONE_LEDGER).order_by(TOMBSTONE_LEDGER.c.id))).all()
    return [(row.kind, row.subject_id, msgspec.json.decode(row.body)) for row in rows]


def lose(place: Place) -> None:
    """Lose the vault: only its ledger and root key are left."""
    for path in place.folder.iterdir():
        if path.name != "root.key" and not path.name.startswith("ledger.sqlite"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


async def _on(uri: str, *statements: str) -> None:
    connection = await asyncpg.connect(uri)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
