"""Options that many commands share, and the groups that hold commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vault.ids import DEFAULT_TENANT

HERE = Path()
DEFAULT = str(DEFAULT_TENANT)

VaultFolder = Annotated[
    Path,
    typer.Option(
        "--vault", metavar="DIR", envvar="CDV_VAULT", help="The vault's folder.", show_default="the current folder"
    ),
]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="The tenant that is meant.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def examples(*lines: str) -> str:
    """Make the end of a command's help: every command shows how it is used."""
    return "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *lines])


def make_group(help_text: str, *lines: str) -> typer.Typer:
    """Make a group of commands that shows its help where none of them is named."""
    group = typer.Typer(help=help_text, epilog=examples(*lines), invoke_without_command=True)

    @group.callback()
    def start(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    return group
