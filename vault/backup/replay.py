"""Replay the ledger of tombstones into a restored vault: repeat what was done since the backup.

The backup contains what was erased since, and agreements that were withdrawn since. Line by line, the oldest first, the
operations that wrote the ledger are repeated under the same ids. A line that was carried out already changes nothing,
so a killed replay starts again. The ledger records denials only: if a person said no and later yes again, the no stays.

1. Merges are read first: a line about one of two merged people applies to both, because the backup has both again.
2. Each line is carried out: erasures, denials, holds, and what was taken from apps.
3. The databases' files are scrubbed and scanned for every erasure, and each certificate is issued again.
4. The retention sweep erases what has expired since.
5. The gate is opened, with the audit entry, in one transaction.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final
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
from vault.errors import Misconfigured, NotFound, RowTampered
from vault.holds.manage import HoldLine, replay_hold
from vault.identity.tables import IDENTITY_CODE, SUBJECT_SESSION
from vault.ids import DEFAULT_TENANT, KeyId, PrincipalId, SubjectId, TenantId
from vault.lifecycle.erasures import RETENTION, Erasure, Facts, add_erasure, drop_erasure, erasures_of, find_erasure
from vault.lifecycle.personal_data import owned_tables
from vault.lifecycle.restore_ledger import Joined, read_access, read_erasure, read_merge
from vault.lifecycle.tombstones import add_tombstones
from vault.requests.store import requests_of
from vault.subjects.store import GONE, have_rows, mark_due
from vault.sweep.apply import end_erasures
from vault.sweep.query import sweep
from vault.sweep.run import Pace
from vault.sweep.store import RETENTION_SWEEP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.backup.gate import Restore
    from vault.consent.model import Event
    from vault.context import Services
    from vault.crypto.row_versions import RowVersion
    from vault.lifecycle.restore_ledger import AccessLine, ErasureLine, Tombstone


OVERLAP: Final = timedelta(days=1)
"""How far before the backup the ledger is read: further than the clocks of two nodes differ, or a transaction takes."""
AT_ONCE: Final = 500
"""Denials in one transaction."""


@dataclass(slots=True)
class Replayed:
    """Counts of a replay: the lines, and what had to be done."""

    lines: int = 0
    denials: int = 0
    erasures: int = 0
    holds: int = 0
    accesses: int = 0
    unknown: int = 0


def _no_progress(_what: str, _count: int) -> None:
    """Report nothing."""


async def replay(services: Services, progress: Callable[[str, int], None] = _no_progress) -> Replayed:
    """Replay the ledger into a restored vault and open it.

    Args:
        services: of a vault that was opened past the gate.
        progress: called with the name of a step and a count.

    Raises:
        Misconfigured: the vault was not restored, or is replayed already.
        Unavailable: a database does not answer; begin again with ``cdv restore --continue``.
    """
    restore = await waiting(services.data)
    if restore is None:
        raise Misconfigured("there is no restore to be continued", hint="the vault is open: use it")
    run = _Replay(services, progress)
    if restore.facts.without_ledger is None:
        await run.carry_out(restore.backed_up_at - OVERLAP)
    else:
        # The ledger was restored from the backup, whose copy was made before the line about the backup was added.
        await services.restore_ledger.add_backup(restore.backup, restore.backed_up_at)
    await prove_again(services, run.unproven, progress)
    for tenant in await services.keyring.tenants():
        await sweep_again(services, tenant, progress)
    await _open(services, restore, run.counts)
    return run.counts


class _Replay:
    """Carries out the lines of the ledger, and counts them."""

    def __init__(self, services: Services, progress: Callable[[str, int], None]) -> None:
        self._services = services
        self._progress = progress
        self._joined = Joined()
        self.counts = Replayed()
        self.unproven: list[tuple[TenantId, UUID]] = []

    async def carry_out(self, since: datetime) -> None:
        """Carry out all lines since a time."""
        tenants, ledger = set(await self._services.keyring.tenants()), self._services.restore_ledger
        async for line in ledger.since(since):
            if line.kind == "merge" and line.subject is not None:
                self._joined.add(line.tenant, line.subject, read_merge(line.body).duplicate)
        denials: list[Tombstone] = []
        async for line in ledger.since(since):
            if line.kind == "backup":
                continue
            self.counts.lines += 1
            self._progress("replayed", self.counts.lines)
            if line.tenant not in tenants:
                self.counts.unknown += 1  # the backup has nothing of a tenant that was added later
                continue
            if denials and (line.kind != "consent" or line.tenant != denials[0].tenant or len(denials) >= AT_ONCE):
                await self._deny(denials)
                denials = []
            if line.kind == "consent":
                denials.append(line)
            else:
                await self._repeat(line)
        if denials:
            await self._deny(denials)

    async def _repeat(self, line: Tombstone) -> None:
        services, tenant = self._services, line.tenant
        if line.kind == "erasure":
            await self._erase(line)
        elif line.kind in {"hold", "hold-lifted"}:
            await hold_again(services, tenant, line.body, self._joined)
            self.counts.holds += 1
        elif line.kind == "access":
            self.counts.accesses += await bar_again(services, tenant, read_access(line.body))
        elif line.kind != "merge":
            raise Misconfigured(
                "the ledger of tombstones has lines of a kind that this program does not know",
                hint="install the program that wrote them, or a later one, then run `cdv restore --continue`",
            )

    async def _erase(self, line: Tombstone) -> None:
        if line.subject is None:
            raise TypeError("a line of an erasure names a subject")
        erasure = read_erasure(line.body)
        people = dict.fromkeys([*self._joined.of(line.tenant, line.subject), *erasure.aliases])
        unproven = await erase_again(self._services, line.tenant, [SubjectId(person) for person in people], erasure)
        self.counts.erasures += bool(unproven)
        self.unproven += [(line.tenant, erasure_id) for erasure_id in unproven]

    async def _deny(self, lines: list[Tombstone]) -> None:
        events = [
            (SubjectId(subject), decode_event(line.body))
            for line in lines
            if line.subject is not None
            for subject in self._joined.of(line.tenant, line.subject)
        ]
        self.counts.denials += await deny_again(self._services, lines[0].tenant, events)


async def _open(services: Services, restore: Restore, replayed: Replayed) -> None:
    """Open the gate. A second call changes nothing."""
    tenants = await services.keyring.tenants() or [DEFAULT_TENANT]
    async with services.data.transaction() as connection:
        if await waiting_in(connection) is None:
            return
        await close_all(connection, services.clock.now())
        for table in (SUBJECT_SESSION, IDENTITY_CODE):  # sessions may have ended since, and codes may have been used
            await connection.execute(delete(table))
        entries = [
            audit_entry(
                services,
                operator_caller(tenant),
                action="restore",
                decision="allowed",
                code="replayed" if restore.facts.without_ledger is None else "without-ledger",
                target=restore.backup,
                count=max(1, replayed.denials + replayed.erasures + replayed.holds + replayed.accesses),
            )
            for tenant in tenants
        ]
        await services.audit_log.append_in(connection, entries)


async def bar_again(services: Services, tenant: TenantId, line: AccessLine) -> bool:
    """Carry out a line about access. An app that is newer than the backup is skipped.

    If the backup has the audit entry of the line, it also has what was granted again later. Roles are only ever
    removed: a role that was granted after the backup has to be granted again.

    Returns:
        whether anything had to be done.

    Raises:
        Unavailable: the database does not answer.
    """
    if await services.audit_log.has(tenant, line.entry):
        return False
    async with services.data.transaction() as connection:
        try:
            changed, version = await _bar(services, connection, tenant, line)
        except (NotFound, RowTampered):  # a row that is not genuine is refused wherever it is used
            return False
        if changed:
            entry = audit_entry(
                services, operator_caller(tenant), action=line.action, decision="allowed", target=line.target
            )
            await services.audit_log.append_in(connection, [entry])
    await services.principals.settle(tenant, version)
    return changed


async def _bar(
    services: Services, connection: AsyncConnection, tenant: TenantId, line: AccessLine
) -> tuple[bool, RowVersion]:
    if line.action == "revoke-key":
        revoked = await services.principals.revoke_key(connection, tenant, KeyId(line.target))
        return revoked.changed, revoked.version
    target = PrincipalId(line.target)
    principal = await services.principals.get(connection, tenant, target)
    if line.action == "disable-principal":
        version = await services.principals.disable(connection, tenant, target)
        return principal.state != "disabled", version
    roles = [role for role in principal.roles if role not in line.roles]
    version = await services.principals.set_roles(connection, tenant, target, roles)
    return len(roles) < len(principal.roles), version


async def deny_again(services: Services, tenant: TenantId, denials: Sequence[tuple[SubjectId, Event]]) -> int:
    """Append the events of one tenant that are missing in the restored consent events, in one transaction.

    The consent state of each subject is then derived again from all of their events.

    Args:
        denials: subjects and events; an event of a subject that was merged since is given for both.

    Returns:
        the number of missing events.

    Raises:
        Unavailable: the database does not answer; no event was appended.
    """
    events: defaultdict[SubjectId, dict[UUID, Event]] = defaultdict(dict)
    for subject, event in denials:
        events[subject][event.id] = replace(event, subject=subject)
    async with services.data.transaction() as connection:
        rows = await services.subjects.locked_many(connection, tenant, list(events))
        existing = await services.consents.events_of(connection, tenant, list(rows))
        pseudonyms: list[UUID] = []
        added = 0
        for subject, row in rows.items():
            known = existing.get(subject, [])
            ids = {event.id for event in known}
            missing = [event for event in events[subject].values() if event.id not in ids]
            if missing and row.state not in GONE:
                await services.consents.add(connection, tenant, missing)
                before = unpack(row.standing)
                state = fold(sorted([*known, *missing], key=lambda event: event.id))
                state = replace(state, holds=before.holds, kept_for=before.kept_for)
                restricted = stays_restricted(row, state)
                await services.subjects.set_standing(connection, row, pack(state), restricted=restricted)
                pseudonyms.append(row.pseudonym)
                added += len(missing)
        if added:
            await mark_due(connection, tenant, list(rows), services.clock.now())
            entry = audit_entry(
                services,
                operator_caller(tenant),
                action="restore",
                decision="allowed",
                code="denied-again",
                subjects=tuple(pseudonyms),
                count=added,
            )
            await services.audit_log.append_in(connection, [entry])
    return added


LAST: Final = "done"


async def erase_again(
    services: Services, tenant: TenantId, people: Sequence[SubjectId], line: ErasureLine
) -> list[UUID]:
    """Repeat an erasure, including the destruction of the keys. If it was carried out already, nothing changes.

    Args:
        people: the subject, and those merged into it, which may be separate subjects in the backup.

    Returns:
        the erasures that have yet to be proven.

    Raises:
        CannotOpen: a value that a law keeps does not open.
        NotProven: an earlier erasure of the same subject cannot be completed.
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
    # A completed erasure has its tombstones in the backup, except those of subjects who have come back since.
    if before is None or before.state != LAST:
        async with services.data.transaction() as connection:
            await add_tombstones(connection, tenant, line.erasure, line.digests(), services.clock.now())
    return unproven


