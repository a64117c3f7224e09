"""Asks the server and shows the request and the answer side by side."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.highlighter import JSONHighlighter
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from vault.cli.demo.server import DemoFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import httpx

PLAIN_WIDTH = 120
"""Columns where no terminal says how many it has."""

MORE = {"…": "…"}
"""Stands for what is left out of an answer."""

_PLAIN_LIST = re.compile(r'\[\s+(?:"[^"\\]*",?\s+)+\]')


def make_console() -> Console:
    """Make a console; without a terminal it is plain and has a fixed width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


@dataclass(frozen=True, slots=True)
class App:
    """An app of the tour. ``key`` is its API key."""

    name: str
    role: str
    key: str


class Stage:
    """Where the tour plays.

    Args:
        console: where to show.
        client: leads to the server.
        apps: who can ask, by name.
        folder: the vault's, for what is done at the console and not over HTTP.
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

    def ask(
        self,
        who: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        shown: bool = True,
        brief: tuple[str, ...] = (),
    ) -> Any:
        """Send a request as an app, show it with its answer, and return the answer's body.

        Of a long answer ``brief`` names the keys that are shown, wherever in it they stand.

        Raises:
            DemoFailed: the answer has another status than the tour says.
        """
        app = self._apps.get(who)
        key = "cdv_nobody_has_this_key" if app is None else app.key
        answer = self._client.request(
            method, path, json=body, headers={**(headers or {}), "Authorization": f"Bearer {key}"}
        )
        if shown:
            caller = f"{who} ({app.role})" if app is not None else who
            told = _in_brief(answer.json(), brief) if brief else answer.json()
            self._show(f"{caller}: {method} {path}", body, headers, answer, told)
        if answer.status_code != status:
            raise DemoFailed(f"the answer should have been {status} and is {answer.status_code}", hint=answer.text)
        return answer.json()

    def download(self, who: str, path: str) -> bytes:
        """Get a file as an app, and show how large it is.

        Raises:
            DemoFailed: the answer is no file.
        """
        app = self._apps[who]
        answer = self._client.get(path, headers={"Authorization": f"Bearer {app.key}"})
        if answer.status_code != HTTPStatus.OK:
            raise DemoFailed(f"the answer should have been a file and is {answer.status_code}", hint=answer.text)
        kind = answer.headers["content-type"]
        self.console.print(Text(f"-> {who} ({app.role}): GET {path}", style="blue"))
        self.console.print(Text(f"   {kind}, {len(answer.content):,} bytes", style="green"))
        return answer.content

    def _show(
        self,
        title: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        answer: httpx.Response,
        told: Any,
    ) -> None:
        asked: list[RenderableType] = [Text(f"{name}: {value}") for name, value in (headers or {}).items()]
        asked.append(Text("no body", style="dim") if body is None else _pretty(body))
        colour = "green" if answer.is_success else "red"
        status = f"{answer.status_code} {HTTPStatus(answer.status_code).phrase}"
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(ratio=1)
        grid.add_column(ratio=1)
        grid.add_row(
            Panel(Group(*asked), title="request", title_align="left", border_style="blue"),
            Panel(_pretty(told), title=status, title_align="left", border_style=colour),
        )
        self.console.print(Text(f"-> {title}", style="blue"))
        self.console.print(grid)


def _pretty(value: Any) -> RenderableType:
    """Show JSON with plain lists in one line, and with long texts broken rather than cut off."""
    written = json.dumps(value, indent=2, ensure_ascii=False)
    text = JSONHighlighter()(_PLAIN_LIST.sub(_in_one_line, written))
    text.overflow = "fold"
    return text


def _in_brief(value: Any, keys: tuple[str, ...]) -> Any:
    """Keep some keys, and what leads to them; one more stands for all that is left out."""
    if isinstance(value, list):
        kept_items = [_in_brief(each, keys) for each in value]
        return [each for each in kept_items if each not in ({}, [], MORE)]
    if not isinstance(value, dict):
        return {}
    kept = {}
    for key, inner in value.items():
        if key in keys and not isinstance(inner, dict | list):
            kept[key] = inner
        elif (found := _in_brief(inner, keys)) not in ({}, [], MORE):
            kept[key] = found
    return kept if len(kept) == len(value) else {**kept, **MORE}


def _in_one_line(found: re.Match[str]) -> str:
    return f"[{' '.join(found[0][1:-1].split())}]"


def require(holds: bool, what: str) -> None:
    """Insist on something that the tour says.

    Raises:
        DemoFailed: it does not hold.
    """
    if not holds:
        raise DemoFailed(f"the tour says that {what}, and that is not so", hint="please report this")
