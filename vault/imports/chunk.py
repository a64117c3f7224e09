"""Import one chunk of lines: check, seal and write them in one transaction, with the audit entry and a mark."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from vault.access.authorization import audit_entry
from vault.errors import Conflict, Unavailable
from vault.imports import profiles, records
from vault.imports.store import find_outcome, mark_done

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import Pseudonym
    from vault.imports.lines import LineFault
    from vault.imports.store import Outcome
    from vault.imports.survey import Chunk
    from vault.imports.task import ImportContext

ATTEMPTS = 4
PAUSE = 0.25
"""Seconds before the second attempt; doubled before each further one."""


async def apply_chunk(context: ImportContext, chunk: Chunk) -> Outcome:
    """Import a chunk, unless its mark shows that it was imported.

    Raises:
        Unavailable: a database did not answer, in all attempts.
        Conflict: other writers changed the same subjects, in all attempts.
    """
    pause = PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await _attempt(context, chunk)
        except (IntegrityError, Unavailable) as error:
            if attempt == ATTEMPTS:
                raise await _record_failure(context, error) from None
        await asyncio.sleep(pause)
        pause *= 2
        # The answer to a commit may have been lost, or another process may have imported the chunk.
        outcome = await _earlier_outcome(context, chunk)
        if outcome is not None:
            return outcome
    raise AssertionError  # pragma: no cover - the loop returns or raises


async def _attempt(context: ImportContext, chunk: Chunk) -> Outcome:
    faults: list[LineFault] = []
    drafts = list(context.parser.drafts(context.reader.read(chunk.span), chunk.duplicates, faults))
    classify = records.classify if context.task.mapping.many else profiles.classify
    batch = await classify(context, drafts, faults)
    faults.sort()
    outcome = batch.outcome._replace(refused=len({fault.line for fault in faults}), faults=faults)
    run = context.task.run
    if run is None:
        return outcome
    await batch.seal()
    try:
        async with context.services.data.transaction() as connection:
            pseudonyms = await batch.write(connection)
            if pseudonyms:
                await _record_success(context, connection, run, pseudonyms)
            await mark_done(connection, context.tenant, run, chunk.number, outcome)
    except IntegrityError:
        # Only now is it certain that nothing was committed, and the new keys may be destroyed. After a lost answer to a
        # commit they may be in use; an unused key does no harm.
        await batch.discard()
        raise
    return outcome


async def _record_success(
    context: ImportContext, connection: AsyncConnection, run: UUID, pseudonyms: list[Pseudonym]
) -> None:
    entry = audit_entry(
        context.services,
        context.caller,
        action="import",
        decision="allowed",
        purpose=context.task.purpose,
        fields=context.grant.names,
        subjects=tuple(pseudonyms),
        policy=context.grant.policy,
        target=run,
    )
    await context.services.audit_log.append_in(connection, [entry])


async def _earlier_outcome(context: ImportContext, chunk: Chunk) -> Outcome | None:
    if context.task.run is None:
        return None
    return await find_outcome(context.services.data, context.tenant, context.task.run, chunk.number)


async def _record_failure(context: ImportContext, error: IntegrityError | Unavailable) -> Conflict | Unavailable:
    """Record that a chunk could not be imported, and return the error with a hint how to continue."""
    result: Conflict | Unavailable
    if isinstance(error, Unavailable):
        result = Unavailable(
            error.detail, code=error.code, hint="run the same command again: it resumes where it stopped"
        )
    else:
        result = Conflict(
            "other writers keep changing the same people at this moment",
            code="import-collides",
            hint="run the same command again when they are done: it resumes where it stopped",
        )
    entry = audit_entry(
        context.services,
        context.caller,
        action="import",
        decision="failed",
        code=result.code,
        purpose=context.task.purpose,
        fields=context.grant.names,
        policy=context.grant.policy,
        target=context.task.run,
    )
    try:
        await context.services.audit_log.append(entry)
    except Unavailable:
        return result  # nothing was changed, so an entry that is missing hides nothing
    return result
