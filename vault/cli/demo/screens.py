"""What is shown of the tour: in brief, one screen of a terminal a chapter at most; or everything in full."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final, Protocol

from rich.console import Group, RenderableType
from rich.highlighter import JSONHighlighter
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import httpx
    from rich.console import Console

    Rows = Iterable[Sequence[object]]

MORE = {"…": "…"}
"""Replaces the omitted part of a response."""
MOST_ROWS: Final = 7
"""Rows of a table that are shown in brief."""
MOST_ITEMS: Final = 4
"""Lines of an answer that are shown in brief."""
MOST_LINES: Final = 2
"""Lines of an answer that is not fields that were read."""
WIDEST_CELL, NARROWEST_CELL = 34, 12
_INDENT: Final = 3
_PLAIN_LIST = re.compile(r'\[\s+(?:"[^"\\]*",?\s+)+\]')
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{6}([0-9a-f]{6})")
_FRACTION = re.compile(r"(?<=:\d\d)\.\d{6}Z")
_SHOWN_FIRST: Final = ("subject", "fields", "purpose")
"""Members of a request's body that are not shown by name in brief."""

Answer = dict[str, Any]
"""The JSON object of a response."""


@dataclass(frozen=True, slots=True)
class App:
    """An app of the tour. ``key`` is its API key."""

    name: str
    role: str
    key: str

    @property
    def title(self) -> str:
        """Return name and role."""
        return f"{self.name} ({self.role})" if self.role else self.name


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its response. ``request`` is the method and the path."""

    caller: App
    request: str
    body: Mapping[str, object] | None
    headers: Mapping[str, str]
    response: httpx.Response


class Screen(Protocol):
    """Shows the tour.

    Attributes:
        most: how many lines of each kind a long table should have.
    """

    most: int

    def chapter(self, number: int, title: str, explanation: str) -> None:
        """Begin a chapter."""

    def exchange(self, exchange: Exchange, answer: Answer, keys: tuple[str, ...], *, minor: bool) -> None:
        """Show a request with its answer; of the answer only some keys if any are named."""

    def line(self, text: str, style: str) -> None:
        """Show a line."""

    def request(self, caller: App, request: str, note: str) -> None:
        """Show a request whose answer is shown by other means."""

    def table(self, headings: Sequence[str], rows: Rows) -> None:
        """Show a table."""


class Muted:
    """Shows nothing: for chapters that are only played because later ones need them."""

    most = 1

    def chapter(self, number: int, title: str, explanation: str) -> None:
        """Show nothing."""

    def exchange(self, exchange: Exchange, answer: Answer, keys: tuple[str, ...], *, minor: bool) -> None:
        """Show nothing."""

    def line(self, text: str, style: str) -> None:
        """Show nothing."""

    def request(self, caller: App, request: str, note: str) -> None:
        """Show nothing."""

    def table(self, headings: Sequence[str], rows: Rows) -> None:
        """Show nothing."""


class Brief:
    """One screen a chapter at most: each request in one line, and the lines of its answer that matter."""

    most = 2

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = console.width

    def chapter(self, number: int, title: str, explanation: str) -> None:
        """Begin a chapter."""
        _begin(self._console, number, title, explanation)

    def exchange(self, exchange: Exchange, answer: Answer, keys: tuple[str, ...], *, minor: bool) -> None:
        """Show a request in one line, and what matters of its answer under it."""
        if minor:
            return
        self.request(exchange.caller, exchange.request, asked(exchange))
        response = exchange.response
        for line in gist(response.status_code, answer, keys, self._width - _INDENT):
            self.line(" " * _INDENT + line, "green" if response.is_success else "red")

    def line(self, text: str, style: str) -> None:
        """Show a line, clipped to the width."""
        self._console.print(Text(clipped(shortened(text), self._width), style=style))

    def request(self, caller: App, request: str, note: str) -> None:
        """Show a request in one line."""
        self.line(f"{caller.name}> {request}  {note}".rstrip(), "blue")

    def table(self, headings: Sequence[str], rows: Rows) -> None:
        """Show the first rows, each in one line."""
        cells = [[_first_line(cell) for cell in row] for row in (headings, *rows)]
        shown = cells[: MOST_ROWS + 1]
        widths = self._widths([min(max(map(len, column)), WIDEST_CELL) for column in zip(*shown, strict=True)])
        for number, row in enumerate(shown):
            padded = (clipped(cell, width).ljust(width) for cell, width in zip(row, widths, strict=False))
            self.line(" " * _INDENT + "  ".join(padded).rstrip(), "bold" if number == 0 else "green")
        if len(cells) > len(shown):
            self.line(f"{' ' * _INDENT}… and {len(cells) - len(shown)} more", "dim")

    def _widths(self, wanted: list[int]) -> list[int]:
        """Return the widths of the columns that fit; the last one may be narrower than wanted."""
        fitting, left = [], self._width - _INDENT
        for width in wanted:
            if left < min(width, NARROWEST_CELL):
                break
            fitting.append(min(width, left))
            left -= width + 2
        return fitting


class Full:
    """Every request and answer as it is, side by side."""

    most = 8

    def __init__(self, console: Console) -> None:
        self._console = console

    def chapter(self, number: int, title: str, explanation: str) -> None:
        """Begin a chapter."""
        _begin(self._console, number, title, explanation)

    def exchange(self, exchange: Exchange, answer: Answer, keys: tuple[str, ...], *, minor: bool) -> None:
        """Show a request and its answer side by side."""
        del minor
        response = exchange.response
        sent: list[RenderableType] = [Text(f"{name}: {value}") for name, value in exchange.headers.items()]
        sent.append(Text("no body", style="dim") if exchange.body is None else _pretty(exchange.body))
        colour = "green" if response.is_success else "red"
        status = f"{response.status_code} {HTTPStatus(response.status_code).phrase}"
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(ratio=1)
        grid.add_column(ratio=1)
        grid.add_row(
            Panel(Group(*sent), title="request", title_align="left", border_style="blue"),
            Panel(
                _pretty(in_brief(answer, keys) if keys else answer),
                title=status,
                title_align="left",
                border_style=colour,
            ),
        )
        self.request(exchange.caller, exchange.request, "")
        self._console.print(grid)

    def line(self, text: str, style: str) -> None:
        """Show a line."""
        self._console.print(Text(text, style=style))

    def request(self, caller: App, request: str, note: str) -> None:
        """Show a request."""
        self.line(f"-> {caller.title}: {request}{f', {note}' if note else ''}", "blue")

    def table(self, headings: Sequence[str], rows: Rows) -> None:
        """Show a table with borders."""
        table = Table(border_style="green")
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
        self._console.print(table)


def _begin(console: Console, number: int, title: str, explanation: str) -> None:
    console.print()
    console.print(Rule(Text(f"{number}. {title}", style="bold"), align="left", style="cyan"))
    console.print(Text(explanation, style="italic"))


# ---- In brief --------------------------------------------------------------------------------------------------------


def shortened(text: str) -> str:
    """Shorten ids in a text to their last digits, in which those of one moment differ, and times to seconds."""
    return _FRACTION.sub("Z", _UUID.sub(r"…\1", text))


def clipped(text: str, width: int) -> str:
    """Clip a text to a width."""
    return text if len(text) <= width else text[: width - 1] + "…"


def asked(exchange: Exchange) -> str:
    """Return in one line what a request asks for."""
    body = exchange.body or {}
    fields, purpose = body.get("fields"), body.get("purpose")
    words = [_plain(fields)] if fields else []
    words += [f"for {purpose}"] if purpose else []
    rest = {name: value for name, value in {**exchange.headers, **body}.items() if name not in _SHOWN_FIRST}
    words += [f"{name}: {_plain(value)}" for name, value in rest.items() if value not in ({}, [], "")]
    return ", ".join([" ".join(words[:2]), *words[2:]]) if fields and purpose else ", ".join(words)


def gist(status: int, answer: Answer, keys: tuple[str, ...], width: int) -> list[str]:
    """Return the lines of an answer that matter, each clipped to the width; the first begins with the status."""
    if "status" in answer and "code" in answer and "title" in answer:
        items = [*_refused(answer)] or [answer["detail"]]
        head = f"{status}   {answer['code']}: "
        if len(items) == 1:
            return [clipped(head + items[0], width)]
        return [head.rstrip(": "), *(" " * 6 + line for line in _short(items, width - 6))]
    items = [*_read(answer)]
    if not items:
        members = " · ".join(f"{name}: {_plain(value)}" for name, value in _scalars(answer, keys))
        items = _wrapped(shortened(members), width - 6) or ["{}"]
    first, *rest = _short(items, width - 6)
    return [f"{status}   {first}", *(" " * 6 + line for line in rest)]


def _wrapped(text: str, width: int) -> list[str]:
    lines = wrap(text, width)
    return (
        lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], clipped(lines[MOST_LINES - 1] + " …", width)]
    )


def _short(items: list[str], width: int) -> list[str]:
    shown = items if len(items) <= MOST_ITEMS + 1 else [*items[:MOST_ITEMS], f"… and {len(items) - MOST_ITEMS} more"]
    return [clipped(shortened(item), width) for item in shown]


def _read(answer: Answer) -> Iterator[str]:
    """Yield the fields that an answer shows, and those that it denies, one a line."""
    results = answer.get("results")
    for result in results if isinstance(results, list) else [answer]:
        if isinstance(result.get("purposes"), dict):
            permitted = ", ".join(f"{name}: {'yes' if is_so else 'no'}" for name, is_so in result["purposes"].items())
            yield f"{result['subject']}  {permitted}"
        if isinstance(result.get("fields"), dict):
            yield from (f"{name}: {_plain(value)}" for name, value in result["fields"].items())
            yield from _refused(result)
    if results == [] and "more" in answer:
        yield "nothing is found"


def _refused(answer: Answer) -> Iterator[str]:
    yield from (f"{name}: denied, {refusal['code']}" for name, refusal in (answer.get("denied") or {}).items())


def _scalars(value: object, keys: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    """Yield members at any depth that are no objects: those with some names, or all but ids."""
    items = value if isinstance(value, list) else [value]
    for item in items:
        for name, inner in item.items() if isinstance(item, dict) else ():
            if isinstance(inner, dict | list):
                yield from _scalars(inner, keys)
            elif inner is not None and (name in keys if keys else not _UUID.fullmatch(str(inner))):
                yield name.rpartition(":")[2], inner


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _first_line(cell: object) -> str:
    first, _, rest = ("" if cell is None else str(cell)).partition("\n")
    return f"{first}, …" if rest else first


# ---- In full ---------------------------------------------------------------------------------------------------------


def _pretty(value: object) -> RenderableType:
    """Format JSON with short lists on one line, and with long texts broken rather than cut off."""
    text = JSONHighlighter()(_PLAIN_LIST.sub(_on_one_line, json.dumps(value, indent=2, ensure_ascii=False)))
    text.overflow = "fold"
    return text


def _on_one_line(match: re.Match[str]) -> str:
    return f"[{' '.join(match[0][1:-1].split())}]"


def in_brief(value: object, keys: tuple[str, ...]) -> object:
    """Keep some keys and the path to them; :data:`MORE` replaces the omitted ones."""
    if isinstance(value, list):
        items = [in_brief(item, keys) for item in value]
        return [item for item in items if item not in ({}, [], MORE)]
    if not isinstance(value, dict):
        return {}
    kept = {}
    for key, inner in value.items():
        if key in keys and not isinstance(inner, dict | list):
            kept[key] = inner
        elif (part := in_brief(inner, keys)) not in ({}, [], MORE):
            kept[key] = part
    return kept if len(kept) == len(value) else {**kept, **MORE}
