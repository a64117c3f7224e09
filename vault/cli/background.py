"""A server in the background: ``cdv serve --background`` starts one and waits until it is ready, ``cdv stop`` ends it.

The server holds a lock on a file in the vault's folder for as long as it runs, and the file says where it listens. So
a process id that is left over from a server that was killed is never mistaken for a server.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final

import typer

from vault.cli.command import HERE, TOP_LEVEL, VaultFolder, command
from vault.cli.output import note, warn
from vault.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

STATE: Final = "server.json"
"""The file in the vault's folder that a server in the background holds locked."""
LOG: Final = "server.log"
START_TIMEOUT: Final = 300.0
"""Seconds until a server that is not ready is given up. It is for a machine that hardly moves: one that fails exits."""
STOP_TIMEOUT: Final = 60.0
"""Seconds; longer than the server gives to requests in progress."""
POLL_INTERVAL: Final = 0.1
LINES_OF_LOG: Final = 5
"""Lines of the log that are shown if a server ends without saying why."""


class StartFailed(Unavailable):
    """The server in the background did not start."""

    code = "server-not-started"


@dataclass(frozen=True, slots=True)
class Running:
    """A server in the background."""

    pid: int
    host: str
    port: int

    @property
    def url(self) -> str:
        """Return the address to call."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@command(TOP_LEVEL, "cdv stop --vault my-vault", name="stop")
def stop(vault: VaultFolder = HERE) -> None:
    """Stop the server that `cdv serve --background` started; requests in progress are finished first."""
    with _opened(vault) as file:
        if not _is_locked(file):
            raise Misconfigured(
                "no server of this vault runs in the background",
                hint="a server in the foreground is stopped by Ctrl-C; name another vault by --vault",
            )
        server = _read(file)
        if server is None:
            raise Unavailable("the server is only starting", hint="wait until it is ready, then try again")
        os.kill(server.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT
        while _is_locked(file):
            if time.monotonic() > deadline:
                raise Unavailable("the server does not stop", hint=f"end it at once by `kill -9 {server.pid}`")
            time.sleep(POLL_INTERVAL)
    note(f"stopped (process {server.pid})")


def start(folder: Path, options: Sequence[str]) -> None:
    """Start a server in the background, wait until it is ready, and say where it listens and how it is stopped.

    Args:
        folder: the vault's folder.
        options: options of ``cdv serve``.

    Raises:
        Misconfigured: a server of this vault runs in the background already, or its files cannot be written.
        StartFailed: the server ended, or is not ready in time; the error has its own reason.
    """
    with _opened(folder) as file, open(folder / LOG, "ab", opener=_owner_only) as log:
        if not _lock(file):
            server = _read(file)
            where = "" if server is None else f": process {server.pid}, {server.url}"
            raise Misconfigured(
                f"a server of this vault runs in the background already{where}", hint="stop it by `cdv stop`"
            )
        os.ftruncate(file, 0)
        begin = log.seek(0, os.SEEK_END)
        # The child inherits the lock. A session of its own keeps Ctrl-C and the end of the terminal from it; with -P it
        # is this program, and not that in a folder `vault` of the current directory.
        process = subprocess.Popen(  # noqa: S603 - our own command line
            [sys.executable, "-P", "-m", "vault", "serve", "--vault", str(folder), *options, "--announce", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[file],
            start_new_session=True,
        )
        try:
            server = _wait(process, file, folder / LOG, begin)
        except BaseException:
            process.terminate()
            raise
    for event in _warnings(folder / LOG, begin):
        warn(event)
    where = shlex.quote(str(folder))
    typer.echo(f"ready: {server.url}")
    typer.echo(f"  process  {server.pid}")
    typer.echo(f"  log      {shlex.quote(str(folder / LOG))}")
    typer.echo(f"  stop     cdv stop --vault {where}")


def announce(file: int, host: str, port: int) -> None:
    """Write where this process listens to the file that it was given; the lock on it ends with the process."""
    fcntl.fcntl(file, fcntl.F_SETFD, fcntl.FD_CLOEXEC)  # no process that the server starts keeps the lock
    os.pwrite(file, json.dumps(asdict(Running(os.getpid(), host, port))).encode(), 0)


def _wait(process: subprocess.Popen[bytes], file: int, log: Path, begin: int) -> Running:
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None:
        server = _read(file)
        if server is not None and _is_ready(server):
            return server
        if time.monotonic() > deadline:
            raise StartFailed(
                f"the server is not ready after {START_TIMEOUT:.0f} seconds, and was stopped",
                hint=f"its log is {log}: {_last_lines(log, begin)}",
            )
        time.sleep(POLL_INTERVAL)
    raise _reason(log, begin)


def _is_ready(server: Running) -> bool:
    with closing(HTTPConnection(server.host, server.port, timeout=10)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


def _reason(log: Path, begin: int) -> StartFailed:
    """Return the server's own reason: what it wrote as an error of the command line, or else the end of its log."""
    lines = _written(log, begin)
    said = [line for line in lines if not line.startswith("{")]
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    hints = [line.removeprefix("hint: ") for line in said if line.startswith("hint: ")]
    if not errors:
        return StartFailed("the server ended before it was ready", hint=f"its log is {log}: {_last_lines(log, begin)}")
    findings = [line.strip() for line in said if line.startswith("  ")]
    return StartFailed(
        "\n  ".join([f"the server did not start: {errors[-1]}", *findings]), hint="; ".join(hints) or None
    )


def _written(log: Path, begin: int) -> list[str]:
    return log.read_bytes()[begin:].decode("utf-8", "replace").splitlines()


def _warnings(log: Path, begin: int) -> list[str]:
    """Return the warnings that the server wrote while it started."""
    entries = [json.loads(line) for line in _written(log, begin) if line.startswith("{") and line.endswith("}")]
    return [entry["event"] for entry in entries if entry.get("level") == "warning"]


def _last_lines(log: Path, begin: int) -> str:
    return "\n  ".join(["", *_written(log, begin)[-LINES_OF_LOG:]])


def _read(file: int) -> Running | None:
    """Return where the server listens; None if it does not listen yet."""
    try:
        return Running(**json.loads(os.pread(file, 4096, 0)))
    except (ValueError, TypeError):
        return None


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open the file with the server's address as a descriptor, of a vault only."""
    if not (folder / "cdv.toml").is_file():
        raise Misconfigured(
            "there is no vault in this folder", hint="make one with `cdv init DIR`, or name one by --vault"
        )
    try:
        file = os.open(folder / STATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misconfigured(
            f"{STATE} in the vault's folder cannot be written ({error.strerror})",
            hint="look at the folder's owner and mode, or serve in the foreground",
        ) from None
    try:
        yield file
    finally:
        os.close(file)


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(file: int) -> bool:
    if _lock(file):
        fcntl.flock(file, fcntl.LOCK_UN)
        return False
    return True
