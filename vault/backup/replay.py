"""Make a restored vault good: do once more what the ledger of tombstones says was done since the backup.

The backup holds what was erased since, and says yes where a no came since. Line by line, the oldest first, the same
machinery does the same again, under the same ids; a line whose work is done already changes nothing, so that a replay
that was killed is simply begun anew. What a replay knows only of the ledger it takes at its strictest: that somebody
said no and later yes again, it cannot know, and leaves it at the no.

1. Who was merged since is told of first: what is said of the one goes for the other, who is there again too.
2. Each line is carried out: what goes is gone, and its keys are destroyed.
3. The databases' files are cleaned, and looked through for every erasure; each gets its certificate anew.
4. The sweep of retention takes what has ended since.
5. The gate is opened, with the audit entry, in one transaction.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import delete

from vault.access.authorization import entry
from vault.access.operator import at_the_console
from vault.backup.gate import close_all, waiting, waiting_in
from vault.backup.replay_access import bar_again
from vault.backup.replay_denials import deny_again
from vault.backup.replay_erasures import erase_again, prove_again
from vault.backup.replay_holds import hold_again
from vault.backup.replay_sweep import sweep_again
from vault.consent.denials import read_denial
from vault.errors import Misconfigured
from vault.identity.tables import IDENTITY_CODE, SUBJECT_SESSION
from vault.ids import DEFAULT_TENANT, SubjectId
from vault.lifecycle.restore_lines import Joined, read_access, read_erasure, read_merge

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from vault.backup.gate import Restore
    from vault.context import House
    from vault.ids import TenantId
    from vault.lifecycle.restore_ledger import Tombstone

OVERLAP: Final = timedelta(days=1)
"""How far before the backup the ledger is read: further than the clocks of two nodes differ, or a transaction takes."""
AT_ONCE: Final = 500
"""Denials in one transaction."""


class Replayed(NamedTuple):
    """What a replay went through, and what it had to do: counts."""

    lines: int
    denials: int
    erasures: int
    holds: int
    accesses: int
    unknown: int


class _Counted:
    """What is counted on the way, and who is told of it."""

    def __init__(self, told: Callable[[str, int], None]) -> None:
        self.lines = self.denials = self.erasures = self.holds = self.accesses = self.unknown = 0
        self.unproven: list[tuple[TenantId, UUID]] = []
        self._told = told

    def line(self) -> None:
        self.lines += 1
        self._told("replayed", self.lines)

    def replayed(self) -> Replayed:
        return Replayed(self.lines, self.denials, self.erasures, self.holds, self.accesses, self.unknown)


def _tell_nobody(_what: str, _count: int) -> None:
    """Take no note."""


async def replay(house: House, told: Callable[[str, int], None] = _tell_nobody) -> Replayed:
    """Replay the ledger into a restored vault and open it.

    Args:
        house: the rooms, opened past the gate.
        told: is told how far it is: of what, and how many.

    Raises:
        Misconfigured: the vault was not restored, or is replayed already.
        Unavailable: a database does not answer; begin again with ``cdv restore --continue``.
    """
    restore = await waiting(house.data)
    if restore is None:
        raise Misconfigured("there is no restore to be continued", hint="the vault is open: use it")
    counted = _Counted(told)
    if restore.facts.without_ledger is None:
        await _carry_out(house, restore.backed_up_at - OVERLAP, counted)
    else:
        await house.tombstones.add_backup(restore.backup, restore.backed_up_at)  # the copy was made before that line
    await prove_again(house, counted.unproven, told)
    for tenant in await house.keyring.tenants():
        await sweep_again(house, tenant, told)
    await _open(house, restore, counted.replayed())
    return counted.replayed()


async def _carry_out(house: House, since: datetime, counted: _Counted) -> None:
    known = set(await house.keyring.tenants())
    joined = await _merges(house, since)
    said: list[Tombstone] = []
    async for line in house.tombstones.since(since):
        if line.kind == "backup":
            continue
        counted.line()
        if line.tenant not in known:
            counted.unknown += 1  # of a tenant that was added since the backup nothing is there
            continue
        if said and (line.kind != "consent" or line.tenant != said[0].tenant or len(said) >= AT_ONCE):
            counted.denials += await _denied(house, joined, said)
            said = []
        if line.kind == "consent":
            said.append(line)
        else:
            await _done_again(house, joined, line, counted)
    counted.denials += await _denied(house, joined, said)


async def _done_again(house: House, joined: Joined, line: Tombstone, counted: _Counted) -> None:
    if line.kind == "erasure":
        await _erased(house, joined, line, counted)
    elif line.kind in {"hold", "hold-lifted"}:
        await hold_again(house, line.tenant, line.body, joined)
        counted.holds += 1
    elif line.kind == "access":
        counted.accesses += await bar_again(house, line.tenant, read_access(line.body))
    elif line.kind != "merge":
        raise Misconfigured(
            "the ledger of tombstones has lines of a kind that this program does not know",
            hint="install the program that wrote them, or a later one, then run `cdv restore --continue`",
        )


async def _erased(house: House, joined: Joined, line: Tombstone, counted: _Counted) -> None:
    if line.subject is None:
        raise TypeError("an erasure is of somebody")
    erasure = read_erasure(line.body)
    whom = dict.fromkeys([*joined.of(line.tenant, line.subject), *erasure.aliases])
    done = await erase_again(house, line.tenant, [SubjectId(each) for each in whom], erasure)
    counted.erasures += bool(done)
    counted.unproven += [(line.tenant, each) for each in done]


async def _denied(house: House, joined: Joined, said: list[Tombstone]) -> int:
    if not said:
        return 0
    events = [
        (SubjectId(each), read_denial(line.body))
        for line in said
        if line.subject is not None
        for each in joined.of(line.tenant, line.subject)
    ]
    return await deny_again(house, said[0].tenant, events)


async def _merges(house: House, since: datetime) -> Joined:
    joined = Joined()
    async for line in house.tombstones.since(since):
        if line.kind == "merge" and line.subject is not None:
            joined.add(line.tenant, line.subject, read_merge(line.body).duplicate)
    return joined


async def _open(house: House, restore: Restore, replayed: Replayed) -> None:
    """Open the gate; whoever does so second finds it open."""
    tenants = await house.keyring.tenants() or [DEFAULT_TENANT]
    without = restore.facts.without_ledger is not None
    async with house.data.transaction() as connection:
        if await waiting_in(connection) is None:
            return
        await close_all(connection, house.clock.now())
        for table in (SUBJECT_SESSION, IDENTITY_CODE):  # who signed out since, or used a code, is not signed in again
            await connection.execute(delete(table))
        facts: dict[str, Any] = {"code": "without-ledger" if without else "replayed", "target": restore.backup}
        count = max(1, replayed.denials + replayed.erasures + replayed.holds + replayed.accesses)
        made = [
            entry(house, at_the_console(each), action="restore", decision="allowed", count=count, **facts)
            for each in tenants
        ]
        await house.ledger.append_in(connection, made)