async def prove_again(
    services: Services, erasures: Sequence[tuple[TenantId, UUID]], progress: Callable[[str, int], None]
) -> None:
    """Scrub the files, check that nothing is left, and sign the certificates: once for all erasures of a replay.

    Raises:
        NotProven: something of an erased subject was found.
        Unavailable: a database does not answer.
    """
    if not erasures:
        return
    clean = False
    while not clean:
        clean = await services.keyring.scrub() and await services.data.scrub(owned_tables(services.personal_data))
        await asyncio.sleep(0 if clean else prove.SOON)
    for number, (tenant, erasure) in enumerate(erasures, 1):
        await prove.advance(services, tenant, erasure, "destroyed", "scrubbed")  # all of them were
        await _finish(services, tenant, erasure)
        progress("proven", number)


async def _lay_down(
    services: Services, tenant: TenantId, subject: SubjectId, erasure_id: UUID, line: ErasureLine
) -> bool:
    """Record an erasure as it was; returns whether it is unfinished."""
    await _make_room(services, tenant, subject, erasure_id)
    row_keys = await services.keyring.row_keys(tenant)
    async with services.data.transaction() as connection:
        await requests_of(connection, row_keys, [subject], lock=True)
        row = await services.subjects.locked(connection, tenant, subject)
        earlier = await find_erasure(connection, tenant, erasure_id, lock=True)
        if earlier is not None:
            return earlier.state != LAST
        if row is None or row.state == "erased":
            return False
        erasure = Erasure(
            id=erasure_id,
            request=line.request,
            subject=subject,
            state="begun",
            started_at=line.started_at,
            changed_at=services.clock.now(),
            facts=Facts(scope=line.scope, cause=line.cause, rests=line.rests, resumes=line.resumes),
        )
        await add_erasure(connection, tenant, erasure)
        return True


