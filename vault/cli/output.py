"""Output of commands: tables and sentences, or JSON; and errors, with ``error:``, ``hint:`` and an exit status.

There are no styles unless standard output is a terminal, and no tracebacks: their messages may contain personal data.
``CDV_DEBUG=1`` shows them nevertheless, for debugging with test data.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup

from vault.clock import rfc3339
from vault.errors import InvalidInput, PolicyInvalid, VaultError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FAILED = 1
"""The exit status of a command that failed, or that found something wrong."""


def emit(value: object) -> None:
    """Print one line of JSON. A view becomes an object, an id a string, and a time RFC 3339."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=_plain))


def warn(text: str) -> None:
    """Print a warning on standard error, which scripts do not parse."""
    typer.echo(f"warning: {text}", err=True)


def note(text: str) -> None:
    """Print a sentence on standard error."""
    typer.echo(text, err=True)


def show_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
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
        table.add_row(*map(Text, row))  # as text: rich would interpret [brackets] as markup
    Console().print(table)


def _plain_table(headings: Sequence[str], rows: list[list[str]]) -> None:
    lines = [[heading.upper() for heading in headings], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _text(cell: object) -> str:
    if isinstance(cell, datetime):
        return cell.strftime("%Y-%m-%d %H:%M:%SZ")
    return "" if cell is None else str(cell)


def _plain(value: object) -> object:
    from vault.views import View  # pydantic: not at the start

    if isinstance(value, View):
        return value.as_json()
    return rfc3339(value) if isinstance(value, datetime) else str(value)


class Commands(TyperGroup):
    """The root command: reports all errors in one format."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: object,
    ) -> object:
        """Run a command; in standalone mode, exit with its status."""

        def run() -> object:
            return super(Commands, self).main(
                args, prog_name, complete_var, standalone_mode=False, windows_expand_args=windows_expand_args, **extra
            )

        if not standalone_mode:
            return run()
        try:
            result = run()
        except Exception as error:
            if os.environ.get("CDV_DEBUG") == "1":
                raise
            sys.exit(print_error(error))
        # Commands return nothing: a number is the status of one that ended by `typer.Exit`, as on Ctrl-C.
        sys.exit(result if isinstance(result, int) else 0)


def print_error(error: Exception) -> int:
    """Print an error on standard error, and return the exit status."""
    status, lines = FAILED, []
    if isinstance(error, VaultError):
        text, hint = error.detail, error.hint
        if isinstance(error, PolicyInvalid):
            lines = [str(finding) for finding in error.findings]
        elif isinstance(error, InvalidInput):
            lines = [f"{fault.at}: {fault.detail}" for fault in error.faults]
    elif isinstance(error, typer.TyperException):
        path = getattr(getattr(error, "ctx", None), "command_path", "cdv")
        text, hint, status = error.format_message(), f"`{path} --help` shows the usage", error.exit_code
    elif isinstance(error, typer.Abort):
        text, hint = "aborted; nothing was changed", "use --yes to skip the question"
    else:
        from vault.logs import describe_error

        described = describe_error(error)
        text = f"internal error ({described['error']} at {described['at']})"
        hint = "CDV_DEBUG=1 shows the traceback, personal data included"
    typer.echo(f"error: {text}", err=True)
    for line in lines:
        typer.echo(f"  {line}", err=True)
    if hint:
        typer.echo(f"hint: {hint}", err=True)
    return status
