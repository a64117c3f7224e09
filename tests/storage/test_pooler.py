"""PgBouncer between the vault and PostgreSQL: with sessions everything works; without them the vault does not start."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from vault.bootstrap import init_vault, open_vault
from vault.errors import Misconfigured
from vault.jobs.database import NEEDS
from vault.storage.diagnosis import require_jobs

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is missing: apt-get install pgbouncer")

WAIT = 60.0


@contextmanager
def pooled(postgres_uri, folder, mode):
    """Run PgBouncer in front of the server of the tests; yields a function that leads a URL through it."""
    place = make_url(postgres_uri)
    server = str(place.query["host"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = [
        "[databases]",
        f"* = host={server} user={place.username}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = any",
        f"pool_mode = {mode}",
        "default_pool_size = 40",
    ]
    if os.geteuid() == 0:  # it does not run as root; the server's folder is open to its owner alone
        lines.append(f"user = {pwd.getpwuid(Path(server).stat().st_uid).pw_name}")
    settings = folder / "pgbouncer.ini"
    settings.write_text("\n".join([*lines, ""]))
    pooler = subprocess.Popen([PROGRAM, settings], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _await_port(pooler, port)

        def through(url):
            name = make_url(url).database
            return f"postgresql://{place.username}@127.0.0.1:{port}/{name}"

        yield through
    finally:
        pooler.terminate()
        pooler.communicate(timeout=WAIT)


def _await_port(pooler, port):
    ends = time.monotonic() + WAIT
    while time.monotonic() < ends:
        assert pooler.poll() is None, pooler.stderr.read()
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        pooler.stderr.readline()  # its log says when it listens
    raise AssertionError("pgbouncer does not listen")


def led(place, through):
    return replace(place, urls={name: through(url) if "://" in url else url for name, url in place.urls.items()})


async def test_with_sessions_a_vault_works_behind_a_pooler(postgres_place, postgres_uri, tmp_path, clock):
    with pooled(postgres_uri, tmp_path, "session") as through:
        async with led(postgres_place, through).node(clock) as node:
            subject = await node.create({"name": "Ada Lovelace"})
            for _ in range(3):
                answer = await node.read("support", subject, ["name"], "customer-support")
                assert answer.json()["fields"] == {"name": "Ada Lovelace"}
            assert [entry.action for entry in await node.entries()][-4:] == ["create", "read", "read", "read"]
            listed = await node.call("dpo", "GET", "/v1/audit/entries", params={"action": "read"})
            assert len(listed.json()["entries"]) == 3
            async with node.services.data._lane._connection() as connection:
                settings = [await connection.fetchval(f"SHOW {name}") for name in ("jit", "enable_seqscan")]
            assert settings == ["off", "off"]
            await require_jobs(through(postgres_place.urls["database_url"]), 5, NEEDS)


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_without_sessions_no_vault_starts(postgres_place, postgres_uri, tmp_path, mode):
    words = r"a pooler in front of the database .* at 127\.0\.0\.1:\d+ does not keep sessions"
    with pooled(postgres_uri, tmp_path, mode) as through:
        for name in ("database_url", "keystore_url"):
            urls = {**postgres_place.urls, name: through(postgres_place.urls[name])}
            with pytest.raises(Misconfigured, match=words) as caught:
                async with open_vault(postgres_place.folder, **urls):
                    raise AssertionError("it opened")
            assert "pool_mode = session" in caught.value.hint
        with pytest.raises(Misconfigured, match=words):
            await require_jobs(through(postgres_place.urls["database_url"]), 5, NEEDS)
        with pytest.raises(Misconfigured, match=words):
            await init_vault(tmp_path / "other", **led(postgres_place, through).urls)


async def test_without_sessions_none_of_many_connections_at_once_is_let_through(postgres_place, postgres_uri, tmp_path):
    """Other clients of the pooler come in between, and its servers take turns."""
    with pooled(postgres_uri, tmp_path, "transaction") as through:
        url = through(postgres_place.urls["database_url"])
        others = [await asyncpg.connect(url, statement_cache_size=0) for _ in range(5)]
        try:
            for other in others:  # each holds a server of the pool, and gives it back
                await other.execute("BEGIN")
            for other in others:
                await other.execute("COMMIT")
            for _ in range(10):
                with pytest.raises(Misconfigured, match="does not keep sessions"):
                    await require_jobs(url, 5, NEEDS)
        finally:
            for other in others:
                other.terminate()
