"""``cdv audit``: the log of who did what with whose data, and why."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Annotated
from uuid import UUID  # noqa: TC003 - typer reads the annotations

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples, make_group
from vault.cli.session import in_tenant
from vault.ids import SubjectId

if TYPE_CHECKING:
    from vault.audit.entry import Entry
    from vault.context import House
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

    async def work(house: House, its: TenantId) -> None:
        from vault.access.operator import at_the_console
        from vault.governance.audit_log import MOST, read_audit

        _check_action(action)
        most = MOST if follow else lines
        page = await read_audit(house, at_the_console(its), subject=whom, action=action, limit=most)
        for entry in reversed(page.entries[:lines]):
            _print(entry, as_json=as_json)
        if follow:
            await _Follower(house, its, whom, action, page.entries).go_on(as_json=as_json)

    in_tenant(vault, tenant, work)


class _Follower:
    """Prints new entries as they come.

    The whole of it is one reading, on the log since its first page: an entry for each look would fill the log with
    nothing but itself.
    """

    def __init__(
        self, house: House, tenant: TenantId, subject: SubjectId | None, action: str | None, known: list[Entry]
    ) -> None:
        self._house = house
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
            page = await self._house.ledger.entries(
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
        (found,) = await self._house.subjects.find(Wanted(self._tenant, (self._subject,), profile=False))
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
