"""Run the server: one process, or several that share the port."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import shutil
import socket
import tempfile
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from vault import logs
from vault.api.app import create_app
from vault.bootstrap import apply_folders, default_folder, open_vault, read_settings, shipped_policies
from vault.errors import Misconfigured
from vault.http.connection import Connection, Limits
from vault.jobs.database import NEEDS
from vault.policy.example import example_left
from vault.storage.diagnosis import require_jobs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

log = logs.get_logger()

APP = "vault.server:served"
GRACE_SECONDS = 10
"""The time for requests in progress to end after a signal to stop."""
WORKER_SECONDS = 30
"""A worker that does not answer for this time is replaced. It does not answer while it loads the program, which takes
long on a busy machine; with a shorter time it would be replaced again and again."""
WAITING_CONNECTIONS = 128
"""Connections that the kernel keeps until the process takes them; it takes all of them at once."""
OTHER_FILES = 200
"""Descriptors of a process that are no connections of clients: databases, files, sockets of jobs."""
LEAST_FILES = 128
"""With fewer descriptors a server does not start, or stops answering at some moment later."""
GARBAGE_THRESHOLD = 50_000
"""New objects before a garbage collection; with the default of 700 there would be several in each request."""


def serve(
    folder: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    app: str = APP,
    listening: Callable[[str, int], None] | None = None,
) -> None:
    """Run the vault of a folder until a signal to stop; requests under way are finished first.

    Args:
        folder: the vault's folder.
        host: address to listen at; the setting's by default.
        port: the setting's by default; 0 takes a free one, which the log names.
        workers: processes that share the port; the setting's by default.
        app: the factory of the application, as ``module:function``.
        listening: called with the address when the port is bound.

    Raises:
        Misconfigured, Unavailable, PolicyInvalid: the vault cannot run; raised before the port is opened.
    """
    settings = read_settings(folder)
    logs.configure(settings.log_level)
    workers = workers or settings.workers
    connections = _affordable(settings.connections)
    if not (_is_loopback(host or settings.host) or settings.trusted_proxies):
        log.warning("served beyond this machine without TLS: put a proxy in front, and name it in trusted_proxies")
    asyncio.run(_prepare(folder))
    os.environ["CDV_VAULT"] = str(folder.resolve())
    limits = Limits(connections, settings.receive_deadline, settings.request_deadline)
    http: Any = partial(Connection, limits=limits)  # uvicorn only calls it
    config = uvicorn.Config(
        app,
        factory=True,
        loop="uvloop",
        http=http,
        backlog=WAITING_CONNECTIONS,
        ws="none",
        workers=workers,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # the vault reads them itself, and only of proxies that the settings name
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_worker_healthcheck=WORKER_SECONDS,
    )
    with bound(host or settings.host, settings.port if port is None else port) as listener:
        address = listener.getsockname()
        log.info("listening", host=address[0], port=address[1], workers=workers)
        if listening is not None:
            listening(address[0], address[1])
        if workers == 1:
            uvicorn.Server(config).run([listener])
            log.info("stopped")
            return
    with bound(address[0], address[1], shared=True), _SharedFigures():
        workers_port: Any = _SharedPort(address[0], address[1])
        _Workers(config, sockets=[workers_port]).run()
    log.info("stopped")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _affordable(connections: int) -> int:
    """Return how many connections this process can keep open: fewer than set if it may not open as many files.

    Raises:
        Misconfigured: it may open so few files that a server cannot run.
    """
    wanted = connections + WAITING_CONNECTIONS + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < LEAST_FILES:
        raise Misconfigured(
            f"a server opens at least {LEAST_FILES} files, and this process may open {soft}",
            hint="raise the limit: `ulimit -n 4096`, or LimitNOFILE= in the unit of systemd",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))  # workers inherit it
    if soft >= wanted:
        return connections
    fewer = max(1, soft - WAITING_CONNECTIONS - OTHER_FILES)
    log.warning("fewer connections than set: the limit of open files is too low", count=fewer)
    return fewer


def bound(host: str, port: int, shared: bool = False) -> socket.socket:
    """Bind a port.

    Args:
        host: address to listen at.
        port: 0 takes a free one.
        shared: whether other processes can bind it too (``SO_REUSEPORT``). Only workers of one vault do: two vaults on
            one port would get each other's requests. So the port is bound without sharing first.

    Raises:
        Misconfigured: the port is in use, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Misconfigured(
            f"the port cannot be opened ({error.strerror or type(error).__name__})",
            hint="stop the process that listens there, or choose another port by --port",
        ) from None
    listener.set_inheritable(True)
    return listener


class _Workers(Multiprocess):
    """The worker processes. One that has ended is replaced, and the log says so."""

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended or do not answer."""
        before = [process.pid for process in self.processes]
        super().keep_subprocess_alive()
        for old, process in zip(before, self.processes, strict=True):
            if process.pid != old:
                log.error("a worker had ended or did not answer, and was replaced", pid=old)


class _SharedPort:
    """The port, pickled for a worker, where it becomes a socket of that worker.

    With one socket for all, the worker that wakes first takes all waiting connections, and long-lived connections stay
    there. With a socket for each worker, the kernel distributes them.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)

    def __reduce__(self) -> tuple[object, ...]:
        return bound, (*self._address, True)

    def close(self) -> None:
        """Do nothing: there is no socket."""


def served() -> ASGIApp:
    """Return the application of a server process; it opens the vault when the server starts."""
    gc.disable()  # until it has started: what is made until then stays
    folder = default_folder()
    logs.configure(read_settings(folder).log_level)
    return _Served(folder)


class _Served:
    """Opens the vault when the server starts, and closes it after the last request."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or a lifespan event of the server."""
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
    """A folder with the counters of all workers, so that each of them can show the sum."""

    def __enter__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="cdv-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = self._folder

    def __exit__(self, *_error: object) -> None:
        del os.environ["PROMETHEUS_MULTIPROC_DIR"]
        shutil.rmtree(self._folder, ignore_errors=True)


async def _prepare(folder: Path) -> None:
    """Find faults while the operator is still at the terminal; put the folder's policies in force."""
    async with open_vault(folder) as vault:
        await require_jobs(vault.settings.jobs_url, vault.settings.database_timeout, NEEDS)
        changed = await apply_folders(vault)
        active = vault.services.policies.all_active()
    for tenant, is_new in changed.items():
        if is_new:
            log.info("policies applied", tenant=tenant)
    for policies in active:
        if example_left(policies.policy_set, shipped_policies()) is not None:
            log.warning(
                "the controller is still the example, and papers are signed in its name: edit controller.toml, then "
                "`cdv policy apply`",
                tenant=policies.decisions.tenant,
            )


def _calm_garbage_collector() -> None:
    """Exclude the objects of the start from garbage collections, which caused a third of the longest waits."""
    gc.freeze()  # with the garbage of the start, 1 % of the objects: to find it would take a tenth of the start
    gc.enable()
    gc.set_threshold(GARBAGE_THRESHOLD, 50, 50)
