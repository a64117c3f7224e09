"""The server of the tour, and the requests to it."""

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
from rich.console import Console

from vault.cli.demo.screens import Answer, App, Exchange, Muted, Screen
from vault.errors import VaultError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

START_TIMEOUT = 60.0
ANSWER_TIMEOUT = 90.0
"""Seconds; longer than the server of the tour takes for any request, which ends with an answer even then."""
STOP_TIMEOUT = 15.0
"""Seconds; longer than the server gives to requests under way."""
POLL_INTERVAL = 0.05
PLAIN_WIDTH, FULL_WIDTH = 80, 120
"""Columns if standard output is no terminal."""


class DemoFailed(VaultError):
    """The tour cannot continue, or a response is not what the tour says."""

    code = "demo-failed"


class Server:
    """``cdv serve`` on a free port, in a process of its own that ends with the ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log: deque[str] = deque(maxlen=20)

    def __enter__(self) -> Self:
        # Port 0 takes a free one, and the log names it, so no other process can take it in between. A session of its
        # own keeps Ctrl-C from the server, so that the tour always stops it.
        command = [sys.executable, "-P", "-m", "vault", "serve", "--vault", str(self._folder)]
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
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self) -> str:
        """Wait until the server answers; returns its URL.

        Raises:
            DemoFailed: it does not start.
        """
        url = f"http://127.0.0.1:{self._port()}"
        # Keep reading the log: a server stops when the pipe is full.
        threading.Thread(target=self._log.extend, args=(self._process.stderr or (),), daemon=True).start()
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"{url}/readyz", timeout=START_TIMEOUT).is_success:
                    return url
            except httpx.TransportError:
                pass
            time.sleep(POLL_INTERVAL)
        raise self._not_started()

    def _port(self) -> int:
        """Read the log up to the line that names the port."""
        for line in self._process.stderr or ():
            self._log.append(line)
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry.get("event") == "listening":
                return int(entry["port"])
        raise self._not_started()

    def _not_started(self) -> DemoFailed:
        return DemoFailed("the server does not start", hint="its log: " + "".join(self._log).strip())


def make_console(*, full: bool) -> Console:
    """Make a console; without a terminal it is plain and has a fixed width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=FULL_WIDTH if full else PLAIN_WIDTH)


class Stage:
    """Sends the requests of the tour and shows what happens.

    Args:
        screen: where to show it.
        client: a client of the server.
        apps: the apps that can send requests, by name.
        folder: the vault's folder, for what is not done over HTTP.

    Attributes:
        page: the page of the access package, once there is one.
    """

    def __init__(self, screen: Screen, client: httpx.Client, apps: Mapping[str, App], folder: Path) -> None:
        self.screen = screen
        self.folder = folder
        self.page: str | None = None
        self._client = client
        self._apps = apps

    def mute(self, screen: Screen | None = None) -> None:
        """Show nothing from now on, or show it on a screen again."""
        self.screen = screen or Muted()

    def app(self, name: str) -> App:
        """Return an app; one that the vault does not know has a key that is not valid."""
        return self._apps.get(name) or App(name, "", "cdv_nobody_has_this_key")

    def send(
        self,
        app: str,
        request: str,
        body: Mapping[str, object] | None = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Exchange:
        """Send a request as an app, such as ``POST /v1/read``.

        Raises:
            DemoFailed: the response has another status.
        """
        caller = self.app(app)
        method, path = request.split(" ", 1)
        sent = headers or {}
        bearer = {"Authorization": f"Bearer {caller.key}"}
        response = self._client.request(method, path, json=body, headers={**sent, **bearer})
        if response.status_code != status:
            raise DemoFailed(f"{caller.title}: {request} was answered by {response.status_code}", hint=response.text)
        return Exchange(caller, request, body, sent, response)

    def fetch(self, app: str, request: str, body: Mapping[str, object] | None = None, *, status: int = 200) -> Answer:
        """Send a request without showing it, and return the answer; raises what :meth:`send` raises."""
        answer: Answer = self.send(app, request, body, status=status).response.json()
        return answer

    def ask(
        self,
        app: str,
        request: str,
        body: Mapping[str, object] | None = None,
        *,
        status: int = 200,
        brief: tuple[str, ...] = (),
        minor: bool = False,
    ) -> Answer:
        """Send a request, show it with the answer, and return the answer; raises what :meth:`send` raises.

        If ``brief`` names keys, only they are shown of the answer, at any depth. A ``minor`` exchange is shown in full
        tours only.
        """
        return self.show(self.send(app, request, body, status=status), brief, minor=minor)

    def read(self, app: str, subject: str, fields: Sequence[str], purpose: str, status: int = 200) -> Answer:
        """Read fields of a subject, show the request with the answer, and return the answer."""
        return self.ask(app, "POST /v1/read", {"subject": subject, "fields": fields, "purpose": purpose}, status=status)

    def show(self, exchange: Exchange, brief: tuple[str, ...] = (), *, minor: bool = False) -> Answer:
        """Show a request and its answer, and return the answer."""
        answer: Answer = exchange.response.json()
        self.screen.exchange(exchange, answer, brief, minor=minor)
        return answer

    def say(self, text: str, style: str = "blue") -> None:
        """Show a line."""
        self.screen.line(text, style)

    def show_table(
        self, app: str, request: str, note: str, headings: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """Show a request, and its answer as a table."""
        self.screen.request(self.app(app), request, note)
        self.screen.table(headings, rows)


def require(condition: bool, claim: str) -> None:
    """Check something that the tour says.

    Raises:
        DemoFailed: it is not so.
    """
    if not condition:
        raise DemoFailed(f"the tour says that {claim}, and that is not so", hint="please report this")
