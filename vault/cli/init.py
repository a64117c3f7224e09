"""``cdv init``: make a vault."""

from __future__ import annotations

import shlex
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from vault.cli.options import Json, examples
from vault.cli.output import emit
from vault.cli.session import run


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("cdv init my-vault"))(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet, or an empty one.")],
    as_json: Json = False,
) -> None:
    """Make a vault in a folder: databases, a root key, settings, and a copy of the shipped policies to edit."""
    from vault.bootstrap import init_vault

    settings = run(init_vault(folder))
    if as_json:
        emit({"vault": str(settings.vault), "policies": str(settings.policies)})
        return
    typer.echo(f"A vault lies in {folder}:")
    if settings.root_key.startswith("file:"):
        typer.echo("  root.key   opens everything else: keep a copy of it apart from the backups of the rest")
    typer.echo("  policies/  who may read what, and what for: yours to edit")
    typer.echo("  cdv.toml   settings")
    typer.echo("\nGo on with")
    where = shlex.quote(str(folder))
    typer.echo(f"  cdv apps add my-app --role fulfilment --vault {where}")
    typer.echo(f"  cdv serve --vault {where}")
