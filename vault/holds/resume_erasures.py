"""A hold is lifted, and the erasures that it kept something from go on by themselves.

The tables say what has yet to go on: the rows of those whom a hold does not cover any more and that name an erasure.
They are written in the transaction that lifts the hold, and go when the erasure has ended; a crash anywhere between
loses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy.exc import IntegrityError

from vault.erasure import verify as prove
from vault.erasure.certificate import certify
from vault.erasure.execute import take_away
from vault.holds.rests import free_rests, scope_of
from vault.ids import new_id
from vault.jobs.workflow import Workflow
from vault.lifecycle.erasures import Erasure, Facts, add_erasure, erasures_of, find_erasure
from vault.retention.hold_store import let_wait, remove_people, wait_no_more, waiting, who_waits
from vault.retention.holds_marks import take_marks
from vault.subjects.changes import locked_subject

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import House
    from vault.ids import SubjectId, TenantId
    from vault.jobs.workflow import Step

NAME: Final = "resume-erasure"
CAUSE: Final = "hold"
SOON: Final = 5.0
"""Seconds until it is looked again, where another erasure of the same person is under way."""


class Waiting(NamedTuple):
    """An erasure that ought to have a job; the words are those of :class:`vault.operations_workflows.Pending`."""

    workflow: str
    tenant: TenantId
    id: UUID
    run: int = 0


async def release(
    house: House, connection: AsyncConnection, tenant: TenantId, hold: UUID, rows: Mapping[SubjectId, Any]
) -> None:
    """Let a hold go of people: reading is as before, and what ended or was to be erased meanwhile follows.

    Args:
        house: the rooms.
        connection: the open transaction.
        tenant: whose.
        hold: which; its row is locked.
        rows: the people's rows, locked.
    """
    await take_marks(connection, tenant, rows, hold, house.clock.now())
    free = await free_rests(house, connection, tenant, list(rows))
    await remove_people(connection, tenant, hold, [each for each in rows if each not in free])
    await let_wait(connection, tenant, hold, {each: new_id() for each in free})


async def pending_resumes(house: House) -> list[Waiting]:
    """List the erasures of all tenants that have yet to go on."""
    found: list[Waiting] = []
    for tenant in await house.keyring.tenants():
        async with house.data.reading() as connection:
            found += [Waiting(NAME, tenant, each) for each in await waiting(connection, tenant)]
    return found


async def begin(house: Any, tenant: TenantId, erasure: UUID) -> float | None:
    """Lay the erasure down, once no other of the same person is under way; nothing where nothing is left to do."""
    try:
        async with house.data.transaction() as connection:
            return await _begin(house, connection, tenant, erasure)
    except IntegrityError:  # another erasure of the same person began at this moment
        return SOON


async def take(house: Any, tenant: TenantId, erasure: UUID) -> float | None:
    """Take away what goes; an erasure that gave way to a wider one is laid down anew, if anything is left for it."""
    found = await _find(house, tenant, erasure)
    if found is None:
        again: float | None = await begin(house, tenant, erasure)
        return SOON if again is None and await _find(house, tenant, erasure) is not None else again
    if found.state == "begun":
        await take_away(house, tenant, found)
    return None


async def destroy(house: Any, tenant: TenantId, erasure: UUID) -> None:
    """Destroy the keys of what has gone."""
    found = await _find(house, tenant, erasure)
    if found is not None and found.state == "taken":
        await prove.destroy_keys(house, tenant, found)


async def scrub(house: Any, tenant: TenantId, erasure: UUID) -> float | None:
    """Clean the databases' files."""
    found = await _find(house, tenant, erasure)
    return await prove.scrub(house, tenant, found) if found is not None and found.state == "destroyed" else None


async def check(house: Any, tenant: TenantId, erasure: UUID) -> float | None:
    """Look whether anything is left."""
    found = await _find(house, tenant, erasure)
    return await prove.look(house, tenant, found) if found is not None and found.state == "scrubbed" else None


async def attest(house: Any, tenant: TenantId, erasure: UUID) -> None:
    """Sign the certificate, and be done."""
    found = await _find(house, tenant, erasure)
    if found is not None and found.state == "checked":
        await certify(house, tenant, found)
    async with house.data.transaction() as connection:
        await wait_no_more(connection, tenant, erasure)


RESUME_STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("begin", begin),
    ("take-away", take),
    ("destroy-keys", destroy),
    ("scrub", scrub),
    ("check", check),
    ("certify", attest),
)
"""The same steps as those of an erasure that is asked for; see :mod:`vault.erasure.workflow`."""
RESUME: Final = Workflow(NAME, RESUME_STEPS)


async def _begin(house: House, connection: AsyncConnection, tenant: TenantId, erasure: UUID) -> float | None:
    subject = await who_waits(connection, tenant, erasure)
    row = None if subject is None else await locked_subject(connection, tenant, subject)
    if subject is None or row is None or await find_erasure(connection, tenant, erasure) is not None:
        return None
    if any(each.finished_at is None for each in await erasures_of(connection, tenant, subject)):
        return SOON
    rest = (await free_rests(house, connection, tenant, [subject])).get(subject)
    if rest is None:
        return None
    now, scope = house.clock.now(), scope_of(row.state, rest)
    rests = dict(rest.fields) if scope.fields else {}
    facts = Facts(scope=scope, cause=CAUSE, rests=rests, resumes=rest.of)
    laid = Erasure(
        id=erasure, request=None, subject=subject, state="begun", started_at=now, changed_at=now, facts=facts
    )
    await add_erasure(connection, tenant, laid)
    return None


async def _find(house: House, tenant: TenantId, erasure: UUID) -> Erasure | None:
    async with house.data.reading() as connection:
        return await find_erasure(connection, tenant, erasure)
