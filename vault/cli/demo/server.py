"""A server for the length of the tour: a process of its own, which never outlives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

import httpx

from vault.errors import VaultError

if TYPE_CHECKING:
    from pathlib import Path

STARTS_WITHIN = 60.0
STOPS_WITHIN = 15.0
"""Seconds; longer than the server gives to requests under way."""
LOOKS_EVERY = 0.05


class DemoFailed(VaultError):
    """The tour cannot go on, or an answer is not what the tour says."""

    code = "demo-failed"


class Server:
    """``cdv serve`` on a free port, while the ``with`` block lasts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said: deque[str] = deque(maxlen=20)

    def __enter__(self) -> Self:
        # Port 0 takes a free one, and the log names it, so no other process can take it in between. A session of its
        # own keeps Ctrl-C from the server, so that the tour always stops it.
        command = [sys.executable, "-m", "vault.cli", "serve", "--vault", str(self._folder)]
        self._process = subprocess.Popen(  # noqa: S603 - our own command line
            [*command, "--host", "127.0.0.1", "--port", "0"],
            env={name: value for name, value in os.environ.items() if not name.startswith("CDV_")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self) -> str:
        """Wait until the server answers; returns its URL.

        Raises:
            DemoFailed: it does not start.
        """
        url = f"http://127.0.0.1:{self._port()}"
        threading.Thread(target=self._listen_on, daemon=True).start()
        until = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if httpx.get(f"{url}/readyz", timeout=STARTS_WITHIN).is_success:
                    return url
            except httpx.TransportError:
                pass
            time.sleep(LOOKS_EVERY)
        raise self._does_not_start()

    def _port(self) -> int:
        """Read the log up to the line that names the port."""
        for line in self._process.stderr or ():
            self._said.append(line)
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if said.get("event") == "listening":
                return int(said["port"])
        raise self._does_not_start()

    def _listen_on(self) -> None:
        """Keep reading: a server stops when the pipe of its log is full."""
        for line in self._process.stderr or ():
            self._said.append(line)

    def _does_not_start(self) -> DemoFailed:
        return DemoFailed("the server does not start", hint="it said: " + "".join(self._said).strip())
