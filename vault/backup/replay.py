"""Make a restored vault good: do once more what the ledger of tombstones says was done since the backup.

The backup holds what was erased since, and says yes where a no came since. Line by line, the oldest first, the same
machinery does the same again, under the same ids; a line that is already carried out changes nothing, so a
killed replay starts again. What a replay knows from the ledger alone it reads at its strictest: that a person
said no and later yes again, it cannot know, and leaves it at the no.

1. Merges first: a line about one of two merged people applies to both, since the backup has both again.
2. Each line is carried out: what goes is gone, and its keys are destroyed.
3. The databases' files are scrubbed, and scanned for every erasure; each certificate is made again.
4. The sweep of retention takes what has ended since.
5. The gate is opened, with the audit entry, in one transaction.

Take away once more what was taken from apps after a backup: keys, roles, and all access.

Say no once more: withdrawals, refusals, objections and restrictions that came after a backup.

Erase once more: the people, and the parts of people, who were erased after a backup.

Place and lift once more the holds that were placed and lifted after a backup.

Sweep once after a restore: what had ended, and was swept since the backup, is there again and goes again.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid5

import msgspec
from msgspec.structs import replace
from sqlalchemy import delete, update

from vault.access.authorization import audit_entry
from vault.access.callers import operator_caller
from vault.backup.gate import close_all, waiting, waiting_in
from vault.catalogue.model import Scope
from vault.consent.model import decode as decode_event
from vault.consent.model import fold, pack, unpack
from vault.consent.store import stays_restricted
from vault.erasure import verify as prove
from vault.erasure.execute import execute_erasure
from vault.errors import Misconfigured, NotFound
from vault.holds.manage import HoldLine, replay_hold
from vault.identity.tables import IDENTITY_CODE, SUBJECT_SESSION
from vault.ids import DEFAULT_TENANT, KeyId, PrincipalId, SubjectId, TenantId
from vault.lifecycle.erasures import (
    RETENTION,
    Erasure,
    Facts,
    add_erasure,
    drop_erasure,
    erasures_of,
    find_erasure,
)
from vault.lifecycle.personal_data import owned_tables
from vault.lifecycle.restore_ledger import Joined, read_access, read_erasure, read_merge
from vault.lifecycle.tombstones import add_tombstones
from vault.requests.store import requests_of
from vault.subjects.changes import locked_subject, locked_subjects, mark_due, person, set_standing
from vault.subjects.store import GONE
from vault.sweep.apply import end_erasures
from vault.sweep.query import sweep
from vault.sweep.run import Pace
from vault.sweep.tables import RETENTION_SWEEP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.backup.gate import Restore
    from vault.consent.model import Event
    from vault.context import Services
    from vault.lifecycle.restore_ledger import AccessLine, ErasureLine, Tombstone


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
    """Counts of a running replay, reported as progress."""

    def __init__(self, progress: Callable[[str, int], None]) -> None:
        self.lines = self.denials = self.erasures = self.holds = self.accesses = self.unknown = 0
        self.unproven: list[tuple[TenantId, UUID]] = []
        self._progress = progress

    def line(self) -> None:
        self.lines += 1
        self._progress("replayed", self.lines)

    def replayed(self) -> Replayed:
        return Replayed(self.lines, self.denials, self.erasures, self.holds, self.accesses, self.unknown)


def _no_progress(_what: str, _count: int) -> None:
    """Take no note."""


async def replay(services: Services, progress: Callable[[str, int], None] = _no_progress) -> Replayed:
    """Replay the ledger into a restored vault and open it.

    Args:
        house: the rooms, opened past the gate.
        progress: called with a name and a count.

    Raises:
        Misconfigured: the vault was not restored, or is replayed already.
        Unavailable: a database does not answer; begin again with ``cdv restore --continue``.
    """
    restore = await waiting(services.data)
    if restore is None:
        raise Misconfigured("there is no restore to be continued", hint="the vault is open: use it")
    counted = _Counted(progress)
    if restore.facts.without_ledger is None:
        await _carry_out(services, restore.backed_up_at - OVERLAP, counted)
    else:
        await services.restore_ledger.add_backup(
            restore.backup, restore.backed_up_at
        )  # the copy was made before that line
    await prove_again(services, counted.unproven, progress)
    for tenant in await services.keyring.tenants():
        await sweep_again(services, tenant, progress)
    await _open(services, restore, counted.replayed())
    return counted.replayed()


async def _carry_out(services: Services, since: datetime, counted: _Counted) -> None:
    known = set(await services.keyring.tenants())
    joined = await _merges(services, since)
    said: list[Tombstone] = []
    async for line in services.restore_ledger.since(since):
        if line.kind == "backup":
            continue
        counted.line()
        if line.tenant not in known:
            counted.unknown += 1  # of a tenant that was added since the backup nothing is there
            continue
        if said and (line.kind != "consent" or line.tenant != said[0].tenant or len(said) >= AT_ONCE):
            counted.denials += await _denied(services, joined, said)
            said = []
        if line.kind == "consent":
            said.append(line)
        else:
            await _done_again(services, joined, line, counted)
    counted.denials += await _denied(services, joined, said)


async def _done_again(services: Services, joined: Joined, line: Tombstone, counted: _Counted) -> None:
    if line.kind == "erasure":
        await _erased(services, joined, line, counted)
    elif line.kind in {"hold", "hold-lifted"}:
        await hold_again(services, line.tenant, line.body, joined)
        counted.holds += 1
    elif line.kind == "access":
        counted.accesses += await bar_again(services, line.tenant, read_access(line.body))
    elif line.kind != "merge":
        raise Misconfigured(
            "the ledger of tombstones has lines of a kind that this program does not know",
            hint="install the program that wrote them, or a later one, then run `cdv restore --continue`",
        )


async def _erased(services: Services, joined: Joined, line: Tombstone, counted: _Counted) -> None:
    if line.subject is None:
        raise TypeError("a line of an erasure names a subject")
    erasure = read_erasure(line.body)
    people = dict.fromkeys([*joined.of(line.tenant, line.subject), *erasure.aliases])
    done = await erase_again(services, line.tenant, [SubjectId(person) for person in people], erasure)
    counted.erasures += bool(done)
    counted.unproven += [(line.tenant, each) for each in done]


async def _denied(services: Services, joined: Joined, said: list[Tombstone]) -> int:
    if not said:
        return 0
    events = [
        (SubjectId(each), decode_event(line.body))
        for line in said
        if line.subject is not None
        for each in joined.of(line.tenant, line.subject)
    ]
    return await deny_again(services, said[0].tenant, events)


async def _merges(services: Services, since: datetime) -> Joined:
    joined = Joined()
    async for line in services.restore_ledger.since(since):
        if line.kind == "merge" and line.subject is not None:
            joined.add(line.tenant, line.subject, read_merge(line.body).duplicate)
    return joined


async def _open(services: Services, restore: Restore, replayed: Replayed) -> None:
    """Open the gate. A second call changes nothing."""
    tenants = await services.keyring.tenants() or [DEFAULT_TENANT]
    without = restore.facts.without_ledger is not None
    async with services.data.transaction() as connection:
        if await waiting_in(connection) is None:
            return
        await close_all(connection, services.clock.now())
        for table in (SUBJECT_SESSION, IDENTITY_CODE):  # who signed out since, or used a code, is not signed in again
            await connection.execute(delete(table))
        facts: dict[str, Any] = {"code": "without-ledger" if without else "replayed", "target": restore.backup}
        count = max(1, replayed.denials + replayed.erasures + replayed.holds + replayed.accesses)
        made = [
            audit_entry(services, operator_caller(each), action="restore", decision="allowed", count=count, **facts)
            for each in tenants
        ]
        await services.audit_log.append_in(connection, made)


async def bar_again(services: Services, tenant: TenantId, line: AccessLine) -> bool:
    """Carry out a line about access; an app that is newer than the backup is skipped.

    A backup that knows the audit entry of it knows all of it, and what was given back later too. Roles are only ever
    taken away: one that was given after the backup is given again by people.

    Args:
        line: what was done.

    Returns:
        whether it had yet to be done.

    Raises:
        Unavailable: the database does not answer.
    """
    if await services.audit_log.has(tenant, line.entry):
        return False
    async with services.data.transaction() as connection:
        try:
            changed = await _bar(services, connection, tenant, line)
        except NotFound:
            return False
        if changed:
            made = audit_entry(
                services, operator_caller(tenant), action=line.action, decision="allowed", target=line.target
            )
            await services.audit_log.append_in(connection, [made])
    return changed


async def _bar(services: Services, connection: AsyncConnection, tenant: TenantId, line: AccessLine) -> bool:
    if line.action == "revoke-key":
        return await services.principals.revoke_key(connection, tenant, KeyId(line.target))
    target = PrincipalId(line.target)
    principal = await services.principals.get(connection, tenant, target)
    if line.action == "disable-principal":
        await services.principals.disable(connection, tenant, target)
        return principal.state != "disabled"
    left = [each for each in principal.roles if each not in line.roles]
    await services.principals.set_roles(connection, tenant, target, left)
    return len(left) < len(principal.roles)


async def deny_again(services: Services, tenant: TenantId, said: Sequence[tuple[SubjectId, Event]]) -> int:
    """Append events of one tenant that are missing in the restored ledger of consents, by one transaction.

    The consent state of each person is then folded again from all of their events.

    Args:
        said: subjects and events; an event of a person merged since is given for both.

    Returns:
        how many were missing.

    Raises:
        Unavailable: the database does not answer; nothing of it is in.
    """
    events: defaultdict[SubjectId, list[Event]] = defaultdict(list)
    for subject, event in said:
        events[subject].append(replace(event, subject=subject))
    async with services.data.transaction() as connection:
        rows = await locked_subjects(connection, tenant, list(events))
        there = await services.consents.events_of(connection, tenant, list(rows))
        pseudonyms: list[UUID] = []
        added = 0
        for subject, row in rows.items():
            known = there.get(subject, [])
            missing = _missing(known, events[subject])
            if missing and row.state not in GONE:
                await _add(services, connection, tenant, row, known, missing)
                pseudonyms.append(row.pseudonym)
                added += len(missing)
        if added:
            await mark_due(connection, tenant, list(rows), services.clock.now())
            made = audit_entry(
                services,
                operator_caller(tenant),
                action="restore",
                decision="allowed",
                code="denied-again",
                subjects=tuple(pseudonyms),
                count=added,
            )
            await services.audit_log.append_in(connection, [made])
    return added


def _missing(known: Sequence[Event], events: Sequence[Event]) -> list[Event]:
    there = {each.id for each in known}
    return list({each.id: each for each in events if each.id not in there}.values())


async def _add(
    services: Services,
    connection: AsyncConnection,
    tenant: TenantId,
    row: Any,
    known: Sequence[Event],
    missing: Sequence[Event],
) -> None:
    await services.consents.add(connection, tenant, missing)
    before = unpack(row.standing)
    summed = fold(sorted([*known, *missing], key=lambda event: event.id))
    standing = replace(summed, holds=before.holds, kept_for=before.kept_for)
    await set_standing(connection, tenant, row.id, pack(standing), restricted=stays_restricted(row, standing))


LAST: Final = "done"


async def erase_again(
    services: Services, tenant: TenantId, people: Sequence[SubjectId], line: ErasureLine
) -> list[UUID]:
    """Carry an erasure out again, down to the destruction of the keys; done already, it changes nothing.

    Args:
        people: the person, and those merged into them, which may be separate people in the backup.
        line: what was done.

    Returns:
        the erasures that have yet to be proven.

    Raises:
        CannotOpen: a value that a law keeps does not open.
        NotProven: an earlier erasure of the same person does not come to its end.
        Unavailable: a database does not answer.
    """
    unproven = []
    before = await _find(services, tenant, line.erasure)
    for number, subject in enumerate(people):
        erasure_id = line.erasure if number == 0 else uuid5(line.erasure, str(subject))
        if await _lay_down(services, tenant, subject, erasure_id, line):
            unproven.append(erasure_id)
            await _take(services, tenant, erasure_id, line)
    if line.scope == Scope():
        await _destroy_stray_keys(services, tenant, people)
    if before is None or before.state != LAST:  # else the backup has its tombstones, but for those who came back since
        async with services.data.transaction() as connection:
            await add_tombstones(connection, tenant, line.erasure, line.digests(), services.clock.now())
    return unproven


async def prove_again(
    services: Services, erasures: Sequence[tuple[TenantId, UUID]], progress: Callable[[str, int], None]
) -> None:
    """Clean the files, look that nothing is left, and sign the certificates: once for all erasures of a replay.

    Raises:
        NotProven: something of an erased person is still found.
        Unavailable: a database does not answer.
    """
    if not erasures:
        return
    clean = False
    while not clean:
        clean = await services.keyring.scrub() and await services.data.scrub(owned_tables(services.personal_data))
        await asyncio.sleep(0 if clean else prove.SOON)
    for number, (tenant, erasure) in enumerate(erasures, 1):
        await prove.advance(services, tenant, erasure, "destroyed", "scrubbed")  # all were, at once
        await _finish(services, tenant, erasure)
        progress("proven", number)


async def _lay_down(
    services: Services, tenant: TenantId, subject: SubjectId, erasure_id: UUID, line: ErasureLine
) -> bool:
    """Record an erasure as it was; returns whether it is unfinished."""
    await _make_room(services, tenant, subject, erasure_id)
    async with services.data.transaction() as connection:
        await requests_of(connection, tenant, [subject], lock=True)
        row = await locked_subject(connection, tenant, subject)
        earlier = await find_erasure(connection, tenant, erasure_id, lock=True)
        if earlier is not None:
            return earlier.state != LAST
        if row is None or row.state == "erased":
            return False
        laid = Erasure(
            id=erasure_id,
            request=line.request,
            subject=subject,
            state="begun",
            started_at=line.started_at,
            changed_at=services.clock.now(),
            facts=Facts(scope=line.scope, cause=line.cause, rests=line.rests, resumes=line.resumes),
        )
        await add_erasure(connection, tenant, laid)
        return True


async def _make_room(services: Services, tenant: TenantId, subject: SubjectId, erasure_id: UUID) -> None:
    """End another erasure of the same person that was under way in the backup; one that took nothing yet is dropped."""
    async with services.data.transaction() as connection:
        earlier = await erasures_of(connection, tenant, subject)
        others = [each for each in earlier if each.id != erasure_id and each.finished_at is None]
        for each in others:
            if each.state == "begun":
                await drop_erasure(connection, tenant, each.id)
    for each in others:
        if each.facts.cause == RETENTION:
            await end_erasures(services, tenant, [each])  # by a sweep: there is no certificate
        elif each.state != "begun":
            await _finish(services, tenant, each.id)


async def _take(services: Services, tenant: TenantId, erasure_id: UUID, line: ErasureLine) -> None:
    erasure = await _find(services, tenant, erasure_id)
    if erasure is not None and erasure.state == "begun":
        try:
            await execute_erasure(services, tenant, erasure, replayed=line.claims, gone=line.gone)
        except NotFound:  # the person no longer exists
            async with services.data.transaction() as connection:
                await drop_erasure(connection, tenant, erasure_id)
        erasure = await _find(services, tenant, erasure_id)
    if erasure is not None and erasure.state == "taken":
        await prove.destroy_keys(services, tenant, erasure)


async def _finish(services: Services, tenant: TenantId, erasure_id: UUID) -> None:
    """Bring an erasure that has taken away to its end."""
    steps = {state: step for _name, state, step in prove.PROOF}
    while (erasure := await _find(services, tenant, erasure_id)) is not None and erasure.state in steps:
        seconds = await steps[erasure.state](services, tenant, erasure)
        if seconds is not None:
            await asyncio.sleep(seconds)


async def _destroy_stray_keys(services: Services, tenant: TenantId, people: Sequence[SubjectId]) -> None:
    """Destroy keys of people without a row: a key becomes durable before its person."""
    async with services.data.reading() as connection:
        stray = [subject for subject in people if await person(connection, tenant, subject) is None]
    await services.keyring.destroy_subject_keys(tenant, stray)


async def _find(services: Services, tenant: TenantId, erasure_id: UUID) -> Erasure | None:
    async with services.data.reading() as connection:
        return await find_erasure(connection, tenant, erasure_id)


async def hold_again(services: Services, tenant: TenantId, body: bytes, joined: Joined) -> None:
    """Carry out a line about a hold. It also covers people who were merged since into its people.

    Args:
        body: of the line.
        joined: the merges since the backup.

    Raises:
        Unavailable: the database does not answer.
    """
    line = msgspec.json.decode(body, type=HoldLine)

    def all_of(people: Iterable[UUID]) -> tuple[UUID, ...]:
        return tuple(dict.fromkeys(other for each in people for other in joined.of(tenant, each)))

    line = replace(line, added=all_of(line.added), removed=all_of(line.removed))
    await replay_hold(services, tenant, line)


PER_MINUTE: Final = 10**9
"""A closed vault has no users, so the replay runs at full speed."""


async def sweep_again(services: Services, tenant: TenantId, progress: Callable[[str, int], None]) -> None:
    """Take what has ended, of everybody who is due.

    A sweep that was running when the backup was made is not running now.

    Args:
        progress: called with the number of people evaluated.

    Raises:
        Unavailable: a database does not answer.
    """
    table = RETENTION_SWEEP
    async with services.data.transaction() as connection:
        mine = (table.c.tenant_id == tenant, table.c.finished_at.is_(None))
        await connection.execute(update(table).where(*mine).values(runner=None))
    with suppress(NotFound):  # no policies are in force: nothing is known to have ended
        pace = Pace(PER_MINUTE, time.monotonic, asyncio.sleep)
        # Much may have been swept since the backup; should that have been a mistake, the backup is still there.
        await sweep(services, tenant, watch=lambda run: progress("swept", run.counts.people), pace=pace, confirm=True)
