"""Backups and bad luck: other things in the same folders, disks that fail, whoever stands in the way, and secrets."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import asynccontextmanager, closing
from io import BytesIO
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from tests.backup.backups import MONTH, PG_TOOLS, back_up, provider, source, verified
from tests.backup.test_prune import thin_out
from vault.backup import load
from vault.backup.load import temporary_database
from vault.backup.manifest import places
from vault.backup.postgres_tools import PostgresTools, ToolFailed, without_password
from vault.backup.prune import prune
from vault.backup.sealed_file import is_being_made, open_part
from vault.backup.snapshot import DatabaseDamaged
from vault.crypto.backup_stream import BackupDamaged, NotABackup, begin, open_stream
from vault.crypto.providers import FileRootKey
from vault.errors import InvalidInput, Misconfigured, Unavailable

UNFINISHED = "20250101T000000Z-0123456789abcdef"
NOT_READABLE = Path("/proc/self/mem")
"""A file that opens and does not read: an I/O error, as a failing disk gives it."""


# ---- What else lies in the folders -----------------------------------------------------------------------------------


async def test_prune_leaves_files_with_other_names_alone(sqlite_node, to):
    await back_up(sqlite_node, to)
    strangers = [to / "data" / "lost+found", to / "data" / "vault.part", to / "data" / f"{UNFINISHED}-copy"]
    for stranger in strangers:
        stranger.mkdir()
        (stranger / "dear").write_text("somebody's own")
    link = to / "data" / f"{UNFINISHED}.part"
    link.symlink_to(strangers[0])
    own = [to / "keys" / "mine.cdvb", to / "ledger" / "mine.cdvb.part"]
    for stranger in own:
        stranger.write_text("somebody's own")
    assert await thin_out(sqlite_node, to) == ([], [], [], [])
    assert all((item / "dear").exists() for item in strangers)
    assert all(item.exists() for item in (link, *own))


async def test_key_stores_of_other_backups_in_the_folder_are_reported_and_kept(sqlite_node, to, tmp_path):
    """Two vaults may share a folder for their key stores; so may two targets of one vault."""
    mine = await back_up(sqlite_node, to, keys=tmp_path / "keys", ledger=tmp_path / "ledger")
    other = await back_up(sqlite_node, tmp_path / "others", keys=tmp_path / "keys", ledger=tmp_path / "ledger")
    where = places(to, keys=tmp_path / "keys", ledger=tmp_path / "ledger")
    pruned = await prune(sqlite_node.services, provider(sqlite_node), where, keep_data=MONTH, keep_keys=MONTH)
    assert pruned == ([], [], [], [other.keys.name])
    for backup in (mine, other):
        assert (await verified(sqlite_node, backup, keys=backup.keys, ledger=backup.ledger)).sample.of == 0


async def test_a_copy_of_the_newest_backup_does_not_cost_it_its_keys(sqlite_node, to, clock):
    newest = await back_up(sqlite_node, to)
    copy = shutil.copytree(newest.folder, to / "data" / "before-the-upgrade")
    clock.advance(days=400)
    assert await thin_out(sqlite_node, to) == ([], [], [], ["before-the-upgrade"])
    assert copy.exists()
    assert newest.keys.exists()


async def test_newest_complete_backup_is_kept(sqlite_node, to, clock):
    older = await back_up(sqlite_node, to)
    good = await back_up(sqlite_node, to)
    newest = await back_up(sqlite_node, to)
    newest.keys.unlink()
    clock.advance(days=400)
    pruned = await thin_out(sqlite_node, to)
    assert (pruned.backups, pruned.keys) == ([older.folder.name], [])
    assert (await verified(sqlite_node, good)).sample.of == 0


async def test_prune_deletes_nothing_if_the_key_stores_are_elsewhere(sqlite_node, to, tmp_path, clock):
    old = await back_up(sqlite_node, to, keys=tmp_path / "keys")
    await back_up(sqlite_node, to, keys=tmp_path / "keys")
    clock.advance(days=400)
    with pytest.raises(Misconfigured, match="not one key store of these backups") as error:
        await thin_out(sqlite_node, to)
    assert "--keys-to" in error.value.hint
    assert old.folder.exists()


async def test_a_backup_that_is_being_made_is_not_taken_for_one_that_died(sqlite_node, to):
    loop, seen = asyncio.get_running_loop(), []

    def progress(_what, _size):
        if not seen:
            seen.append(asyncio.run_coroutine_threadsafe(thin_out(sqlite_node, to), loop).result(20))

    backup = await back_up(sqlite_node, to, progress=progress)
    assert seen == [([], [], [], [])]
    assert (await verified(sqlite_node, backup)).sample.of == 0
    assert not is_being_made(backup.folder)


async def test_two_backups_at_once_into_one_folder_are_two(sqlite_node, to):
    created = await asyncio.gather(*(back_up(sqlite_node, to) for _ in range(3)))
    assert len({element.folder for element in created}) == 3
    for item in created:
        assert (await verified(sqlite_node, item)).rows["data"]["subject"] == 0


def test_data_keys_and_ledger_need_a_folder_each(to, tmp_path):
    for how in ({"keys": to / "data"}, {"ledger": to / "keys"}, {"keys": tmp_path, "ledger": tmp_path / "x" / ".."}):
        with pytest.raises(InvalidInput, match="a folder each"):
            places(to, **how)


# ---- What goes along of the vault's folder ---------------------------------------------------------------------------


async def archived(node, to) -> dict[str, bytes]:
    backup = await back_up(node, to)
    with open_part(backup, "folder", provider(node)) as opener:
        content = b"".join(opener)
    with tarfile.open(fileobj=BytesIO(content)) as tar:
        assert all(member.isfile() or member.isdir() for member in tar.getmembers())
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers() if member.isfile()}


async def test_policies_that_are_links_go_along_and_the_root_key_never_does(sqlite_node, to, tmp_path):
    folder = sqlite_node.place.folder
    shutil.move(folder / "policies", tmp_path / "etc")
    (folder / "policies").symlink_to(tmp_path / "etc")
    (folder / "tenants").mkdir()
    shutil.copytree(
        tmp_path / "etc", folder / "tenants" / "acme", copy_function=os.link
    )  # as `cp -al` and deduplicators do
    (folder / "policies" / "mine.toml").symlink_to(folder / "root.key")
    (folder / "policies" / "up").symlink_to(folder)
    (folder / "policies" / "round").symlink_to(folder / "policies")
    (folder / "policies" / "dangling").symlink_to(tmp_path / "nowhere")
    result = await archived(sqlite_node, to)
    for name in ("purposes.toml", "retention.toml", "notices/marketing@3.md"):
        assert result[f"policies/{name}"] == result[f"tenants/acme/{name}"] == (tmp_path / "etc" / name).read_bytes()
    assert not [name for name in result if name.startswith(("policies/mine", "policies/up", "policies/round"))]
    assert (folder / "root.key").read_bytes() not in result.values()


# ---- Disks -----------------------------------------------------------------------------------------------------------


async def test_a_read_error_of_the_disk_is_reported_as_damage(sqlite_node, to):
    backup = await back_up(sqlite_node, to)
    with pytest.raises(BackupDamaged, match="cut off, or was changed"):
        await verified(sqlite_node, backup, keys=NOT_READABLE)


async def test_a_full_disk_is_reported_and_leaves_nothing(sqlite_place, to):
    """In a process of its own that may write no large files: to SQLite and to us that is a disk without room."""
    code = (
        "import asyncio, resource, signal, sys; from pathlib import Path; from types import SimpleNamespace as Of\n"
        "from tests.vaults import Place; from tests.backup.backups import back_up\n"
        "async def main():\n"
        "    async with Place(Path(sys.argv[1]), 'sqlite', {}, {}).node() as node:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "        await back_up(node, Path(sys.argv[2]))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, sqlite_place.folder, to], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Misconfigured" in done.stderr, done.stderr
    assert "the backup cannot be written to" in done.stderr
    assert not [path for path in to.rglob("*") if path.is_file()]


async def test_a_changed_key_and_an_invalid_body_are_reported(sqlite_node, to):
    await sqlite_node.create()
    await sqlite_node.sql("UPDATE record SET body = CAST(x'c1' || substr(body, 2) AS BLOB)")
    with pytest.raises(DatabaseDamaged, match="did not open"):
        await verified(sqlite_node, await back_up(sqlite_node, to))
    half = "CAST(substr(wrapped, 1, 20) || x'00' || substr(wrapped, 22) AS BLOB)"
    await sqlite_node.sql(f"UPDATE data_key SET wrapped = {half}", keystore=True)
    with pytest.raises(DatabaseDamaged, match="did not open"):
        await verified(sqlite_node, await back_up(sqlite_node, to))


async def test_whoever_stops_a_backup_leaves_nothing_and_no_crash(sqlite_place, to):
    """Ctrl-C while a thread copies: to close SQLite's connection under its hands would crash the process."""
    with closing(sqlite3.connect(sqlite_place.folder / "data.sqlite")) as connection:
        connection.execute("CREATE TABLE large (content BLOB)")
        connection.executemany("INSERT INTO large VALUES (zeroblob(1000000))", [()] * 8)
        connection.commit()
    code = (
        "import asyncio, os, signal, sys; from pathlib import Path; from tests.vaults import Place\n"
        "from tests.backup.backups import back_up; from vault.backup import snapshot\n"
        "go_on, seen = snapshot.SqliteSnapshot._go_on, []\n"
        "def going_on(self, *how):\n"
        "    seen or (seen.append(1), os.kill(os.getpid(), signal.SIGINT))\n"
        "    go_on(self, *how)\n"
        "snapshot.SqliteSnapshot._go_on, snapshot._PAGES = going_on, 16\n"
        "async def main():\n"
        "    async with Place(Path(sys.argv[1]), 'sqlite', {}, {}).node() as node:\n"
        "        await back_up(node, Path(sys.argv[2]))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, sqlite_place.folder, to], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGINT, done.stderr
    assert not [path for path in to.rglob("*") if path.is_file()]


# ---- Forged headers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"id": "\ud800"}, {"kind": "\udfff"}, {"root_reference": "\x1b[2J"}, {"created_at": "today\nhint: x"}]
)  # fmt: skip
def test_a_header_is_plain_text_or_none_of_ours(changes, tmp_path):
    about = {"created_at": "x", "format": "cdv-backup-1", "id": "x", "key": "x", "kind": "data", "root_reference": "x"}
    with pytest.raises(NotABackup):
        open_stream(BytesIO(json.dumps(about | changes).encode() + b"\n"), None)
    with pytest.raises(NotABackup):
        open_stream(BytesIO(b"[" * 4000 + b"\n"), None)


