"""The command line, ``cdv``: for the operator of a vault, who has access to its folder.

:data:`COMMANDS` has the name and the short help of each command and group. Its module is imported when it is used.
"""

from __future__ import annotations

from typing import Annotated

import typer

from vault.cli.command import examples
from vault.cli.lazy import LazyCommands
from vault.context import OPERATOR_NAME
from vault.ids import is_slug

COMMANDS = {
    "init": (
        "server",
        "Create a vault in a folder: databases, a root key, settings, and a copy of the shipped policies to edit.",
    ),
    "serve": ("server", "Serve the HTTP API of a vault until Ctrl-C, or in the background."),
    "stop": (
        "background",
        "Stop the server that `cdv serve --background` started; requests in progress are finished first.",
    ),
    "doctor": (
        "doctor",
        "Check settings, keys, databases, policies, mail, backups and waiting work, and say what to do about each.",
    ),
    "demo": (
        "demo",
        "Show what the vault does, with real HTTP requests and generated customers, one screen a chapter.",
    ),
    "restore": (
        "backup",
        "Restore a backup to an empty location, then replay the erasures, withdrawals, restrictions and holds since.",
    ),
    "import": ("imports", "Import customers or their records from a file."),
    "processing-record": (
        "audit",
        "Write the record of processing activities: purposes, grounds and recipients, and the real use of data.",
    ),
    "verify": (
        "verify",
        "Verify signed files: their integrity, and the key that signed them. Exit status 1 unless all are valid.",
    ),
    "apps": ("apps:group", "Apps that may call the vault: add, list, disable, change roles."),
    "keys": ("apps:keys_group", "API keys of apps: issue, list, revoke; and the vault's own signing keys."),
    "tenants": (
        "apps:tenants_group",
        "Tenants: brands or companies, each with its own keys, apps, policies and audit log.",
    ),
    "subjects": ("subjects:group", "Duplicate customers: find and merge them."),
    "policy": ("policy:group", "Policies: check a folder, apply it, explain its decisions."),
    "notices": (
        "policy:notices_group",
        "Privacy notices: list, show and compare versions, and count the people who must be asked again.",
    ),
    "jobs": (
        "requests:jobs_group",
        "Background jobs for requests and notices: list them, show them, run them in the foreground.",
    ),
    "consent": (
        "consent:group",
        "Consents, objections and restrictions: record, show, check, and compare with the events.",
    ),
    "requests": (
        "requests:group",
        "Requests of data subjects: submit, list by urgency, decide, execute.",
    ),
    "rectify": (
        "subjects:rectify_group",
        "Corrections and disputes (Arts. 16 and 18 GDPR). Submit a correction itself by `cdv requests submit`.",
    ),
    "erasures": ("erasure:group", "Erasures: preview, progress, certificate, verification."),
    "retention": (
        "retention:group",
        "Retention: periods and their reasons, due values, sweeps, events, reviews.",
    ),
    "holds": (
        "erasure:holds_group",
        "Legal holds: protect evidence from deletion, and restrict the purposes for which it is read.",
    ),
    "audit": ("audit:group", "The audit log."),
    "backup": ("backup:group", "Backups: make, list, verify and prune. `cdv restore` restores one."),
    "db": ("server:db_group", "The tables of a vault's databases."),
    "packages": (
        "export:group",
        "Export packages for access and portability: list, download, open, send, delete expired ones.",
    ),
    "recipients": (
        "recipients:group",
        "Recipients: apps that are notified of erasures and corrections (Art. 19), and their acknowledgements.",
    ),
    "webhooks": (
        "recipients:webhooks_group",
        "Webhooks: the addresses for apps' notifications of erasures and corrections, and their secrets.",
    ),
}
"""Each command's module, or each group's ``module:attribute``; and its short help. The order is that of the help."""


class Commands(LazyCommands):
    """The commands of ``cdv``."""

    table = COMMANDS


app = typer.Typer(
    name="cdv",
    cls=Commands,
    help="A vault for customers' personal data: encrypted by field, read for a purpose, audited.",
    epilog=examples("cdv demo", "cdv init my-vault", "cdv serve --vault my-vault"),
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)


RESERVED = frozenset({"vault", "the-person"})
"""Names by which the audit log knows jobs and people themselves."""


def _operator(typed: str) -> str:
    """Read the name of an operator; raises BadParameter."""
    if not is_slug(typed) or typed in RESERVED:
        raise typer.BadParameter("write a name of a-z, 0-9, - and _, such as a staff number; not `vault`, `the-person`")
    return typed


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cdv {version('customer-data-vault')}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    operator: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            envvar="CDV_OPERATOR",
            parser=_operator,
            help="Who you are, for the audit log: such as a staff number.",
            show_default="command-line",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Show the help where no command is named."""
    stated = OPERATOR_NAME.set(operator)
    context.call_on_close(lambda: OPERATOR_NAME.reset(stated))
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line; the entry point of ``cdv``."""
    app(prog_name="cdv")
