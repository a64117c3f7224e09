"""A try of a restore finds what is wrong with a backup, says so before anything is touched, and leaves nothing."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile

import asyncpg
import pytest

from tests.backup.backups import back_up, provider, quietly, source, verified
from tests.vaults import ADA
from vault.backup.load import load_database
from vault.backup.manifest import find_backup
from vault.backup.sealed_file import open_part, seal_file
from vault.backup.snapshot import DatabaseDamaged
from vault.backup.verify import verify_backup
from vault.crypto.backup_stream import BackupDamaged, NotABackup
from vault.crypto.providers import EnvironmentRootKey
from vault.errors import Misconfigured


@pytest.fixture
def temp(tmp_path, monkeypatch):
    """The folder for temporary files, to see that nothing stays in it."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


async def people(node, count):
    for number in range(count):
        await node.create({**ADA, "email": f"ada{number}@example.org"})


async def databases(node):
    connection = await asyncpg.connect(node.place.urls["database_url"])
    try:
        return {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
    finally:
        await connection.close()


async def tries(node):
    return [(entry.decision, entry.code) for entry in await node.entries("default") if entry.action == "backup"][1:]


# ---- What is right ---------------------------------------------------------------------------------------------------


async def test_a_try_counts_every_row_opens_a_sample_and_leaves_nothing(node, to, temp):
    await people(node, 5)
    backup = await back_up(node, to)
    there = await databases(node) if node.place.dialect == "postgresql" else None
    seen = await verified(node, backup)
    assert seen.rows == {kind: backup.manifest.files[kind].rows for kind in ("data", "keys", "ledger")}
    assert seen.sample == (5, 5 * len(ADA), 5)
    assert list(temp.iterdir()) == []
    if there is not None:
        assert await databases(node) == there
    assert await tries(node) == [("allowed", "verified")]


async def test_a_sample_is_spread_over_all_people_of_all_tenants(sqlite_node, to):
    await people(sqlite_node, 8)
    for number in range(2):
        await sqlite_node.create({**ADA, "email": f"ada{number}@example.org"}, tenant="acme")
    backup = await back_up(sqlite_node, to)
    for most, chosen in ((1, 1), (3, 2), (5, 5), (10, 10), (1000, 10)):
        seen = (await verified(sqlite_node, backup, sample=most)).sample
        assert (seen.people, seen.of) == (chosen, 10)


# ---- What is wrong ---------------------------------------------------------------------------------------------------


async def refused(node, backup, error, match, temp, **how):
    with pytest.raises(error, match=match) as raised:
        await verified(node, backup, **how)
    assert list(temp.iterdir()) == []
    return raised.value


@pytest.mark.parametrize("kind", ["data", "keys", "ledger", "folder"])
async def test_a_file_that_is_cut_off_changed_or_gone_is_told(sqlite_node, to, temp, kind):
    await people(sqlite_node, 1)
    backup = await back_up(sqlite_node, to)
    path = backup.file(kind)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    await refused(sqlite_node, backup, BackupDamaged, "bytes and not the", temp)
    path.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    await refused(sqlite_node, backup, BackupDamaged, "is not as it was written", temp)
    path.unlink()
    await refused(sqlite_node, backup, NotABackup, "cannot be read", temp)
    assert await tries(sqlite_node) == [("failed", "backup-damaged")] * 2 + [("failed", "not-a-backup")]


async def test_the_key_store_of_another_backup_is_told_by_its_moment(sqlite_node, to, temp, clock):
    await people(sqlite_node, 1)
    old = await back_up(sqlite_node, to)
    clock.advance(days=1)
    new = await back_up(sqlite_node, to)
    error = await refused(sqlite_node, new, NotABackup, "belongs to the backup of 2026-03-05", temp, keys=old.keys)
    assert "2026-03-06" in error.hint
    await refused(sqlite_node, new, NotABackup, "holds the part `ledger`", temp, keys=new.ledger)
    shutil.copy(old.keys, new.keys)  # under the right name it is still another's
    await refused(sqlite_node, new, NotABackup, "belongs to the backup of 2026-03-05", temp)


async def test_another_root_key_is_told_before_anything_is_looked_at(sqlite_node, to, temp, monkeypatch):
    backup = await back_up(sqlite_node, to)
    monkeypatch.setenv("OTHER_ROOT", base64.b64encode(os.urandom(32)).decode())
    other = EnvironmentRootKey("OTHER_ROOT")
    error = await refused(sqlite_node, backup, Misconfigured, "not the one that this backup", temp, provider=other)
    assert backup.manifest.root_reference in error.hint


async def test_a_manifest_that_was_changed_is_told(sqlite_node, to, temp):
    backup = await back_up(sqlite_node, to)
    path = backup.folder / "manifest.json"
    honest = path.read_bytes()
    path.write_bytes(honest.replace(b'"subject":0', b'"subject":1', 1))
    await refused(sqlite_node, backup, BackupDamaged, "the manifest was changed", temp)
    for other in (honest[:-1], honest + b"\n", honest + b" ", b" " + honest, honest.replace(b":", b": ", 1)):
        path.write_bytes(other)
        await refused(sqlite_node, backup, BackupDamaged, "the manifest was changed", temp)
    for nonsense in (b"", b"{}", b"[]", b"\xff", honest[:-20], b'{"mac":"","manifest":{}}'):
        path.write_bytes(nonsense)
        await refused(sqlite_node, backup, NotABackup, "no backup in this folder", temp)


async def test_values_without_their_keys_are_told(sqlite_node, to, temp):
    """Keys that went while their values stayed: what no backup of ours has, and what a broken key store would have."""
    await people(sqlite_node, 2)
    await sqlite_node.sql("DELETE FROM data_key WHERE rowid = (SELECT max(rowid) FROM data_key)", keystore=True)
    backup = await back_up(sqlite_node, to)
    await refused(sqlite_node, backup, DatabaseDamaged, "of 12 values tried, 6 did not open with the keys", temp)
    assert await tries(sqlite_node) == [("failed", "database-damaged")]


async def test_one_value_that_was_changed_in_the_database_is_told(sqlite_node, to, temp):
    await people(sqlite_node, 2)
    ((body,), *_) = await sqlite_node.sql("SELECT body FROM record LIMIT 1")
    middle = len(body) // 2
    changed = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
    await sqlite_node.sql("UPDATE record SET body = :new WHERE body = :old", new=changed, old=body)
    backup = await back_up(sqlite_node, to)
    await refused(sqlite_node, backup, DatabaseDamaged, "of 12 values tried, 1 did not open", temp)


async def test_rows_that_are_missing_are_told_by_table(node, to, tmp_path, temp):
    """A genuine file of which somebody says that it has more rows than it has."""
    await people(node, 1)
    backup = await back_up(node, to)
    facts = backup.manifest.files["ledger"]
    files = {**backup.manifest.files, "ledger": type(facts)(**{**as_dict(facts), "rows": {**facts.rows, "lost": 3}})}
    wrong = backup._replace(manifest=type(backup.manifest)(**{**as_dict(backup.manifest), "files": files}))
    with pytest.raises(DatabaseDamaged, match="lost has 0 of 3"):
        await load_database(wrong, "ledger", at(node, f"sqlite:///{tmp_path / 'l.sqlite'}"))


def at(node, url):
    """Return the parts of the node's vault with one URL for all databases."""
    return source(node)._replace(urls=dict.fromkeys(("data", "keys", "ledger"), url))


def as_dict(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


async def test_what_is_no_database_is_told_and_postgresql_stays_empty(postgres_place, clock, to, temp):
    async with postgres_place.node(clock) as node:
        await people(node, 1)
        await node.sql("CREATE SCHEMA IF NOT EXISTS cdv_jobs")
        await node.sql("CREATE TABLE cdv_jobs.old_work (id int)")
        backup = await back_up(node, to)
        path = backup.file("data")
        with open_part(backup, "data", provider(node)) as opener:
            plain = b"".join(opener)
        assert b"retention_sweep" in plain
        assert b"cdv_jobs" not in plain  # jobs find their work anew, and would else do old work again
        path.unlink()
        sealing = sealing_of(node, backup)
        written = seal_file(sealing, "data", path, [plain[: len(plain) // 2]], quietly)
        written.path.rename(path)
        match = find_backup(backup.folder, provider(node))
        facts = match.manifest.files["data"]
        as_written = type(facts)(**{**as_dict(facts), "size": written.size, "sha256": written.sha256})
        files = {**match.manifest.files, "data": as_written}
        match = match._replace(manifest=type(match.manifest)(**{**as_dict(match.manifest), "files": files}))
        there = await databases(node)
        with pytest.raises(Misconfigured, match="pg_restore failed"):
            await verify_backup(node.services, match, source(node), sample=10, progress=quietly)
        assert await databases(node) == there


def sealing_of(node, backup):
    from vault.backup.sealed_file import Sealing

    return Sealing(provider(node), backup.manifest.id, backup.manifest.created_at)


async def test_a_backup_of_postgresql_needs_a_server_to_be_tried_on(postgres_place, clock, to, temp):
    async with postgres_place.node(clock) as node:
        backup = await back_up(node, to)
        with pytest.raises(Misconfigured, match="no server to try the restore on"):
            await verify_backup(node.services, backup, at(node, "sqlite:///nowhere"), progress=quietly)


async def test_a_place_where_something_is_stays_as_it_is(node, to, tmp_path):
    await people(node, 1)
    backup = await back_up(node, to)
    with pytest.raises(Misconfigured, match="is not empty; nothing was touched"):
        await load_database(backup, "data", at(node, node.place.urls["database_url"]))
    other = "postgresql://nobody@localhost:1/x" if node.place.dialect == "sqlite" else f"sqlite:///{tmp_path / 'x'}"
    with pytest.raises(Misconfigured, match="the other kind"):
        await load_database(backup, "data", at(node, other))
    assert (await node.sql("SELECT count(*) FROM subject")) == [(1,)]