def test_a_file_key_seals_one_file(sqlite_place):
    sealer = begin(FileRootKey(sqlite_place.folder / "root.key"), "data", "id", "moment")
    list(sealer.seal([b"one"]))
    with pytest.raises(RuntimeError, match="seals one file"):
        list(sealer.seal([b"two"]))


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def connected(url):
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_objects_of_other_programs_in_the_database_do_not_matter(postgres_place, clock, to):
    """The vault's role may not read it; it is neither counted nor copied."""
    async with postgres_place.node(clock) as node:
        await node.create()
        urls = {}
        for kind in ("data", "keys"):
            url = source(node).urls[kind]
            async with connected(url) as connection:
                await connection.execute(
                    "DO $$ BEGIN CREATE ROLE keeper LOGIN CREATEDB; EXCEPTION WHEN duplicate_object THEN END $$;"
                    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO keeper;"
                    "GRANT SELECT, USAGE ON ALL SEQUENCES IN SCHEMA public TO keeper;"
                    "CREATE TABLE public.theirs (id int); CREATE SCHEMA theirs; CREATE TABLE theirs.own (id int);"
                    "CREATE FUNCTION public.theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'"
                )
            urls[kind] = make_url(url).set(username="keeper").render_as_string(hide_password=False)
        backup = await back_up(node, to, urls={**source(node).urls, **urls})
        assert "theirs" not in backup.manifest.files["data"].rows
        assert (await verified(node, backup)).sample.people == 1
        for kind in ("data", "keys"):
            async with connected(source(node).urls[kind]) as connection:
                await connection.execute("DROP SCHEMA theirs CASCADE; DROP TABLE theirs; DROP FUNCTION theirs()")
                await connection.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM keeper")
        with pytest.raises(Misconfigured, match="may not lock"):
            await back_up(node, to, urls={**source(node).urls, **urls})


