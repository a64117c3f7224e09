"""A backup is made while the vault goes on, and is one picture of data and keys."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import stat
import tarfile
from contextlib import closing
from io import BytesIO
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import make_url

from tests.backup.backups import OLD_TOOLS, back_up, provider, source, verified
from tests.backup.second_decoder import check_manifest, decode
from tests.erasure.people import ask, erase, run
from tests.support import FixedClock
from tests.vaults import ADA
from vault.backup import snapshot as snapshots
from vault.backup.manifest import KINDS, find_all, find_backup, places
from vault.backup.postgres_tools import PostgresTools, ToolFailed, password_of, without_password
from vault.backup.snapshot import DatabaseDamaged
from vault.catalogue.model import Scope
from vault.errors import Misconfigured, Unavailable


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def root_of(node):
    return base64.b64decode((node.place.folder / "root.key").read_text().split()[1])


async def test_a_backup_is_what_its_manifest_says_and_opens_with_the_root_key_alone(node, to):
    for number in range(3):
        await node.create({**ADA, "email": f"ada{number}@example.org"})
    backup = await back_up(node, to)
    name = backup.folder.name
    assert names(to) == sorted(
        ["data", "keys", "ledger", f"data/{name}", f"keys/{name}.cdvb", f"ledger/{name}.cdvb"]
        + [f"data/{name}/{item}" for item in ("data.cdvb", "folder.cdvb", "manifest.json")]
    )
    manifest = check_manifest(root_of(node), (backup.folder / "manifest.json").read_bytes())
    assert manifest["id"] == str(backup.manifest.id)
    assert manifest["tenants"] == ["acme", "default"]
    assert manifest["created_at"] == "2026-03-05T12:00:00Z"
    assert manifest["keys_expire_at"] == "2026-04-04T12:00:00Z"
    for kind in KINDS:
        header, plain = decode(root_of(node), backup.file(kind).read_bytes())
        assert (header["kind"], header["id"]) == (kind, manifest["id"])
        facts = manifest["files"][kind]
        if kind != "folder":
            assert plain.startswith(b"SQLite format 3" if facts["dialect"] == "sqlite" else b"PGDMP")
    ((people,),) = await node.sql("SELECT count(*) FROM subject")
    ((keys,),) = await node.sql("SELECT count(*) FROM data_key", keystore=True)
    assert manifest["files"]["data"]["rows"]["subject"] == people == 3
    assert manifest["files"]["keys"]["rows"]["data_key"] == keys == 3


async def test_only_the_owner_reads_a_backup_and_nothing_in_it_is_in_the_clear(node, to):
    await node.create()
    await back_up(node, to)
    for path in to.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
        if path.suffix == ".cdvb":
            body = path.read_bytes().partition(b"\n")[2]
            assert b"data_key" not in body
            assert b"SQLite" not in body


async def test_policies_and_settings_go_along_and_the_root_key_does_not(sqlite_node, to):
    node = sqlite_node
    backup = await back_up(node, to)
    _, plain = decode(root_of(node), backup.file("folder").read_bytes())
    with tarfile.open(fileobj=BytesIO(plain)) as archive:
        inside = {member.name for member in archive.getmembers()}
    assert {"cdv.toml", "policies/purposes.toml", "policies/retention.toml"} <= inside
    assert not [name for name in inside if "key" in name and "root" in name]
    for kind in KINDS:
        assert (node.place.folder / "root.key").read_bytes().split()[1] not in decode(
            root_of(node), backup.file(kind).read_bytes()
        )[1]


async def test_the_key_store_and_the_ledger_may_lie_elsewhere(sqlite_node, to, tmp_path):
    backup = await back_up(sqlite_node, to, keys=tmp_path / "k", ledger=tmp_path / "l")
    assert backup.keys.parent == tmp_path / "k"
    assert backup.ledger.parent == tmp_path / "l"
    assert [path.name for path in to.iterdir()] == ["data"]
    assert (await verified(sqlite_node, backup, keys=backup.keys, ledger=backup.ledger)).sample.of == 0


async def test_a_backup_is_on_every_tenants_audit_log_once(sqlite_node, to):
    for tenant in ("default", "acme"):
        assert not [item for item in await sqlite_node.entries(tenant) if item.action == "backup"]
    backup = await back_up(sqlite_node, to)
    for tenant in ("default", "acme"):
        (entry,) = [item for item in await sqlite_node.entries(tenant) if item.action == "backup"]
        assert (entry.target, entry.decision, entry.code) == (backup.manifest.id, "allowed", None)


# ---- While everything goes on ----------------------------------------------------------------------------------------


async def test_readers_and_writers_continue_and_later_changes_are_not_in_the_snapshot(node, to):
    """Within the copy itself somebody is created, changed and read; the backup has none of it."""
    first = await node.create()
    seen = []
    loop = asyncio.get_running_loop()

    async def meanwhile():
        created = await node.create({**ADA, "email": "late@example.org"})
        assert (await node.patch("sales", first, {"name": "Countess"}, "order-fulfilment", '"1"')).status_code == 200
        return (await node.read("sales", created, ["name"], "order-fulfilment")).json()["fields"]["name"]

    def progress(what, _size):
        if not seen:  # from the thread that seals the data, while the picture is held
            seen.append(asyncio.run_coroutine_threadsafe(meanwhile(), loop).result(20))

    backup = await back_up(node, to, progress=progress)
    assert seen == [ADA["name"]]
    rows = (await verified(node, backup)).rows
    assert rows["data"]["subject"] == 1
    assert rows["keys"]["data_key"] == 1


async def test_no_erasure_commits_between_the_snapshots_of_data_and_keys(node, to, monkeypatch):
    """An erasure destroys keys after its commit: one that fell in between would leave values without keys."""
    subject = await node.create()
    await node.create({**ADA, "email": "other@example.org"})
    request = await ask(node, subject, scope=Scope(fields=("profile.phone",)))
    pin, tried = snapshots._pin, []

    async def pinning(url, tools):
        if url == source(node).urls["keys"]:
            tried.append(await write_refused(node, subject))
        return await pin(url, tools)

    monkeypatch.setattr(snapshots, "_pin", pinning)
    before = await back_up(node, to)
    assert tried == [True]
    await run(node.services, request)  # and afterwards it goes on
    monkeypatch.undo()
    after = await back_up(node, to)
    seen = [(await verified(node, backup)).sample for backup in (before, after)]
    assert [(item.people, item.of) for item in seen] == [(2, 2), (2, 2)]
    assert seen[0].values == seen[1].values + 1


async def write_refused(node, subject):
    """Try to write on a person's row from a connection of its own, without waiting."""
    url = make_url(node.place.urls["database_url"])
    if node.place.dialect == "sqlite":
        with closing(sqlite3.connect(url.database, timeout=0)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            return False
    connection = await asyncpg.connect(node.place.urls["database_url"])
    try:
        await connection.execute("SET lock_timeout = 1")
        await connection.execute("UPDATE subject SET state = state WHERE id = $1", UUID(subject))
    except asyncpg.LockNotAvailableError:
        return True
    finally:
        await connection.close()
    return False


async def test_backups_and_erasures_at_once_leave_every_backup_whole(sqlite_node, to):
    node = sqlite_node
    people = [await node.create({**ADA, "email": f"ada{number}@example.org"}) for number in range(3)]

    async def erasing():
        for subject in people:
            await erase(node, subject, scope=Scope(fields=("profile.phone",)))

    work = asyncio.create_task(erasing())
    created = [await back_up(node, to)]
    await work
    created.append(await back_up(node, to))
    counts = [(await verified(node, backup)).sample.values for backup in created]
    assert counts[-1] == min(counts)


async def test_endless_writer_is_reported_and_no_file_remains(postgres_place, clock, to, monkeypatch):
    monkeypatch.setattr(snapshots, "ATTEMPTS", 2)
    monkeypatch.setattr(snapshots, "LOCK_MILLISECONDS", 5)
    monkeypatch.setattr(snapshots, "_PAUSE", 0.0)
    async with postgres_place.node(clock) as node:
        subject = await node.create()
        other = await asyncpg.connect(node.place.urls["database_url"])
        await other.execute("BEGIN")
        await other.execute("UPDATE subject SET state = state WHERE id = $1", UUID(subject))
        try:
            with pytest.raises(Unavailable, match="subjects are written all the time"):
                await back_up(node, to)
        finally:
            await other.close()
        assert not [path for path in to.rglob("*") if path.is_file()]
        assert await verified(node, await back_up(node, to))


# ---- What goes wrong -------------------------------------------------------------------------------------------------


async def test_a_damaged_page_is_reported_and_leaves_no_backup(sqlite_node, to, tmp_path):
    node = sqlite_node
    for number in range(40):
        await node.create({**ADA, "email": f"ada{number}@example.org"})
    copy = tmp_path / "damaged.sqlite"
    with closing(sqlite3.connect(node.place.folder / "data.sqlite")) as there, closing(sqlite3.connect(copy)) as here:
        there.backup(here)
        ((page,), *_) = here.execute("SELECT rootpage FROM sqlite_master WHERE name = 'record'").fetchall()
        ((size,),) = here.execute("PRAGMA page_size").fetchall()
    with copy.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x99" * 64)
    urls = {**source(node).urls, "data": f"sqlite:///{copy}"}
    with pytest.raises(DatabaseDamaged, match="a page of the database is damaged"):
        await back_up(node, to, urls=urls)
    assert not [path for path in (to).rglob("*") if path.is_file()]
    failed = [entry for entry in await node.entries("default") if entry.action == "backup"]
    assert [(item.decision, item.code) for item in failed] == [("failed", "database-damaged")]


async def test_a_missing_database_is_reported(sqlite_node, to, tmp_path):
    urls = {**source(sqlite_node).urls, "keys": f"sqlite:///{tmp_path / 'none.sqlite'}"}
    with pytest.raises(Unavailable):
        await back_up(sqlite_node, to, urls=urls)
    assert not (tmp_path / "none.sqlite").exists()


async def test_an_unwritable_folder_is_reported(sqlite_node, to):
    (to).write_text("a file")
    with pytest.raises(Misconfigured, match="cannot be written"):
        await back_up(sqlite_node, to)


async def test_missing_or_old_programs_of_postgresql_are_reported(postgres_place, clock, to, tmp_path):
    async with postgres_place.node(clock) as node:
        with pytest.raises(ToolFailed, match="another version than the server, which is PostgreSQL 18") as error:
            await back_up(node, to, tools=PostgresTools(OLD_TOOLS, {}))
        assert "pg_tools" in error.value.hint
        with pytest.raises(ToolFailed, match="pg_dump is not found"):
            await back_up(node, to, tools=PostgresTools(str(tmp_path), {}))
        assert not [path for path in to.rglob("*") if path.is_file()]


def test_a_failing_program_is_reported_with_the_start_of_its_message(tmp_path):
    program = tmp_path / "pg_dump"
    program.write_text(
        "#!/bin/sh\necho half a dump\necho 'pg_dump: error: it did not work' >&2\necho 'a row' >&2\nexit 3\n"
    )
    program.chmod(0o755)
    chunks = PostgresTools(str(tmp_path), {"PATH": "/bin:/usr/bin"}).dump("postgresql://localhost/x", "00000001-1", [])
    assert next(chunks) == b"half a dump\n"
    with pytest.raises(ToolFailed) as error:
        next(chunks)
    assert error.value.detail == "pg_dump failed: it did not work"


@pytest.mark.parametrize(
    "url",
    ["postgresql://vault:geheim@db.example.org:5433/vault?sslmode=verify-full",
     "postgresql+asyncpg://vault@/vault?host=/run/pg&password=geheim"],
)  # fmt: skip
def test_a_password_goes_by_the_environment_and_not_by_the_command_line(tmp_path, url):
    seen = tmp_path / "seen"
    program = tmp_path / "pg_dump"
    program.write_text(f'#!/bin/sh\necho "$@" > {seen}\necho "$PGPASSWORD" >> {seen}\n')
    program.chmod(0o755)
    assert list(PostgresTools(str(tmp_path), {"PATH": "/bin:/usr/bin"}).dump(url, "1", [])) == []
    words, password = seen.read_text().splitlines()
    assert "geheim" not in words
    assert password == "geheim"
    assert password_of(url) == {"PGPASSWORD": "geheim"}
    assert without_password(url).startswith("postgresql://vault@")


async def test_backups_are_listed_the_newest_first(sqlite_node, to):
    clock = FixedClock()
    async with sqlite_node.place.node(clock) as node:
        created = []
        for _ in range(3):
            created.append(await back_up(node, to))
            clock.advance(days=1)
        result, unknown = find_all(places(to), provider(node))
        assert [item.manifest.id for item in result] == [item.manifest.id for item in reversed(created)]
        assert unknown == []
        again = find_backup(created[0].folder, provider(node))
        assert (again.keys, again.ledger, again.manifest.files) == (
            created[0].keys,
            created[0].ledger,
            created[0].manifest.files,
        )