async def _make_room(services: Services, tenant: TenantId, subject: SubjectId, erasure_id: UUID) -> None:
    """Complete other erasures of the subject that the backup left unfinished. Those that erased nothing are dropped."""
    async with services.data.transaction() as connection:
        earlier = await erasures_of(connection, tenant, subject)
        others = [erasure for erasure in earlier if erasure.id != erasure_id and erasure.finished_at is None]
        for other in others:
            if other.state == "begun":
                await drop_erasure(connection, tenant, other.id)
    for other in others:
        if other.facts.cause == RETENTION:
            await end_erasures(services, tenant, [other])  # by a sweep: there is no certificate
        elif other.state != "begun":
            await _finish(services, tenant, other.id)


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
    """Complete an erasure that has erased its values."""
    steps = {state: step for _name, state, step in prove.PROOF}
    while (erasure := await _find(services, tenant, erasure_id)) is not None and erasure.state in steps:
        seconds = await steps[erasure.state](services, tenant, erasure)
        if seconds is not None:
            await asyncio.sleep(seconds)


async def _destroy_stray_keys(services: Services, tenant: TenantId, people: Sequence[SubjectId]) -> None:
    # Keys become durable before the row of their subject, so there may be keys without a row.
    async with services.data.reading() as connection:
        there = await have_rows(connection, tenant, people)
    stray = [subject for subject in people if subject not in there]
    await services.keyring.destroy_subject_keys(tenant, stray)