async def test_temporary_database_survives_a_cut_connection_and_a_user_of_template1(postgres_place, clock, monkeypatch):
    url, seen = postgres_place.urls["database_url"], []
    template1 = make_url(url).set(database="template1").render_as_string(hide_password=False)
    async with connected(template1), temporary_database(url) as created, connected(url) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cdv backup'"
        )
        seen.append(make_url(created).database)
    async with connected(url) as connection:
        assert not await connection.fetch("SELECT 1 FROM pg_database WHERE datname = $1", seen[0])

    async def cut(_url, _statement):
        raise ConnectionResetError

    with pytest.raises(Unavailable, match="could not be dropped") as error:
        async with temporary_database(url) as created:
            monkeypatch.setattr(load, "_run", cut)
    assert make_url(created).database in error.value.detail
    monkeypatch.undo()
    await load._run(url, f'DROP DATABASE "{make_url(created).database}"')


async def test_a_url_with_odd_names_and_settings_means_the_same_to_the_vault_and_to_postgresql(postgres_place):
    url = make_url(postgres_place.urls["database_url"])
    odd = url.set(
        database="mein 50% ?x#é&/=", query={**url.query, "statement_timeout": "71 s", "application_name": "a b"}
    )
    asked = odd.render_as_string(hide_password=False)
    async with connected(url.render_as_string(hide_password=False)) as connection:
        await connection.execute(f'CREATE DATABASE "{odd.database}" TEMPLATE template0')
    psql = [
        f"{PG_TOOLS}/psql",
        without_password(asked),
        "-Atc",
        "SELECT current_database(), current_setting('statement_timeout'), current_setting('application_name')",
    ]
    said = subprocess.run(psql, capture_output=True, text=True, check=False)
    assert said.stdout.strip() == f"{odd.database}|71s|a b", said.stderr
    async with connected(url.render_as_string(hide_password=False)) as connection:
        await connection.execute(f'DROP DATABASE "{odd.database}"')


def test_secret_that_needs_the_command_line_is_refused():
    with pytest.raises(ToolFailed, match="sslpassword"):
        without_password("postgresql://vault@db/vault?sslkey=/k&sslpassword=geheim")


def test_postgresqls_programs_do_not_see_the_root_key(tmp_path):
    program = tmp_path / "pg_dump"
    program.write_text("#!/bin/sh\nexec env\n")
    program.chmod(0o755)
    given = {"PATH": "/bin:/usr/bin", "VAULT_ROOT_KEY": "geheim", "CDV_SMTP_URL": "geheim", "PGPASSFILE": "/p"}
    seen = b"".join(PostgresTools(str(tmp_path), given).dump("postgresql://db/vault", "1", []))
    assert b"geheim" not in seen
    assert b"PGPASSFILE=/p" in seen
