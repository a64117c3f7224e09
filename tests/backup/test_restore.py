"""A vault is lost and comes back: whole, closed until it is made good, and never over something that is there."""

from __future__ import annotations

import shutil
import sqlite3

import msgspec
import pytest
from msgspec.structs import replace as changed

from tests.backup.backups import back_up, provider, quietly
from tests.backup.restores import bring_back, bring_back_closed, lose, opened, replay_rest, wanted
from tests.erasure.people import LATELY, buy, erase, somebody, state_of
from tests.vaults import ADA
from vault.backup.gate import NotReplayed
from vault.backup.manifest import NAME, write_manifest
from vault.backup.restore import LedgerMissing
from vault.bootstrap import init_vault, open_vault
from vault.catalogue.model import Scope
from vault.cli.backup import restore_backup
from vault.crypto.backup_stream import BackupDamaged, NotABackup
from vault.crypto.providers import FileRootKey
from vault.errors import InvalidInput, Misconfigured
from vault.ids import DEFAULT_TENANT, new_id
from vault.lifecycle.restore_ledger import ErasureLine


async def found_by(node, match):
    body = {"match": match, "fields": [], "purpose": "order-fulfilment"}
    answer = await node.post("sales", "/v1/subjects:search", body)
    return [result["subject"] for result in answer.json()["results"]]


async def test_vault_is_restored_from_backup_ledger_and_root_key(place, clock, somewhere, tmp_path):
    async with place.node(clock) as node:
        subject = await somebody(node, bought=[LATELY])
        gone = await node.create({**ADA, "email": "gone@example.org"})
        (place.folder / "policies" / "own.txt").write_text("a file of our own")
        backup = await back_up(node, tmp_path / "b")
        lost = await node.create({**ADA, "email": "new@example.org"})
        await erase(node, gone)
        entries = [entry.id for entry in await node.entries() if entry.at <= "2026-03-05T12:00:00.000000Z"]
    lose(place)
    new = await somewhere(place)
    answers = []
    await restore_backup(wanted(backup, place, new), lambda what, count: answers.append((what, count)), clock=clock)
    async with opened(new).node(clock) as node:
        shown = await node.read("sales", subject, [*ADA, "purchase.order"], "order-fulfilment")
        assert shown.json()["fields"]["email"] == ADA["email"]
        assert shown.json()["fields"]["purchase.order"] == ["order-0"]
        assert await found_by(node, {"email": ADA["email"]}) == [subject]
        assert (await node.read("sales", lost, ["name"], "order-fulfilment")).status_code == 404
        assert await state_of(node, gone) == "erased"
        assert {entry.id for entry in await node.entries()} & set(entries)
        await buy(node, subject)  # and it goes on: what is new is sealed, found and read as ever
        assert (
            await node.post(
                "sales", "/v1/subjects", {"profile": {"name": "Grace Hopper"}, "purpose": "order-fulfilment"}
            )
        ).status_code == 201
    assert (new.folder / "policies" / "own.txt").read_text() == "a file of our own"
    assert (new.folder / ".gitignore").read_text() == "*\n"
    assert {"data", "keys", "folder", "restored keys", "restored data", "replayed", "proven"} <= {
        what for what, _ in answers
    }
    assert not (new.folder / "restoring.json").exists()


async def test_vault_does_not_open_before_the_replay(place, clock, somewhere, tmp_path):
    async with place.node(clock) as node:
        gone = await node.create()
        backup = await back_up(node, tmp_path / "b")
        await erase(node, gone)
    new = await somewhere(place)
    await bring_back_closed(backup, place, new, clock)
    with pytest.raises(
        NotReplayed, match=r"restored from a backup of 2026-03-05T12:00:00Z and not yet replayed"
    ) as refused:
        async with open_vault(new.folder, clock=clock):
            pass
    assert refused.value.hint == "run `cdv restore --continue`"
    await replay_rest(new, clock)
    async with opened(new).node(clock) as node:
        assert await state_of(node, gone) == "erased"
    with pytest.raises(Misconfigured, match="no restore to be continued"):
        await replay_rest(new, clock)


