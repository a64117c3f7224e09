"""Old backups go, their key stores sooner; nothing goes that is not a backup, and the newest one stays."""

from __future__ import annotations

import pytest

from tests.backup.backups import back_up, provider, verified
from vault.backup.manifest import find_all, places
from vault.backup.prune import prune
from vault.catalogue.periods import Period
from vault.crypto.backup_stream import NotABackup
from vault.errors import InvalidInput

QUARTER, MONTH = Period(0, 90), Period(0, 30)


async def thin_out(node, to, *, keep_data=QUARTER, keep_keys=MONTH):
    return await prune(node.services, provider(node), places(to), keep_data=keep_data, keep_keys=keep_keys)


async def test_key_stores_and_backups_are_deleted_on_the_day_they_expire(sqlite_node, to, clock):
    await sqlite_node.create()
    first = await back_up(sqlite_node, to)
    clock.advance(days=20)
    second = await back_up(sqlite_node, to)
    assert await thin_out(sqlite_node, to) == ([], [], [], [])
    clock.advance(days=10)  # 30 days old, to the second: not more
    assert await thin_out(sqlite_node, to) == ([], [], [], [])
    clock.advance(seconds=1)
    assert await thin_out(sqlite_node, to) == ([], [first.folder.name], [], [])
    assert await thin_out(sqlite_node, to) == ([], [], [], [])
    with pytest.raises(NotABackup, match="cannot be read"):
        await verified(sqlite_node, first)
    assert (await verified(sqlite_node, second)).sample.people == 1
    clock.advance(days=60)
    assert (await thin_out(sqlite_node, to)).backups == [first.folder.name]
    assert not first.folder.exists()
    assert not first.ledger.exists()
    answers = [(entry.target, entry.code) for entry in await sqlite_node.entries("default") if entry.action == "backup"]
    assert (first.manifest.id, "keys-pruned") in answers
    assert (first.manifest.id, "pruned") in answers


async def test_newest_backup_is_always_kept(sqlite_node, to, clock):
    await back_up(sqlite_node, to)
    newest = await back_up(sqlite_node, to)
    clock.advance(days=4000)
    pruned = await thin_out(sqlite_node, to)
    assert len(pruned.backups) == 1
    assert [item.manifest.id for item in find_all(places(to), provider(sqlite_node))[0]] == [newest.manifest.id]
    assert (await verified(sqlite_node, newest)).sample.of == 0


async def test_keys_are_never_kept_longer_than_data(sqlite_node, to):
    with pytest.raises(InvalidInput, match="kept longer than the data"):
        await thin_out(sqlite_node, to, keep_data=MONTH, keep_keys=QUARTER)


async def test_prune_leaves_other_or_changed_folders_alone(sqlite_node, to, clock):
    old = await back_up(sqlite_node, to)
    stranger = to / "data" / "holiday-pictures"
    stranger.mkdir()
    (stranger / "manifest.json").write_text("{}")
    path = old.folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"2026-03-05T12", b"2016-03-05T12"))
    clock.advance(days=1)
    await back_up(sqlite_node, to)
    clock.advance(days=4000)
    await back_up(sqlite_node, to)
    pruned = await thin_out(sqlite_node, to)
    assert set(pruned.unknown) == {"holiday-pictures", old.folder.name}
    assert len(pruned.backups) == 1
    assert old.keys.exists()
    assert stranger.exists()


async def test_prune_deletes_files_of_an_unfinished_backup(sqlite_node, to):
    backup = await back_up(sqlite_node, to)
    (to / "data" / "20250101T000000Z-0123456789abcdef.part").mkdir()
    (to / "data" / "20250101T000000Z-0123456789abcdef.part" / "data.cdvb.part").write_bytes(b"half")
    (to / "keys" / "20250101T000000Z-0123456789abcdef.cdvb").write_bytes(b"whole, of no backup")
    (to / "ledger" / "20250101T000000Z-0123456789abcdef.cdvb.part").write_bytes(b"half")
    (to / "keys" / "README").write_text("somebody's own")
    assert len((await thin_out(sqlite_node, to)).leftovers) == 3
    assert sorted(path.name for path in (to / "keys").iterdir()) == sorted([backup.keys.name, "README"])
    assert (await verified(sqlite_node, backup)).sample.of == 0
