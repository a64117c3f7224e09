"""Run the server: one process, or several that share the port."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.supervisors import Multiprocess

from vault import logs
from vault.api.app import create_app
from vault.bootstrap import apply_folders, default_folder, open_vault, read_settings

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

    from vault.bootstrap import Vault

log = logs.get_logger()

GRACE_SECONDS = 10
"""After a signal to stop, requests under way get so long to end."""
GARBAGE_THRESHOLD = 50_000
"""New objects before the garbage collector looks; at the default of 700 it would look several times a request."""


def serve(folder: Path, *, host: str | None = None, port: int | None = None, workers: int = 1) -> None:
    """Run the vault of a folder until a signal to stop; requests under way are finished first.

    Args:
        folder: of the vault.
        host: address to listen at; the setting's by default.
        port: likewise; 0 takes a free one, which the log names.
        workers: processes that share the port.

    Raises:
        Misconfigured, Unavailable, PolicyInvalid: it cannot be run; found out before the port is opened.
    """
    settings = read_settings(folder)
    logs.configure(settings.log_level)
    asyncio.run(_prepare(folder))
    os.environ["CDV_VAULT"] = str(folder.resolve())
    config = uvicorn.Config(
        "vault.api.serve:served",
        factory=True,
        host=host or settings.host,
        port=settings.port if port is None else port,
        loop="uvloop",
        http="httptools",
        ws="none",
        workers=workers,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nobody's word for where a request comes from is needed here
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    socket = config.bind_socket()
    try:
        where = socket.getsockname()
        log.info("listening", host=where[0], port=where[1], workers=workers)
        if workers == 1:
            uvicorn.Server(config).run([socket])
        else:
            with _SharedFigures():
                Multiprocess(config, sockets=[socket]).run()
    finally:
        socket.close()


def served() -> ASGIApp:
    """Make the application for a server process; it opens its vault when the server starts."""
    folder = default_folder()
    logs.configure(read_settings(folder).log_level)
    return _Served(folder)


class _Served:
    """Opens the vault with the server and closes it after the last request."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._app: ASGIApp | None = None
        self._opening: AbstractAsyncContextManager[Vault] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or the server's own word that it starts or stops."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with open_vault(self._folder) as vault:
            self._app = create_app(vault)
            vault.start_jobs()
            _calm_garbage_collector()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


class _SharedFigures:
    """A folder in which the workers keep their counters, so that any of them can show the sum."""

    def __enter__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="cdv-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = self._folder

    def __exit__(self, *_error: object) -> None:
        del os.environ["PROMETHEUS_MULTIPROC_DIR"]
        shutil.rmtree(self._folder, ignore_errors=True)


async def _prepare(folder: Path) -> None:
    """Find out what is wrong while there is still somebody at the terminal; put the folder's policies in force."""
    async with open_vault(folder) as vault:
        changed = await apply_folders(vault)
    for tenant, is_new in changed.items():
        if is_new:
            log.info("policies applied", tenant=tenant)


def _calm_garbage_collector() -> None:
    """Take what was loaded at start out of the collector's rounds: a third of the longest waits came from there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 50, 50)
