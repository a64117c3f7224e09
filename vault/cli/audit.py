"""``cdv audit``: the log of who did what with whose data, and why.

``cdv processing-record``: the record of processing activities (Art. 30 GDPR).
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from datetime import datetime
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated
from uuid import UUID  # noqa: TC003 - typer reads the annotations

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples, make_group, parse_since
from vault.cli.output import note
from vault.cli.session import in_tenant
from vault.clock import Clock
from vault.errors import Misconfigured
from vault.ids import SubjectId

if TYPE_CHECKING:
    from vault.audit.entry import Entry
    from vault.context import Services
    from vault.governance.record_schema import Made
    from vault.ids import EntryId, Pseudonym, TenantId


SECONDS = 1.0
"""How often `--follow` looks for new entries."""
REMEMBERED = 5_000
"""Entries that `--follow` knows to be printed: two nodes may commit theirs a little out of order."""
PAGE = 200
MINUTE = 60_000 << 80
"""As a distance between ids, whose first 48 bits are milliseconds (RFC 9562 §5.7): nodes' clocks may differ so far."""

group = make_group("The audit log.", "cdv audit tail", "cdv audit tail --follow --action read")


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="audit")


@group.command(epilog=examples("cdv audit tail -n 50 --action read", "cdv audit tail --follow --json"))
def tail(
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, max=500, help="How many of the latest entries.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new entries until Ctrl-C.")] = False,
    subject: Annotated[
        UUID | None, typer.Option("--subject", metavar="ID", help="Only entries about this person.")
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="ACTION", help="Only entries of this action, such as read.")
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show the latest audit entries, the newest last. That you looked is on the log too."""
    whom = None if subject is None else SubjectId(subject)

    async def work(services: Services, its: TenantId) -> None:
        from vault.access.callers import operator_caller
        from vault.governance.audit_log import MOST, read_audit

        _check_action(action)
        most = MOST if follow else lines
        page = await read_audit(services, operator_caller(its), subject=whom, action=action, limit=most)
        for entry in reversed(page.entries[:lines]):
            _print(entry, as_json=as_json)
        if follow:
            await _Follower(services, its, whom, action, page.entries).go_on(as_json=as_json)

    in_tenant(vault, tenant, work)


class _Follower:
    """Prints new entries as they come.

    The whole of it is one reading, on the log since its first page: an entry for each look would fill the log with
    nothing but itself.
    """

    def __init__(
        self, services: Services, tenant: TenantId, subject: SubjectId | None, action: str | None, known: list[Entry]
    ) -> None:
        self._services = services
        self._tenant = tenant
        self._subject = subject
        self._action = action
        self._known: deque[UUID] = deque((entry.id for entry in known), REMEMBERED)
        # What is older than all that is known is not new, and neither is what is older than the newest by a minute.
        self._since = max(known[-1].id.int, known[0].id.int - MINUTE) if known else 0

    async def go_on(self, *, as_json: bool) -> None:
        """Print until interrupted."""
        while True:
            for entry in reversed(await self._new()):
                self._known.append(entry.id)
                _print(entry, as_json=as_json)
            await asyncio.sleep(SECONDS)

    async def _new(self) -> list[Entry]:
        """Fetch what is not printed yet, newest first, going back until a whole page is known or older."""
        known, pseudonym = set(self._known), await self._pseudonym()
        found: list[Entry] = []
        before: EntryId | None = None
        while True:
            page = await self._services.audit_log.entries(
                self._tenant, subject=pseudonym, action=self._action, before=before, limit=PAGE
            )
            fresh = [entry for entry in page.entries if entry.id not in known and entry.id.int > self._since]
            found += fresh
            if not fresh or page.next is None:
                return found
            before = page.next

    async def _pseudonym(self) -> Pseudonym | None:
        from vault.ids import Pseudonym
        from vault.subjects.store import Wanted

        if self._subject is None:
            return None
        (found,) = await self._services.subjects.find(Wanted(self._tenant, (self._subject,), profile=False))
        return Pseudonym(self._subject) if found is None else found.pseudonym


def _check_action(action: str | None) -> None:
    from typing import get_args

    from vault.audit.entry import Action

    if action is not None and action not in get_args(Action):
        raise typer.BadParameter(f"the actions are {', '.join(get_args(Action))}", param_hint="'--action'")


def _print(entry: Entry, *, as_json: bool) -> None:
    if as_json:
        from vault.audit.entry import encode

        typer.echo(encode(entry).decode())
        return
    colour = {"allowed": typer.colors.GREEN, "denied": typer.colors.RED, "failed": typer.colors.RED}
    decision = typer.style(f"{entry.decision:7}", fg=colour.get(entry.decision, typer.colors.YELLOW))
    said = [f"{entry.at[:19]}Z  {decision}  {entry.action:16}  {entry.principal_name or '-':20}", *_particulars(entry)]
    typer.echo("  ".join(said).rstrip())


def _particulars(entry: Entry) -> list[str]:
    """Write what an entry says beyond who, what and when."""
    found = [] if entry.purpose is None else [f"for {entry.purpose}"]
    if entry.matched:
        found.append(f"by {', '.join(entry.matched)}")
    if entry.fields:
        found.append(f"shown {', '.join(entry.fields)}")
    if entry.refused:
        found.append("refused " + ", ".join(f"{name} ({code})" for name, code in entry.refused.items()))
    if entry.code:
        found.append(entry.code)
    if entry.subjects:
        found.append("1 person" if len(entry.subjects) == 1 else f"{len(entry.subjects)} people")
    return found


class Format(StrEnum):
    """The forms that can be asked for."""

    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


def register_processing(app: typer.Typer) -> None:
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

    async def work(services: Services, its: TenantId) -> Made:
        return await _make(services, its, begin)

    made = in_tenant(vault, tenant, work)
    _hand_out(made, chosen, output)


async def _make(services: Services, tenant: TenantId, since: datetime | None) -> Made:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from vault.access.callers import operator_caller
    from vault.governance.processing_record import YEAR, processing_record

    now = services.clock.now()
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

        return await processing_record(services, operator_caller(tenant), since=since, watch=watch)


def _hand_out(made: Made, form: Format, output: Path | None) -> None:
    from vault.governance.record_formats import write_record

    written = write_record(made, form.value)
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
