"""``cdv audit``: the audit log. ``cdv processing-record``: the record of processing activities (Art. 30 GDPR)."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, get_args
from uuid import UUID

import typer

from vault.access.callers import JOBS, OPERATOR
from vault.audit.entry import Action, Decision, encode
from vault.audit.log import BEGINNING, Selection
from vault.audit.wording import in_words
from vault.cli.command import PAST_FORMS, TOP_LEVEL, Opener, Session, command, make_group, past
from vault.cli.output import note
from vault.cli.progress import time_bar
from vault.cli.subject import option
from vault.consent.double_opt_in import LINK
from vault.errors import Misconfigured
from vault.governance.processing_record import YEAR
from vault.governance.processing_record import processing_record as make_record
from vault.governance.query import PAGE_LIMIT, AuditQuery, read_audit, selected
from vault.governance.record_formats import write_record
from vault.ids import THE_PERSON, EntryId, SubjectId, is_slug
from vault.wording import counted

if TYPE_CHECKING:
    from vault.audit.entry import Entry
    from vault.governance.views import ProcessingRecord


SECONDS = 1.0
"""Interval at which `--follow` fetches new entries."""
PAGE = 200
OTHERS: Final = {"command-line": OPERATOR, "vault": JOBS, "the-person": THE_PERSON, "confirmation-link": LINK}
"""Who is on the log beside apps and people who sign in."""

group = make_group("cdv audit tail", "cdv audit tail --follow --action read")


@command(
    group,
    "cdv audit tail -n 50 --app web-shop --action read --purpose marketing",
    "cdv audit tail --decision denied --since 3d --until 2027-01-31",
    "cdv audit tail --follow --json",
)
async def tail(
    session: Session,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, max=500, help="How many of the latest entries.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new entries until Ctrl-C.")] = False,
    subject: Annotated[UUID | None, option(help="Only entries about this person.")] = None,
    app: Annotated[
        str | None,
        typer.Option(metavar="APP", help="Only entries of this app or person: a name, or the id in `principal`."),
    ] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only entries of this action, such as read.")
    ] = None,
    purpose: Annotated[str | None, typer.Option(metavar="PURPOSE", help="Only entries for this purpose.")] = None,
    decision: Annotated[
        Decision | None,
        typer.Option(metavar="DECISION", help="Only entries with this decision: allowed, partly, denied or failed."),
    ] = None,
    since: Annotated[datetime | None, past(help=f"Only entries from then on: {PAST_FORMS}.")] = None,
    until: Annotated[datetime | None, past(help=f"Only entries from before: {PAST_FORMS}.")] = None,
) -> None:
    """Show what was done: the latest audit entries, the newest last. The reading itself is recorded too."""
    if action is not None and action not in get_args(Action):
        raise typer.BadParameter(f"the actions are {', '.join(get_args(Action))}", param_hint="'--action'")
    if purpose is not None and not is_slug(purpose):
        raise typer.BadParameter("a purpose is a name of purposes.toml", param_hint="'--purpose'")
    if follow and until is not None:
        raise typer.BadParameter("--follow has no end", param_hint="'--until'")
    principal = None if app is None else await _principal_of(session, app)
    query = AuditQuery(
        subject=None if subject is None else SubjectId(subject),
        others=Selection(
            principal=principal, action=action, purpose=purpose, decision=decision, since=since, until=until
        ),
        limit=PAGE_LIMIT if follow else lines,
    )
    page = await read_audit(session.services, session.caller, query)
    for entry in reversed(page.entries[:lines]):
        _print(entry, as_json=session.as_json)
    if follow:
        await _Follower(session, query, EntryId(page.entries[0].id) if page.entries else BEGINNING).go_on()


async def _principal_of(session: Session, app: str) -> UUID:
    """Return the id of an app by its name, of those who have no key by theirs, or the id that was typed."""
    try:
        return UUID(app)
    except ValueError:
        pass
    async with session.services.data.reading() as connection:
        principals = await session.services.principals.list_principals(connection, session.tenant)
    ids: dict[str, UUID] = {**OTHERS, **{principal.name: principal.id for principal in principals}}
    if app not in ids:
        raise typer.BadParameter(
            "there is no app of this name; people who sign in with a token are found by the id that `--json` shows as"
            " `principal`",
            param_hint="'--app'",
        )
    return ids[app]


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
        services, tenant = self._session.services, self._session.tenant
        selection = await selected(services, tenant, self._query)
        page = await services.audit_log.entries(tenant, selection, after=self._last, limit=PAGE)
        if page.entries:
            self._last = EntryId(page.entries[-1].id)
        return page.entries


def _print(entry: Entry, *, as_json: bool) -> None:
    if as_json:
        typer.echo(encode(entry).decode())
        return
    colour = {"allowed": typer.colors.GREEN, "denied": typer.colors.RED, "failed": typer.colors.RED}
    decision = typer.style(f"{entry.decision:7}", fg=colour.get(entry.decision, typer.colors.YELLOW))
    head = f"{entry.at[:19]}Z  {decision}  {entry.action:16}  {entry.principal_name or '-':20}"
    typer.echo(f"{head}  {in_words(entry)}".rstrip())


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
