"""``cdv audit``: the log of who did what with whose data, and why.

``cdv processing-record``: the record of processing activities (Art. 30 GDPR).
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args
from uuid import UUID

import typer

from vault.audit.entry import Action, encode
from vault.cli.command import TOP_LEVEL, command, make_group
from vault.cli.options import past_moment
from vault.cli.output import note
from vault.cli.progress import time_bar
from vault.cli.session import Opener, Session
from vault.errors import Misconfigured
from vault.governance.audit_log import MOST, read_audit
from vault.governance.processing_record import YEAR
from vault.governance.processing_record import processing_record as make_record
from vault.governance.record_formats import write_record
from vault.ids import Pseudonym, SubjectId
from vault.subjects.store import Wanted

if TYPE_CHECKING:
    from vault.audit.entry import Entry
    from vault.context import Services
    from vault.governance.record_schema import Made
    from vault.ids import EntryId, TenantId


SECONDS = 1.0
"""How often `--follow` looks for new entries."""
REMEMBERED = 5_000
"""Entries that `--follow` knows to be printed: two nodes may commit theirs a little out of order."""
PAGE = 200
MINUTE = 60_000 << 80
"""As a distance between ids, whose first 48 bits are milliseconds (RFC 9562 §5.7): nodes' clocks may differ so far."""

group = make_group("cdv audit tail", "cdv audit tail --follow --action read")


@command(group, "cdv audit tail -n 50 --action read", "cdv audit tail --follow --json")
async def tail(
    session: Session,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, max=500, help="How many of the latest entries.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new entries until Ctrl-C.")] = False,
    subject: Annotated[
        UUID | None, typer.Option("--subject", metavar="ID", help="Only entries about this person.")
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="ACTION", help="Only entries of this action, such as read.")
    ] = None,
) -> None:
    """Show the latest audit entries, the newest last. That you looked is on the log too."""
    whom = None if subject is None else SubjectId(subject)
    _check_action(action)
    most = MOST if follow else lines
    page = await read_audit(session.services, session.caller, subject=whom, action=action, limit=most)
    for entry in reversed(page.entries[:lines]):
        _print(entry, as_json=session.as_json)
    if follow:
        await _Follower(session.services, session.tenant, whom, action, page.entries).go_on(as_json=session.as_json)


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
        if self._subject is None:
            return None
        (found,) = await self._services.subjects.find(Wanted(self._tenant, (self._subject,), profile=False))
        return Pseudonym(self._subject) if found is None else found.pseudonym


def _check_action(action: str | None) -> None:

    if action is not None and action not in get_args(Action):
        raise typer.BadParameter(f"the actions are {', '.join(get_args(Action))}", param_hint="'--action'")


def _print(entry: Entry, *, as_json: bool) -> None:
    if as_json:
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


@command(
    TOP_LEVEL,
    "cdv processing-record",
    "cdv processing-record --format csv --output register.csv",
    "cdv processing-record --since 90d --json",
    name="processing-record",
)
async def processing_record(
    opener: Opener,
    form: Annotated[Format | None, typer.Option("--format", help="How to write it.", show_default="markdown")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since",
            metavar="WHEN",
            parser=past_moment,
            help="From when on the audit log is read: 90d, a day, or a moment of RFC 3339.",
            show_default="365d",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write it to a file.")] = None,
) -> None:
    """Write what data is used for, on which ground and by whom, and where that differs from what was really read."""
    if opener.as_json and form not in {None, Format.JSON}:
        raise typer.BadParameter("--json and another --format contradict each other", param_hint="'--format'")
    chosen = Format.JSON if opener.as_json else form or Format.MARKDOWN
    async with opener.session() as session:
        now = session.services.clock.now()
        # How many entries count is known at the end only; how much of the time is covered, at once.
        with time_bar(since or now - YEAR, now, "reading the audit log: {task.fields[count]:,} entries") as show:
            made = await make_record(
                session.services,
                session.caller,
                since=since,
                watch=lambda entries, reached: show(entries, datetime.fromisoformat(reached)),
            )
    _hand_out(made, chosen, output)


def _hand_out(made: Made, form: Format, output: Path | None) -> None:
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
