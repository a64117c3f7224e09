"""A process that makes a backup is killed wherever it may be: no half file under a final name, and the vault goes on."""

from __future__ import annotations

import asyncio
import json

from tests.backup.backups import back_up, provider, verified
from tests.jobs.killing import Killable, every
from tests.vaults import ADA
from vault.backup.manifest import find_all, places
from vault.backup.prune import prune
from vault.backup.sealed_file import open_backup
from vault.catalogue.periods import Period
from vault.ids import new_id

INSIDE = (
    "vault.backup.make:pinned",
    "vault.backup.make:seal_file",
    "vault.backup.make:write_file",
    "vault.backup.make:note_backup",
    "vault.backup.make:publish",
    "vault.backup.snapshot:_pin",
    "vault.backup.sealed_file:_write_all",
)
YEAR = Period(12, 0)


def job(node, to, tmp_path):
    task = tmp_path / "task.json"
    task.write_text(json.dumps({"folder": str(node.place.folder), "urls": node.place.urls, "to": str(to)}))
    return Killable(node.place, f"tests.backup.steps:MAKE[{task}]", new_id(), also=INSIDE)


def check_files(node, to):
    """Check that every file with a final name is whole, and that nothing of a database lies about unsealed."""
    for path in to.rglob("*"):
        if path.is_file() and path.suffix == ".cdvb":
            with open_backup(path, provider(node)) as opener:
                assert sum(map(len, opener)) > 0
        if path.is_file():
            assert path.read_bytes()[:15] != b"SQLite format 3"


async def go_on(node, subject, done):
    """Read and write for as long as something else is going on; sees no error."""
    number = 0
    while not done.is_set():
        number += 1
        shown = await node.read("sales", subject, ["name"], "order-fulfilment")
        assert shown.json()["fields"] == {"name": ADA["name"]}
        await node.create({**ADA, "email": f"ada{number}@example.org"})
        await asyncio.sleep(0)


async def kill_at(node, points, killable, to):
    subject, done = await node.create(), asyncio.Event()
    meanwhile = asyncio.create_task(go_on(node, subject, done))
    try:
        for point in points:
            before = len(find_all(places(to), provider(node))[0])
            assert await killable.killed_at(point), point
            check_files(node, to)
            result, unknown = find_all(places(to), provider(node))
            assert unknown == []
            # All of it is there once the folder of the data has its name, and nothing before that.
            assert len(result) == before + (point in {"publish.after#5", "make.after#1"})
            assert not meanwhile.done(), meanwhile.exception()
    finally:
        done.set()
    await meanwhile


async def check_ended(node, to):
    backup = await back_up(node, to)
    seen = await verified(node, backup)
    assert seen.sample.people == seen.sample.of > 0
    pruned = await prune(node.services, provider(node), places(to), keep_data=YEAR, keep_keys=YEAR)
    assert pruned.leftovers
    result, _ = find_all(places(to), provider(node))
    names = {item.folder.name for item in result}
    assert {path.name for path in (to / "data").iterdir()} == names
    assert {path.stem for path in (to / "keys").iterdir()} == names == {path.stem for path in (to / "ledger").iterdir()}


async def test_backup_killed_at_any_point_leaves_no_visible_backup(sqlite_node, to, tmp_path):
    killable = job(sqlite_node, to, tmp_path)
    passed = await killable.points()
    named = [point for point in passed if "_write_all" not in point]
    assert len(named) >= 30
    await kill_at(
        sqlite_node, every(named, 9) + every([entry for entry in passed if "_write_all" in entry], 3), killable, to
    )
    await check_ended(sqlite_node, to)


async def test_killed_around_every_snapshot_and_file_on_postgresql(postgres_place, clock, to, tmp_path):
    async with postgres_place.node(clock) as node:
        killable = job(node, to, tmp_path)
        points = ["_pin.after#1", "_pin.after#2", "_write_all.after#2", "seal_file.after#3", "publish.after#5"]
        await kill_at(node, points, killable, to)
        await check_ended(node, to)