async def _find(services: Services, tenant: TenantId, erasure_id: UUID) -> Erasure | None:
    async with services.data.reading() as connection:
        return await find_erasure(connection, tenant, erasure_id)


async def hold_again(services: Services, tenant: TenantId, body: bytes, joined: Joined) -> None:
    """Carry out a line about a hold. It also covers subjects who were merged since into those of the hold.

    Args:
        body: of the line.
        joined: the merges since the backup.

    Raises:
        Unavailable: the database does not answer.
    """
    line = msgspec.json.decode(body, type=HoldLine)

    def all_of(people: Iterable[UUID]) -> tuple[UUID, ...]:
        return tuple(dict.fromkeys(other for person in people for other in joined.of(tenant, person)))

    line = replace(line, added=all_of(line.added), removed=all_of(line.removed))
    await replay_hold(services, tenant, line)


PER_MINUTE: Final = 10**9
"""A closed vault has no users, so the replay runs at full speed."""


async def sweep_again(services: Services, tenant: TenantId, progress: Callable[[str, int], None]) -> None:
    """Sweep all subjects of a tenant that are due.

    Raises:
        Unavailable: a database does not answer.
    """
    table = RETENTION_SWEEP
    async with services.data.transaction() as connection:
        # A sweep that was running when the backup was made is not running now.
        unfinished = (table.c.tenant_id == tenant, table.c.finished_at.is_(None))
        await connection.execute(update(table).where(*unfinished).values(runner=None))
    with suppress(NotFound):  # without policies, nothing is known to have expired
        pace = Pace(PER_MINUTE, time.monotonic, asyncio.sleep)
        # Confirmed: much may have been swept since the backup. If that was a mistake, the backup still exists.
        await sweep(services, tenant, watch=lambda run: progress("swept", run.counts.people), pace=pace, confirm=True)