async def test_a_database_that_is_there_without_its_row_is_of_no_version(
    postgres_place, clock, somewhere, tmp_path, monkeypatch
):
    """Killed right after ``pg_restore``, there is data, and no program opens it."""
    place = postgres_place
    async with place.node(clock) as node:
        gone = await node.create()
        backup = await back_up(node, tmp_path / "b")
        await erase(node, gone)
    new = await somewhere(place)
    from vault.backup import load as bringing

    async def dies(*_rest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(bringing.snapshot, "contents_of_postgres", dies)
        with pytest.raises(KeyboardInterrupt):
            await bring_back(backup, place, new, clock)
    with pytest.raises(Misconfigured, match="another version"):
        async with open_vault(place.folder, clock=clock, **new.urls):  # a node whose settings lie elsewhere
            pass
    with pytest.raises(NotReplayed, match="cut off"):
        async with open_vault(new.folder, clock=clock):
            pass
    assert (await replay_rest(new, clock)).erasures == 1
    async with opened(new).node(clock) as node:
        assert await state_of(node, gone) == "erased"


# ---- What is refused, before anything is touched ---------------------------------------------------------------------


@pytest.fixture
async def backup(sqlite_place, clock, tmp_path):
    """A backup of a vault with somebody in it."""
    async with sqlite_place.node(clock) as node:
        await node.create()
        return await back_up(node, tmp_path / "b")


def cut_off(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


async def refused(error, match, backup, place, new, clock, **how):
    there = {path.name for path in new.folder.iterdir()}
    with pytest.raises(error, match=match) as raised:
        await restore_backup(wanted(backup, place, new, **how), quietly, clock=clock)
    assert raised.value.hint
    assert {path.name for path in new.folder.iterdir()} == there, "something was touched"


async def test_another_root_key_is_refused(backup, sqlite_place, clock, somewhere):
    new = await somewhere(sqlite_place)
    (new.folder / "root.key").unlink()
    await refused(Misconfigured, "root key file .* cannot be read", backup, sqlite_place, new, clock)
    FileRootKey.create(new.folder / "root.key")
    await refused(Misconfigured, "not the one that this backup was sealed with", backup, sqlite_place, new, clock)


@pytest.mark.parametrize("kind", ["data", "keys", "folder"])
@pytest.mark.parametrize(
    ("damage", "match"), [(cut_off, "has .* bytes and not|cut off"), (flip, "not as it was written|changed")]
)
async def test_a_damaged_file_is_refused(backup, sqlite_place, clock, somewhere, kind, damage, match):
    new = await somewhere(sqlite_place)
    damage(backup.file(kind))
    await refused(BackupDamaged, match, backup, sqlite_place, new, clock)


async def test_the_key_store_of_another_backup_or_none_is_refused(backup, sqlite_place, clock, somewhere, tmp_path):
    new = await somewhere(sqlite_place)
    clock.advance(days=1)
    async with sqlite_place.node(clock) as node:
        other = await back_up(node, tmp_path / "b")
    await refused(NotABackup, "belongs to the backup of 2026-03-06", backup, sqlite_place, new, clock, keys=other.keys)
    await refused(NotABackup, "holds the part `data`", backup, sqlite_place, new, clock, keys=backup.file("data"))
    backup.keys.unlink()  # as `cdv backup prune` does after a month
    await refused(NotABackup, "cannot be read", backup, sqlite_place, new, clock)


async def test_no_backup_and_a_changed_manifest_are_refused(backup, sqlite_place, clock, somewhere, tmp_path):
    new = await somewhere(sqlite_place)
    await refused(NotABackup, "no backup in this folder", backup._replace(folder=tmp_path), sqlite_place, new, clock)
    manifest = backup.folder / NAME
    manifest.write_bytes(manifest.read_bytes().replace(b'"acme"', b'"acne"'))
    await refused(BackupDamaged, "manifest was changed", backup, sqlite_place, new, clock)


async def test_the_backup_of_a_newer_program_is_refused(backup, sqlite_place, clock, somewhere):
    new = await somewhere(sqlite_place)
    async with sqlite_place.node(clock) as node:
        key = provider(node)
    files = {**backup.manifest.files, "data": changed(backup.manifest.files["data"], revision="9999")}
    (backup.folder / NAME).write_bytes(write_manifest(key, changed(backup.manifest, files=files)))
    await refused(Misconfigured, "made by a newer program", backup, sqlite_place, new, clock)


async def test_a_place_where_something_is_is_refused(backup, sqlite_place, clock, somewhere):
    new = await somewhere(sqlite_place)
    other = f"sqlite:///{sqlite_place.folder / 'data.sqlite'}"
    before = (sqlite_place.folder / "data.sqlite").read_bytes()
    how = {"settings": {"database_url": other}}
    await refused(Misconfigured, "place for the data database is not empty", backup, sqlite_place, new, clock, **how)
    assert (sqlite_place.folder / "data.sqlite").read_bytes() == before
    (new.folder / "notes.txt").write_text("mine")
    await refused(Misconfigured, "folder to restore into is not empty", backup, sqlite_place, new, clock)
    await refused(Misconfigured, "not empty", backup, sqlite_place, sqlite_place, clock)


async def test_a_database_of_postgresql_where_something_is_is_refused(postgres_place, clock, somewhere, tmp_path):
    async with postgres_place.node(clock) as node:
        backup = await back_up(node, tmp_path / "b")
    new = await somewhere(postgres_place)
    how = {"settings": {"keystore_url": postgres_place.urls["keystore_url"]}}
    await refused(Misconfigured, "place for the keys database is not empty", backup, postgres_place, new, clock, **how)
    how = {"settings": {"database_url": f"sqlite:///{new.folder / 'x.sqlite'}"}}
    await refused(Misconfigured, "backed up from postgresql", backup, postgres_place, new, clock, **how)


async def test_without_the_ledger_a_restore_is_refused(backup, sqlite_place, clock, somewhere, tmp_path):
    new = await somewhere(sqlite_place)
    older = tmp_path / "older.sqlite"
    async with sqlite_place.node(clock) as node:
        shutil.copy2(sqlite_place.folder / "ledger.sqlite", older)  # as it was before all this
        await erase(node, await node.create({**ADA, "email": "x@example.org"}))
        later = await back_up(node, tmp_path / "b")
    async with sqlite_place.node(clock):
        pass
    gone = {"settings": {"ledger_url": f"sqlite:///{tmp_path / 'nowhere.sqlite'}"}}
    await refused(LedgerMissing, "does not answer", backup, sqlite_place, new, clock, **gone)
    before = {"settings": {"ledger_url": f"sqlite:///{older}"}}
    await refused(LedgerMissing, "older than the backup", later, sqlite_place, new, clock, **before)
    strange = tmp_path / "strange.sqlite"
    sqlite3.connect(strange).close()
    empty = {"settings": {"ledger_url": f"sqlite:///{strange}"}}
    await refused(LedgerMissing, "tables are not there", backup, sqlite_place, new, clock, **empty)


async def test_where_the_ledger_is_lost_for_good_somebody_says_why_and_it_is_on_record(
    place, clock, somewhere, tmp_path
):
    async with place.node(clock) as node:
        gone, before = await node.create(), await node.create({**ADA, "email": "before@example.org"})
        await erase(node, before)
        backup = await back_up(node, tmp_path / "b")
        await erase(node, gone)
    new = await somewhere(place)
    ledger = {"ledger_url": f"sqlite:///{new.folder / 'ledger.sqlite'}"}
    with pytest.raises(InvalidInput, match="why the ledger"):
        await bring_back(backup, place, new, clock, settings=ledger, without_ledger=" ")
    lines = await bring_back(backup, place, new, clock, settings=ledger, without_ledger="burnt with the data centre")
    assert lines.lines == 0
    async with opened(new).node(clock) as node:
        assert (await state_of(node, gone), await state_of(node, before)) == ("active", "erased")
        (noted,) = [entry for entry in await node.entries("default") if entry.action == "restore"]
        assert noted.code == "without-ledger"
        assert [line.kind async for line in node.services.restore_ledger.since(clock.now())] == ["erasure", "backup"]
        await erase(node, gone)  # and the ledger goes on
        assert len([line async for line in node.services.restore_ledger.since(clock.now())]) == 3


async def test_settings_are_restored_with_new_locations(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    text = '# our vault\nport = 8444\nroot_key = "file:/somewhere/else.key"\nledger_url = "sqlite:////nowhere"\n'
    (place.folder / "cdv.toml").write_text(text)
    (place.folder / "else.key").write_bytes((place.folder / "root.key").read_bytes())
    (place.folder / "else.key").chmod(0o600)
    async with place.node(
        clock, root_key="file:root.key", ledger_url=f"sqlite:///{place.folder / 'ledger.sqlite'}"
    ) as node:
        backup = await back_up(node, tmp_path / "b")
    new = await somewhere(place)
    (new.folder / "root.key").unlink()
    await bring_back(backup, place, new, clock, settings={"root_key": f"file:{place.folder / 'else.key'}"})
    async with open_vault(new.folder, clock=clock) as vault:
        assert vault.settings.port == 8444
        assert vault.settings.root_key == f"file:{place.folder / 'else.key'}"
    assert "# our vault" in (new.folder / "cdv.toml").read_text()
    assert not (new.folder / "root.key").exists()
    for name in ("cdv.toml", "data.sqlite", "keys.sqlite"):
        assert (new.folder / name).stat().st_mode & 0o077 == 0, name


async def test_a_ledger_that_lies_in_the_new_folder_is_taken(sqlite_place, clock, somewhere, tmp_path):
    place = sqlite_place
    async with place.node(clock) as node:
        gone = await node.create()
        backup = await back_up(node, tmp_path / "b")
        await erase(node, gone)
    new = await somewhere(place)
    shutil.copy2(place.folder / "ledger.sqlite", new.folder / "ledger.sqlite")
    asked = wanted(backup, place, new)
    asked.settings.pop("ledger_url")
    await restore_backup(asked, quietly, clock=clock)
    async with opened(new).node(clock) as node:
        assert await state_of(node, gone) == "erased"


async def test_the_ledger_of_another_vault_is_not_taken_for_this_ones(backup, sqlite_place, clock, somewhere, tmp_path):
    """Nobody had been erased when the backup was made, so that any ledger has as many lines as it knew."""
    new = await somewhere(sqlite_place)
    async with sqlite_place.node(clock) as node:
        await back_up(node, tmp_path / "b")
        await erase(node, await node.create({**ADA, "email": "x@example.org"}))
    other = tmp_path / "other"
    await init_vault(other)
    async with open_vault(other, clock=clock) as vault:
        line = ErasureLine(erasure=new_id(), request=None, scope=Scope(), started_at=clock.now())
        body = msgspec.json.encode(line)
        await vault.services.restore_ledger.add(DEFAULT_TENANT, "erasure", clock.now(), [(new_id(), body)] * 3)
    anothers = {"settings": {"ledger_url": f"sqlite:///{other / 'ledger.sqlite'}"}}
    await refused(LedgerMissing, "older than the backup, or belongs", backup, sqlite_place, new, clock, **anothers)


async def test_after_a_restore_without_the_ledger_the_same_backup_goes_with_the_new_one(
    backup, sqlite_place, clock, somewhere
):
    first, second = await somewhere(sqlite_place), await somewhere(sqlite_place)
    ledger = {"ledger_url": f"sqlite:///{first.folder / 'ledger.sqlite'}"}
    await bring_back(backup, sqlite_place, first, clock, settings=ledger, without_ledger="burnt")
    await bring_back(backup, sqlite_place, second, clock, settings=ledger)
