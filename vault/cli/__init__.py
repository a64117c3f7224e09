"""The command line, ``cdv``: for whoever runs a vault and holds its folder.

A module that brings commands has a function ``register(app: typer.Typer) -> None``, which :data:`COMMANDS` names. It
imports the vault's rooms inside its functions: ``cdv --help`` is to answer at once, and loads none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from vault.cli.errors import Commands
from vault.cli.options import examples

COMMANDS = (
    "server:register",
    "server:register_serve",
    "demo:register",
    "apps:register",
    "apps:register_keys",
    "apps:register_tenants",
    "subjects:register",
    "policy:register",
    "notices:register",
    "server:register_jobs",
    "consent:register",
    "imports:register_consent_import",
    "requests:register",
    "rectify:register",
    "erasure:register",
    "retention:register",
    "holds:register",
    "audit:register",
    "backup:register",
    "restore:register",
    "server:register_db",
    "imports:register",
    "audit:register_processing",
    "consent:register_receipts",
    "export:register",
    "recipients:register",
    "recipients:register_webhooks",
    "verify:register",
)
"""The function that adds each command or group, in the order of ``cdv --help``."""

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


for _place in COMMANDS:
    _module, _, _function = _place.partition(":")
    getattr(import_module(f"vault.cli.{_module}"), _function)(app)


def main() -> None:
    """Run the command line; the entry point of ``cdv``."""
    app(prog_name="cdv")
