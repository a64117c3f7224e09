"""Erase once more: the people, and the parts of people, who were erased after a backup."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from uuid import uuid5

from vault.catalogue.scope import Scope
from vault.erasure import verify as prove
from vault.erasure.certificate import certify
from vault.erasure.execute import take_away
from vault.erasure.related_data import lock_requests
from vault.erasure.verdict import Claim
from vault.errors import NotFound
from vault.lifecycle.erasures import (
    RETENTION,
    Erasure,
    Facts,
    add_erasure,
    add_tombstones,
    drop_erasure,
    erasures_of,
    find_erasure,
)
from vault.subjects.changes import locked_subject
from vault.subjects.erasing import person
from vault.sweep.apply import end_erasures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from vault.context import House
    from vault.ids import SubjectId, TenantId
    from vault.lifecycle.restore_lines import ErasureLine

LAST: Final = "done"


async def erase_again(house: House, tenant: TenantId, whom: Sequence[SubjectId], line: ErasureLine) -> list[UUID]:
    """Carry an erasure out again, down to the destruction of the keys; done already, it changes nothing.

    Args:
        house: the rooms.
        tenant: whose.
        whom: the person, and those who had been merged into them: in the backup they may be people of their own.
        line: what was done.

    Returns:
        the erasures that have yet to be proven.

    Raises:
        CannotOpen: a value that a law keeps does not open.
        NotProven: an earlier erasure of the same person does not come to its end.
        Unavailable: a database does not answer.
    """
    unproven = []
    before = await _find(house, tenant, line.erasure)
    for number, subject in enumerate(whom):
        its = line.erasure if number == 0 else uuid5(line.erasure, str(subject))
        if await _lay_down(house, tenant, subject, its, line):
            unproven.append(its)
            await _take(house, tenant, its, line)
    if line.scope == Scope():
        await _destroy_stray_keys(house, tenant, whom)
    if before is None or before.state != LAST:  # else the backup has its tombstones, but for those who came back since
        async with house.data.transaction() as connection:
            await add_tombstones(connection, tenant, line.erasure, line.digests(), house.clock.now())
    return unproven


async def prove_again(
    house: House, erasures: Sequence[tuple[TenantId, UUID]], told: Callable[[str, int], None]
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
        clean = await house.keyring.scrub() and await house.data.scrub(prove.TOUCHED)
        await asyncio.sleep(0 if clean else prove.SOON)
    for number, (tenant, erasure) in enumerate(erasures, 1):
        await prove.go_on(house, tenant, erasure, "destroyed", "scrubbed")  # all were, at once
        await _finish(house, tenant, erasure)
        told("proven", number)


async def _lay_down(house: House, tenant: TenantId, subject: SubjectId, its: UUID, line: ErasureLine) -> bool:
    """Lay an erasure down as it was; tells whether it has yet to come to its end."""
    await _make_room(house, tenant, subject, its)
    async with house.data.transaction() as connection:
        await lock_requests(connection, tenant, subject)
        row = await locked_subject(connection, tenant, subject)
        earlier = await find_erasure(connection, tenant, its, lock=True)
        if earlier is not None:
            return earlier.state != LAST
        if row is None or row.state == "erased":
            return False
        laid = Erasure(
            id=its,
            request=line.request,
            subject=subject,
            state="begun",
            started_at=line.started_at,
            changed_at=house.clock.now(),
            facts=Facts(scope=line.scope, cause=line.cause, rests=line.rests, resumes=line.resumes),
        )
        await add_erasure(connection, tenant, laid)
        return True


async def _make_room(house: House, tenant: TenantId, subject: SubjectId, its: UUID) -> None:
    """End another erasure of the same person that was under way in the backup; one that took nothing yet is dropped."""
    async with house.data.transaction() as connection:
        earlier = await erasures_of(connection, tenant, subject)
        others = [each for each in earlier if each.id != its and each.finished_at is None]
        for each in others:
            if each.state == "begun":
                await drop_erasure(connection, tenant, each.id)
    for each in others:
        if each.facts.cause == RETENTION:
            await end_erasures(house, tenant, [each])  # by a sweep: nothing is proven to anybody
        elif each.state != "begun":
            await _finish(house, tenant, each.id)


async def _take(house: House, tenant: TenantId, its: UUID, line: ErasureLine) -> None:
    erasure = await _find(house, tenant, its)
    if erasure is not None and erasure.state == "begun":
        try:
            claims = [Claim(*each) for each in line.claims]
            await take_away(house, tenant, erasure, replayed=claims, gone=line.gone)
        except NotFound:  # there is nobody left of whom a part could go
            async with house.data.transaction() as connection:
                await drop_erasure(connection, tenant, its)
        erasure = await _find(house, tenant, its)
    if erasure is not None and erasure.state == "taken":
        await prove.destroy_keys(house, tenant, erasure)


async def _finish(house: House, tenant: TenantId, its: UUID) -> None:
    """Bring an erasure that has taken away to its end."""
    while (erasure := await _find(house, tenant, its)) is not None and erasure.state not in {"begun", LAST}:
        seconds = None
        if erasure.state == "taken":
            await prove.destroy_keys(house, tenant, erasure)
        elif erasure.state == "destroyed":
            seconds = await prove.scrub(house, tenant, erasure)
        elif erasure.state == "scrubbed":
            seconds = await prove.look(house, tenant, erasure)
        else:
            await certify(house, tenant, erasure)
        if seconds is not None:
            await asyncio.sleep(seconds)


async def _destroy_stray_keys(house: House, tenant: TenantId, whom: Sequence[SubjectId]) -> None:
    """Destroy the keys of people of whom there is no row: a key is made durable before the person is."""
    async with house.data.reading() as connection:
        stray = [each for each in whom if await person(connection, tenant, each) is None]
    await house.keyring.destroy_subject_keys(tenant, stray)


async def _find(house: House, tenant: TenantId, its: UUID) -> Erasure | None:
    async with house.data.reading() as connection:
        return await find_erasure(connection, tenant, its)
