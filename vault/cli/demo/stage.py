"""The server of the tour, and the requests to it, which are shown with their responses side by side."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import httpx
from rich.console import Console, Group, RenderableType
from rich.highlighter import JSONHighlighter
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from vault.errors import VaultError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

START_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0
"""Seconds; longer than the server gives to requests under way."""
POLL_INTERVAL = 0.05
PLAIN_WIDTH = 120
"""Columns if standard output is no terminal."""
MORE = {"…": "…"}
"""Replaces the omitted part of a response."""
_PLAIN_LIST = re.compile(r'\[\s+(?:"[^"\\]*",?\s+)+\]')

Answer = dict[str, Any]
"""The JSON object of a response."""


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
        command = [sys.executable, "-m", "vault", "serve", "--vault", str(self._folder)]
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


def make_console() -> Console:
    """Make a console; without a terminal it is plain and has a fixed width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


class App(NamedTuple):
    """An app of the tour. ``key`` is its API key."""

    name: str
    role: str
    key: str


class Exchange(NamedTuple):
    """A request and its response. ``request`` is the method and the path."""

    caller: str
    request: str
    body: Mapping[str, object] | None
    headers: Mapping[str, str]
    response: httpx.Response


class Stage:
    """Sends the requests of the tour and shows what happens.

    Args:
        console: where to show it.
        client: a client of the server.
        apps: the apps that can send requests, by name.
        folder: the vault's folder, for what is not done over HTTP.
    """

    def __init__(self, console: Console, client: httpx.Client, apps: Mapping[str, App], folder: Path) -> None:
        self.console = console
        self.folder = folder
        self._client = client
        self._apps = apps
        self._chapter = 0

    def open_chapter(self, title: str, explanation: str) -> None:
        """Show a chapter's number, title and explanation."""
        self._chapter += 1
        self.console.print()
        self.console.print(Rule(Text(f"{self._chapter}. {title}", style="bold"), align="left", style="cyan"))
        self.console.print(Text(explanation, style="italic"))

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
        known = self._apps.get(app)
        key = "cdv_nobody_has_this_key" if known is None else known.key
        caller = app if known is None else f"{app} ({known.role})"
        method, path = request.split(" ", 1)
        sent = headers or {}
        response = self._client.request(method, path, json=body, headers={**sent, "Authorization": f"Bearer {key}"})
        if response.status_code != status:
            raise DemoFailed(f"{caller}: {request} was answered by {response.status_code}", hint=response.text)
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
    ) -> Answer:
        """Send a request, show it with the answer, and return the answer; raises what :meth:`send` raises.

        If ``brief`` names keys, only they are shown of the answer, at any depth.
        """
        return self.show(self.send(app, request, body, status=status), brief)

    def read(self, app: str, subject: str, fields: Sequence[str], purpose: str, status: int = 200) -> Answer:
        """Read fields of a subject, show the request with the answer, and return the answer."""
        return self.ask(app, "POST /v1/read", {"subject": subject, "fields": fields, "purpose": purpose}, status=status)

    def show(self, exchange: Exchange, brief: tuple[str, ...] = ()) -> Answer:
        """Show a request and its answer side by side, and return the answer."""
        response = exchange.response
        answer: Answer = response.json()
        sent: list[RenderableType] = [Text(f"{name}: {value}") for name, value in exchange.headers.items()]
        sent.append(Text("no body", style="dim") if exchange.body is None else _pretty(exchange.body))
        colour = "green" if response.is_success else "red"
        status = f"{response.status_code} {HTTPStatus(response.status_code).phrase}"
        shown = _in_brief(answer, brief) if brief else answer
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(ratio=1)
        grid.add_column(ratio=1)
        grid.add_row(
            Panel(Group(*sent), title="request", title_align="left", border_style="blue"),
            Panel(_pretty(shown), title=status, title_align="left", border_style=colour),
        )
        self.say(f"-> {exchange.caller}: {exchange.request}")
        self.console.print(grid)
        return answer

    def say(self, text: str, style: str = "blue") -> None:
        """Show a line."""
        self.console.print(Text(text, style=style))

    def show_table(self, title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Show a line and a table under it."""
        table = Table(border_style="green")
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
        self.say(title)
        self.console.print(table)


def _pretty(value: object) -> RenderableType:
    """Format JSON with short lists on one line, and with long texts broken rather than cut off."""
    text = JSONHighlighter()(_PLAIN_LIST.sub(_on_one_line, json.dumps(value, indent=2, ensure_ascii=False)))
    text.overflow = "fold"
    return text


def _on_one_line(match: re.Match[str]) -> str:
    return f"[{' '.join(match[0][1:-1].split())}]"


def _in_brief(value: object, keys: tuple[str, ...]) -> object:
    """Keep some keys and the path to them; :data:`MORE` replaces the omitted ones."""
    if isinstance(value, list):
        items = [_in_brief(item, keys) for item in value]
        return [item for item in items if item not in ({}, [], MORE)]
    if not isinstance(value, dict):
        return {}
    kept = {}
    for key, inner in value.items():
        if key in keys and not isinstance(inner, dict | list):
            kept[key] = inner
        elif (part := _in_brief(inner, keys)) not in ({}, [], MORE):
            kept[key] = part
    return kept if len(kept) == len(value) else {**kept, **MORE}


def require(condition: bool, claim: str) -> None:
    """Check something that the tour says.

    Raises:
        DemoFailed: it is not so.
    """
    if not condition:
        raise DemoFailed(f"the tour says that {claim}, and that is not so", hint="please report this")
