"""One chunk of lines: checked, sealed and written in one transaction with its audit entry and its mark."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from vault.access.authorization import audit_entry
from vault.errors import Conflict, Unavailable
from vault.imports import profiles as people
from vault.imports import records
from vault.imports import store as runs

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import Pseudonym
    from vault.imports.lines import LineFault
    from vault.imports.store import Outcome
    from vault.imports.survey import Chunk
    from vault.imports.task import Work

ATTEMPTS = 4
PAUSE = 0.25
"""Seconds before the second attempt; twice as long before each further one."""


async def apply_chunk(work: Work, chunk: Chunk) -> Outcome:
    """Bring a chunk in. A chunk whose mark is there already is not brought in again.

    Raises:
        Unavailable: a database did not answer, several times over.
        Conflict: others kept writing the same people at the same time.
    """
    pause = PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await _attempt(work, chunk)
        except (IntegrityError, Unavailable) as error:
            # Somebody else was quicker with the same people, or the answer to a commit was lost: the mark tells.
            if attempt == ATTEMPTS:
                raise await _failed(work, error) from None
        await asyncio.sleep(pause)
        pause *= 2
        earlier = await _marked(work, chunk)
        if earlier is not None:
            return earlier
    raise AssertionError  # pragma: no cover - the loop returns or raises


async def _attempt(work: Work, chunk: Chunk) -> Outcome:
    faults: list[LineFault] = []
    drafts = list(work.maker.drafts(work.reader.read(chunk.place), chunk.duplicates, faults))
    sort_out = records.sort_out if work.task.mapping.many else people.sort_out
    batch = await sort_out(work, drafts, faults)
    faults.sort()
    outcome = batch.outcome._replace(refused=len({fault.line for fault in faults}), faults=faults)
    run = work.task.run
    if run is None:
        return outcome
    await batch.seal()
    try:
        async with work.services.data.transaction() as connection:
            whom = await batch.write(connection)
            if whom:
                await _note(work, connection, run, whom)
            await runs.mark(connection, work.tenant, run, chunk.number, outcome)
    except IntegrityError:
        # Only here is it certain that nothing was committed. Where a commit's answer was lost, a destroyed key could
        # be that of a person who is there; a key that opens nothing does no harm.
        await batch.undo()
        raise
    return outcome


async def _note(work: Work, connection: AsyncConnection, run: UUID, whom: list[Pseudonym]) -> None:
    made = audit_entry(
        work.services,
        work.caller,
        action="import",
        decision="allowed",
        purpose=work.task.purpose,
        fields=work.grant.names,
        subjects=tuple(whom),
        policy=work.grant.policy,
        target=run,
    )
    await work.services.audit_log.append_in(connection, [made])


async def _marked(work: Work, chunk: Chunk) -> Outcome | None:
    if work.task.run is None:
        return None
    return await runs.is_done(work.services.data, work.tenant, work.task.run, chunk.number)


async def _failed(work: Work, error: IntegrityError | Unavailable) -> Conflict | Unavailable:
    """Write down that a chunk was given up, where the log can still be written, and tell how to go on."""
    told: Conflict | Unavailable
    if isinstance(error, Unavailable):
        told = Unavailable(
            error.detail, code=error.code, hint="run the same command again: it goes on where it stopped"
        )
    else:
        told = Conflict(
            "others keep writing the same people at this moment",
            code="import-collides",
            hint="run the same command again when they are done: it goes on where it stopped",
        )
    made = audit_entry(
        work.services,
        work.caller,
        action="import",
        decision="failed",
        code=told.code,
        purpose=work.task.purpose,
        fields=work.grant.names,
        policy=work.grant.policy,
        target=work.task.run,
    )
    try:
        await work.services.audit_log.append(made)
    except Unavailable:
        return told  # nothing was changed, so nothing is hidden
    return told
