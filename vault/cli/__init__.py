"""The command line, ``cdv``: for the operator of a vault, who has access to its folder.

:data:`COMMANDS` has the name and the short help of each command and group. Its module is imported when it is used.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from vault.cli.command import examples
from vault.cli.lazy import LazyCommands

COMMANDS = {
    "init": (
        "server",
        "Make a vault in a folder: databases, a root key, settings, and a copy of the shipped policies to edit.",
    ),
    "serve": ("server", "Serve the HTTP API of a vault until Ctrl-C."),
    "demo": (
        "demo",
        "Show in a quarter of a minute what the vault does: real requests, real answers, made-up people.",
    ),
    "restore": (
        "restore",
        "Bring a backup back into an empty place; then do again what was erased, withdrawn, restricted and held since.",
    ),
    "import": ("imports", "Import customers or their records from a file."),
    "processing-record": (
        "audit",
        "Write what data is used for, on which ground and by whom, and where that differs from what was really read.",
    ),
    "verify": (
        "verify",
        (
            "Check that signed files are whole, and whose key signed them; say what they say. "
            "Status 1 unless all are good."
        ),
    ),
    "apps": ("apps:group", "Apps that may call the vault: add, list, disable, change roles."),
    "keys": ("apps:keys_group", "API keys of apps: issue, list, revoke; and the vault's own signing keys."),
    "tenants": (
        "apps:tenants_group",
        "Tenants: brands or companies, each with keys, apps, policies and audit log of its own.",
    ),
    "subjects": ("subjects:group", "Customers with two entries: find them, and make one of two."),
    "policy": ("policy:group", "Policies: check a folder, put it into force, explain what it says."),
    "notices": (
        "notices:group",
        "Notices: the texts that people agree to, what changed in them, and who must be asked again.",
    ),
    "jobs": (
        "jobs:group",
        "Jobs that carry out requests and send notices: how they stand, and how to run them here.",
    ),
    "consent": (
        "consent:group",
        "Consents, objections and restrictions: record, show, check, compare with the ledger.",
    ),
    "requests": (
        "requests:group",
        "Requests of people about their own data: take in, list by urgency, decide, carry out.",
    ),
    "rectify": (
        "rectify:group",
        (
            "Corrections and disputes of people's data (Arts. 16 and 18 GDPR). "
            "A correction itself is a request: cdv requests."
        ),
    ),
    "erasures": ("erasure:group", "Erase people: preview, progress, certificate, check."),
    "retention": (
        "retention:group",
        "Retention: until when values are kept and why, what is due, sweeps, events, reviews.",
    ),
    "holds": ("holds:group", "Legal holds: keep what is evidence from every deletion, and narrow what it is read for."),
    "audit": ("audit:group", "The audit log."),
    "backup": ("backup:group", "Backups: make, list, try and thin out. `cdv restore` brings one back."),
    "db": ("server:db_group", "The tables of a vault's databases."),
    "packages": (
        "export:group",
        "Packages of access and portability: list, fetch, open, send, delete what is over.",
    ),
    "recipients": (
        "recipients:group",
        "Recipients: apps that are told of erasures and corrections (Art. 19), and who has not acknowledged.",
    ),
    "webhooks": (
        "recipients:webhooks_group",
        "Webhooks: where apps want to be told of erasures and corrections, and the secrets by which they know it.",
    ),
}
"""Each command's module, or each group's ``module:attribute``; and its short help. The order is that of the help."""


class Commands(LazyCommands):
    """The commands of ``cdv``."""

    table = COMMANDS


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


def main() -> None:
    """Run the command line; the entry point of ``cdv``."""
    app(prog_name="cdv")
