"""``cdv audit``: the audit log. ``cdv processing-record``: the record of processing activities (Art. 30 GDPR)."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args
from uuid import UUID

import typer

from vault.audit.entry import Action, encode
from vault.audit.log import BEGINNING
from vault.cli.command import PAST_FORMS, TOP_LEVEL, Opener, Session, command, make_group, past
from vault.cli.output import note
from vault.cli.progress import time_bar
from vault.cli.subject import option
from vault.errors import Misconfigured
from vault.governance.processing_record import YEAR
from vault.governance.processing_record import processing_record as make_record
from vault.governance.query import PAGE_LIMIT, AuditQuery, read_audit
from vault.governance.record_formats import write_record
from vault.ids import EntryId, Pseudonym, SubjectId
from vault.subjects.store import SubjectQuery
from vault.wording import counted

if TYPE_CHECKING:
    from vault.audit.entry import Entry
    from vault.governance.views import ProcessingRecord


SECONDS = 1.0
"""Interval at which `--follow` fetches new entries."""
PAGE = 200

group = make_group("cdv audit tail", "cdv audit tail --follow --action read")


@command(group, "cdv audit tail -n 50 --action read", "cdv audit tail --follow --json")
async def tail(
    session: Session,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, max=500, help="How many of the latest entries.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new entries until Ctrl-C.")] = False,
    subject: Annotated[UUID | None, option(help="Only entries about this person.")] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only entries of this action, such as read.")
    ] = None,
) -> None:
    """Show the latest audit entries, the newest last. The reading itself is recorded too."""
    if action is not None and action not in get_args(Action):
        raise typer.BadParameter(f"the actions are {', '.join(get_args(Action))}", param_hint="'--action'")
    subject_id = None if subject is None else SubjectId(subject)
    query = AuditQuery(subject=subject_id, action=action, limit=PAGE_LIMIT if follow else lines)
    page = await read_audit(session.services, session.caller, query)
    for entry in reversed(page.entries[:lines]):
        _print(entry, as_json=session.as_json)
    if follow:
        await _Follower(session, query, EntryId(page.entries[0].id) if page.entries else BEGINNING).go_on()


class _Follower:
    """Prints new entries as they are written.

    The whole run is one reading, which is recorded with the first page: an entry for each fetch would fill the log.
    """

    def __init__(self, session: Session, query: AuditQuery, last: EntryId) -> None:
        self._session = session
        self._query = query
        self._last = last

    async def go_on(self) -> None:
        """Print until interrupted."""
        while True:
            while entries := await self._new():
                for entry in entries:
                    _print(entry, as_json=self._session.as_json)
            await asyncio.sleep(SECONDS)

    async def _new(self) -> list[Entry]:
        """Fetch some entries that are not printed yet, oldest first."""
        page = await self._session.services.audit_log.entries(
            self._session.tenant,
            subject=await self._pseudonym(),
            action=self._query.action,
            after=self._last,
            limit=PAGE,
        )
        if page.entries:
            self._last = EntryId(page.entries[-1].id)
        return page.entries

    async def _pseudonym(self) -> Pseudonym | None:
        subject, session = self._query.subject, self._session
        if subject is None:
            return None
        (row,) = await session.services.subjects.find(SubjectQuery(session.tenant, (subject,), profile=False))
        return Pseudonym(subject) if row is None else row.pseudonym


def _print(entry: Entry, *, as_json: bool) -> None:
    if as_json:
        typer.echo(encode(entry).decode())
        return
    colour = {"allowed": typer.colors.GREEN, "denied": typer.colors.RED, "failed": typer.colors.RED}
    decision = typer.style(f"{entry.decision:7}", fg=colour.get(entry.decision, typer.colors.YELLOW))
    head = f"{entry.at[:19]}Z  {decision}  {entry.action:16}  {entry.principal_name or '-':20}"
    typer.echo("  ".join([head, *_particulars(entry)]).rstrip())


def _particulars(entry: Entry) -> list[str]:
    """Return the parts of an entry other than principal, action and time."""
    parts = [] if entry.purpose is None else [f"for {entry.purpose}"]
    if entry.matched:
        parts.append(f"by {', '.join(entry.matched)}")
    if entry.fields:
        parts.append(f"shown {', '.join(entry.fields)}")
    if entry.refused:
        parts.append("refused " + ", ".join(f"{name} ({code})" for name, code in entry.refused.items()))
    if entry.code:
        parts.append(entry.code)
    if entry.subjects:
        parts.append(counted(len(entry.subjects), "person", "people"))
    return parts


Format = Literal["json", "csv", "markdown"]


@command(
    TOP_LEVEL,
    "cdv processing-record",
    "cdv processing-record --format csv --output register.csv",
    "cdv processing-record --since 90d --json",
    name="processing-record",
)
async def processing_record(
    opener: Opener,
    form: Annotated[
        Format | None, typer.Option("--format", help="Format of the record.", show_default="markdown")
    ] = None,
    since: Annotated[datetime | None, past(help=f"Start of the period: {PAST_FORMS}.", show_default="365d")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to a file.")] = None,
) -> None:
    """Write the record of processing activities: purposes, grounds and recipients, and the real use of data."""
    if opener.as_json and form not in {None, "json"}:
        raise typer.BadParameter("--json and another --format contradict each other", param_hint="'--format'")
    chosen: Format = "json" if opener.as_json else form or "markdown"
    async with opener.session() as session:
        now = session.services.clock.now()
        # The number of entries is not known beforehand; the part of the period that is covered is.
        with time_bar(since or now - YEAR, now, "reading the audit log: {task.fields[count]:,} entries") as show:
            record = await make_record(
                session.services,
                session.caller,
                since=since,
                watch=lambda entries, reached: show(entries, datetime.fromisoformat(reached)),
            )
    _write(record, chosen, output)


def _write(record: ProcessingRecord, form: Format, output: Path | None) -> None:
    written = write_record(record, form)
    if output is None:
        typer.echo(written.decode(), nl=form == "json")
    else:
        try:
            output.write_bytes(written)
        except OSError as error:
            raise Misconfigured(
                f"the file cannot be written: {error.strerror}", hint="name another by --output"
            ) from None
        note(f"written to {output}")
    count = len(record.findings)
    if count and (output is not None or sys.stdout.isatty()):
        note(f"{counted(count, 'finding')}, at the end of the record")
