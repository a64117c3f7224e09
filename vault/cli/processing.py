"""``cdv processing-record``: the record of processing activities (Art. 30 GDPR)."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from vault.cli.moments import parse_since
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples
from vault.cli.output import note
from vault.cli.session import in_tenant
from vault.clock import Clock
from vault.errors import Misconfigured

if TYPE_CHECKING:
    from vault.context import House
    from vault.governance.record_schema import Made
    from vault.ids import TenantId


class Format(StrEnum):
    """The forms that can be asked for."""

    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


def register(app: typer.Typer) -> None:
    """Add the command."""
    lines = (
        "cdv processing-record",
        "cdv processing-record --format csv --output register.csv",
        "cdv processing-record --since 90d --json",
    )
    app.command("processing-record", epilog=examples(*lines))(processing_record)


def processing_record(
    form: Annotated[Format | None, typer.Option("--format", help="How to write it.", show_default="markdown")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="From when on the audit log is read: 90d, a day, or a moment of RFC 3339.",
            show_default="365d",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write it to a file.")] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Write what data is used for, on which ground and by whom, and where that differs from what was really read."""
    if as_json and form not in {None, Format.JSON}:
        raise typer.BadParameter("--json and another --format contradict each other", param_hint="'--format'")
    chosen = Format.JSON if as_json else form or Format.MARKDOWN
    begin = parse_since(since, Clock().now())

    async def work(house: House, its: TenantId) -> Made:
        return await _make(house, its, begin)

    made = in_tenant(vault, tenant, work)
    _hand_out(made, chosen, output)


async def _make(house: House, tenant: TenantId, since: datetime | None) -> Made:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from vault.access.operator import at_the_console
    from vault.governance.operations_processing_record import YEAR, processing_record

    now = house.clock.now()
    begin = since or now - YEAR
    console = Console(stderr=True)
    columns = (
        TextColumn("reading the audit log: {task.fields[entries]:,} entries"),
        BarColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        # Of a log nobody knows beforehand how many entries count; how much of the time is covered is plain.
        bar = progress.add_task("", total=(now - begin).total_seconds(), entries=0)

        def watch(entries: int, reached: str) -> None:
            covered = datetime.fromisoformat(reached) - begin
            progress.update(bar, completed=covered.total_seconds(), entries=entries)

        return await processing_record(house, at_the_console(tenant), since=since, watch=watch)


def _hand_out(made: Made, form: Format, output: Path | None) -> None:
    from vault.governance.forms import write

    written = write(made, form.value)
    if output is None:
        typer.echo(written.decode(), nl=form == Format.JSON)
    else:
        try:
            output.write_bytes(written)
        except OSError as error:
            raise Misconfigured(
                f"the file cannot be written: {error.strerror}", hint="name another by --output"
            ) from None
        note(f"written to {output}")
    count = len(made.record.findings)
    if count and (output is not None or sys.stdout.isatty()):
        note("1 finding" if count == 1 else f"{count} findings, at the end of the record")
