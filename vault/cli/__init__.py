"""The command line, ``cdv``: for whoever runs a vault and holds its folder.

A module that brings commands has a function ``register(app: typer.Typer) -> None`` and stands in :data:`MODULES`. It
imports the vault's rooms inside its functions: ``cdv --help`` is to answer at once, and loads none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from vault.cli.errors import Commands
from vault.cli.options import examples

MODULES = (
    "init",
    "serve",
    "demo",
    "apps",
    "keys",
    "tenants",
    "subjects",
    "policy",
    "notices",
    "jobs",
    "consent",
    "consent_import",
    "requests",
    "rectify",
    "erasures",
    "retention",
    "holds",
    "audit",
    "backup",
    "restore",
    "db",
    "import_",
    "processing",
    "receipts",
    "packages",
    "recipients",
    "webhooks",
    "verify",
)
"""Modules of this package that bring commands, in the order of ``cdv --help``."""

app = typer.Typer(
    name="cdv",
    cls=Commands,
    help="A vault for customers' personal data: sealed by field, read for a purpose, on record.",
    epilog=examples("cdv demo", "cdv init my-vault", "cdv serve --vault my-vault"),
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cdv {version('customer-data-vault')}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Show the help where no command is named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for _name in MODULES:
    import_module(f"vault.cli.{_name}").register(app)


def main() -> None:
    """Run the command line; the entry point of ``cdv``."""
    app(prog_name="cdv")
