"""The operator learns which database cannot be used, where it is and why; and never a password."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.vaults import problem
from vault.bootstrap import init_vault, open_vault
from vault.cli.command import Session
from vault.cli.requests import UNFINISHED, _jobs_of
from vault.errors import Misconfigured, Unavailable
from vault.ids import DEFAULT_TENANT
from vault.jobs.database import NEEDS
from vault.server import serve
from vault.storage.database import Database
from vault.storage.diagnosis import require_jobs
from vault.storage.failures import ReadOnly
from vault.storage.urls import place_of

PASSWORD = "hunter2-canary"
NOBODY = 65534
NAMES = {"database_url": "main database", "keystore_url": "key store", "ledger_url": "ledger"}


async def opened(place, **changed):
    async with open_vault(place.folder, **{**place.urls, **changed}):
        raise AssertionError("it opened")


def elsewhere(url, **parts):
    return urlunsplit(urlsplit(url)._replace(**parts))


def refused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("setting", ["database_url", "keystore_url"])
async def test_a_database_of_postgresql_that_is_not_there_is_named(postgres_place, setting):
    url = elsewhere(postgres_place.urls[setting], path="/not_there")
    with pytest.raises(Unavailable) as caught:
        await opened(postgres_place, **{setting: url})
    assert caught.value.detail.startswith(f"the {NAMES[setting]} (not_there at ")
    assert 'database "not_there" does not exist' in caught.value.detail


@pytest.mark.parametrize("setting", ["database_url", "keystore_url"])
async def test_a_server_that_is_not_there_is_named_without_the_password(postgres_place, setting):
    port = refused_port()
    url = f"postgresql://vault:{PASSWORD}@127.0.0.1:{port}/vault"
    with pytest.raises(Unavailable) as caught:
        await opened(postgres_place, **{setting: url})
    assert caught.value.detail.startswith(f"the {NAMES[setting]} (vault at 127.0.0.1:{port}): ")
    assert "refused" in caught.value.detail.lower() or "connect" in caught.value.detail.lower()
    assert PASSWORD not in f"{caught.value.detail} {caught.value.hint}"


@pytest.mark.parametrize("missing", ["keys", "ledger"])
async def test_a_vault_on_postgresql_without_a_url_says_which_to_set(postgres_place, tmp_path, missing):
    setting = {"keys": "keystore_url", "ledger": "ledger_url"}[missing]
    (postgres_place.folder / f"{missing}.sqlite").unlink(missing_ok=True)
    urls = {name: url for name, url in postgres_place.urls.items() if name != setting}
    with pytest.raises(Misconfigured, match=rf"no {NAMES[setting]}: set CDV_{setting.upper()}"):
        async with open_vault(postgres_place.folder, **urls):
            raise AssertionError("it opened")


async def test_a_file_that_is_gone_or_no_database_is_named(sqlite_place):
    file = sqlite_place.folder / "keys.sqlite"
    file.write_bytes(b"no database at all, but long enough to be looked at as one" * 100)
    with pytest.raises(Unavailable) as caught:
        await opened(sqlite_place)
    assert caught.value.detail == f"the key store ({file}): file is not a database"


async def test_readiness_names_the_role_and_nothing_else(sqlite_node, monkeypatch):
    async def fails():
        raise Unavailable("the database did not answer in time (Secret)")

    monkeypatch.setattr(sqlite_node.vault._keys, "ping", fails)
    answer = await sqlite_node.call(None, "GET", "/readyz")
    body = problem(answer, 503, "unavailable")
    assert body["detail"] == "the key store does not answer"
    assert str(sqlite_node.place.folder) not in answer.text


async def test_a_standby_that_takes_no_write_is_not_ready(postgres_place):
    url = postgres_place.urls["keystore_url"]
    name = urlsplit(url).path.removeprefix("/")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        async with postgres_place.node() as node:
            body = problem(await node.call(None, "GET", "/readyz"), 503, "unavailable")
        assert body["detail"] == "the key store can only be read"
    finally:
        await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await connection.close()


@pytest.mark.parametrize("suffix", ["", "-shm"])
async def test_a_file_that_may_not_be_written_is_not_ready_until_it_may(suffix):
    """As another user, for root may write every file."""
    folder = Path(tempfile.mkdtemp(prefix="cdv-modes-"))
    database = Database(f"sqlite:///{folder}/a.sqlite")
    (folder / "a.sqlite").touch()
    user = os.geteuid()
    try:
        async with database.transaction() as connection:
            await connection.exec_driver_sql("CREATE TABLE thing (id)")
        if user == 0:
            for file in (folder, *folder.iterdir()):
                os.chown(file, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        await database.ping()
        (folder / f"a.sqlite{suffix}").chmod(0o400)
        with pytest.raises(ReadOnly):
            await database.ping()
        (folder / f"a.sqlite{suffix}").chmod(0o600)
        await database.ping()
    finally:
        os.seteuid(user)
        await database.close()
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"postgresql://u:{PASSWORD}@db.example.org:5544/vault?sslmode=require", "vault at db.example.org:5544"),
        (f"postgresql://u:{PASSWORD}@db.example.org/vault", "vault at db.example.org:5432"),
        ("postgresql:///vault?host=/run/pg", "vault at /run/pg:5432"),
        ("sqlite:////srv/vault/keys.sqlite", "/srv/vault/keys.sqlite"),
    ],
)
def test_a_place_has_no_secrets(url, place):
    assert place_of(url) == place


async def test_a_main_database_in_use_is_refused_and_nothing_is_left_in_the_folder(place, tmp_path):
    urls = place.urls or {"database_url": f"sqlite:///{place.folder}/data.sqlite"}
    new = tmp_path / "second"
    with pytest.raises(Misconfigured, match="is in use by another vault"):
        await init_vault(new, database_url=urls["database_url"])
    assert list(new.iterdir()) == []


async def test_an_init_that_fails_over_one_database_makes_no_table_in_another(postgres_uri, tmp_path):
    connection = await asyncpg.connect(postgres_uri)
    try:
        await connection.execute("DROP DATABASE IF EXISTS empty_data WITH (FORCE)")
        await connection.execute("CREATE DATABASE empty_data")
    finally:
        await connection.close()
    url = elsewhere(postgres_uri, path="/empty_data")
    wrong = f"postgresql://vault:{PASSWORD}@127.0.0.1:{refused_port()}/vault"
    with pytest.raises(Unavailable, match="the key store"):
        await init_vault(tmp_path / "new", database_url=url, keystore_url=wrong)
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()
    assert tables == []
    assert list((tmp_path / "new").iterdir()) == []


async def test_a_vault_is_made_however_slow_its_audit_log_is_to_answer(tmp_path):
    settings = await init_vault(tmp_path / "slow", audit_deadline=0.000_001)
    assert settings.audit_deadline == 0.000_001


async def test_a_database_of_jobs_that_cannot_be_used_is_named_with_its_place_and_the_reason(postgres_place, tmp_path):
    url = postgres_place.urls["database_url"]
    await require_jobs(url, 5, NEEDS)
    for wrong, reason in (
        (elsewhere(url, path="/not_there"), 'database "not_there" does not exist'),
        (f"postgresql://vault:{PASSWORD}@127.0.0.1:{refused_port()}/vault", "connect"),
        (f"sqlite:///{tmp_path}/nowhere/jobs.sqlite", "there is no such file"),
    ):
        with pytest.raises(Unavailable) as caught:
            await require_jobs(wrong, 5, NEEDS)
        assert caught.value.detail.startswith(f"the database of jobs ({place_of(wrong)}): ")
        assert reason in caught.value.detail.lower()
        assert "CDV_JOBS_DATABASE_URL" in caught.value.hint or wrong.startswith("sqlite")
        assert PASSWORD not in f"{caught.value.detail} {caught.value.hint}"


async def test_a_role_that_may_not_make_the_tables_of_jobs_is_refused_in_words(postgres_place):
    url = postgres_place.urls["database_url"]
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP ROLE IF EXISTS jobless")
        await connection.execute("CREATE ROLE jobless LOGIN")
        with pytest.raises(Unavailable, match="permission denied to create the schema cdv_jobs"):
            await require_jobs(elsewhere(url, netloc="jobless@"), 5, NEEDS)
        await connection.execute("CREATE SCHEMA cdv_jobs")
        with pytest.raises(Unavailable, match="permission denied for schema cdv_jobs"):
            await require_jobs(elsewhere(url, netloc="jobless@"), 5, NEEDS)
    finally:
        await connection.execute("DROP ROLE IF EXISTS jobless")
        await connection.close()


async def test_a_file_of_jobs_that_is_not_there_yet_is_made_later(tmp_path):
    await require_jobs(f"sqlite:///{tmp_path}/jobs.sqlite", 5, NEEDS)
    (tmp_path / "jobs.sqlite").write_bytes(b"no database at all, but long enough to be looked at as one" * 100)
    with pytest.raises(Unavailable, match="file is not a database"):
        await require_jobs(f"sqlite:///{tmp_path}/jobs.sqlite", 5, NEEDS)


def test_a_server_does_not_start_without_its_database_of_jobs(sqlite_place, monkeypatch):
    port = refused_port()
    monkeypatch.setenv("CDV_JOBS_DATABASE_URL", f"postgresql://vault:{PASSWORD}@127.0.0.1:{port}/jobs")
    with pytest.raises(Unavailable, match=rf"the database of jobs \(jobs at 127\.0\.0\.1:{port}\): ") as caught:
        serve(sqlite_place.folder)
    assert PASSWORD not in f"{caught.value.detail} {caught.value.hint}"


async def test_the_list_of_jobs_names_the_database_that_does_not_answer(sqlite_place, monkeypatch):
    port = refused_port()
    url = f"postgresql://vault:{PASSWORD}@127.0.0.1:{port}/jobs"
    async with open_vault(sqlite_place.folder, **sqlite_place.urls, jobs_database_url=url) as vault:
        with pytest.raises(Unavailable, match=rf"the database of jobs \(jobs at 127\.0\.0\.1:{port}\): "):
            await _jobs_of(Session(vault, as_json=True, tenant=DEFAULT_TENANT), states=UNFINISHED, limit=1)
