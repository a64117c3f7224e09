"""Output of commands: tables and sentences, or JSON; without styles unless standard output is a terminal."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from vault.clock import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence


def emit(value: Any) -> None:
    """Print one line of JSON; ids become strings and times RFC 3339."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=_plain))


def warn(text: str) -> None:
    """Print a warning on standard error, which scripts do not parse."""
    typer.echo(f"warning: {text}", err=True)


def note(text: str) -> None:
    """Print a sentence on standard error."""
    typer.echo(text, err=True)


def show_table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
    """Print a table, or the text for an empty one."""
    cells = [[_text(cell) for cell in row] for row in rows]
    if not cells:
        note(empty)
    elif sys.stdout.isatty():
        _rich_table(headings, cells)
    else:
        _plain_table(headings, cells)


def _rich_table(headings: Sequence[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # as text: rich would take [brackets] for its own
    Console().print(table)


def _plain_table(headings: Sequence[str], rows: list[list[str]]) -> None:
    lines = [[heading.upper() for heading in headings], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _text(cell: Any) -> str:
    if isinstance(cell, datetime):
        return cell.strftime("%Y-%m-%d %H:%M:%SZ")
    return "" if cell is None else str(cell)


def _plain(value: Any) -> str:
    return rfc3339(value) if isinstance(value, datetime) else str(value)
