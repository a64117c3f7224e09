"""What holds have kept back from erasures, and whether it may go now. Nothing is opened.

A hold is lifted, and the erasures that it kept something from go on by themselves.

The tables say what has yet to go on: the rows of those whom a hold does not cover any more and that name an erasure.
They are written in the transaction that lifts the hold, and go when the erasure has ended; a crash anywhere between
loses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from vault.catalogue.model import Scope
from vault.consent.state import unpack as unpack_standing
from vault.erasure import verify as prove
from vault.erasure.certificate import certify
from vault.erasure.execute import execute_erasure
from vault.erasure.start import EVERYTHING
from vault.erasure.verdict import HELD, decide, without_later_values
from vault.ids import SubjectId, new_id
from vault.jobs.workflow import Workflow
from vault.lifecycle.erasures import Erasure, Facts, add_erasure, erasures_of, find_erasure
from vault.lifecycle.tables import ERASURE
from vault.retention.clocks import NO_CLOCKS, clocks_in
from vault.retention.ends import day_of
from vault.retention.holds import (
    held_by,
    list_waiting_erasures,
    remove_subjects,
    remove_waiting_erasure,
    set_waiting_erasures,
    subject_of_erasure,
    take_marks,
)
from vault.subjects.changes import locked_subject, person, records_of
from vault.subjects.record_body import happened_at, unpack
from vault.subjects.tables import SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Services
    from vault.ids import TenantId
    from vault.jobs.workflow import Step


AT_ONCE = 500


class Rest(NamedTuple):
    """What holds have kept back of one person.

    Attributes:
        fields: by whole name, when it was to be erased last.
        of: the erasures from which it was kept back.
    """

    fields: Mapping[str, datetime]
    of: tuple[UUID, ...]


async def free_rests(
    services: Services, connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, Rest]:
    """Tell of whom something was kept back that no hold covers any more: of each, all that was kept back.

    Args:
        connection: the open transaction, in which the people's rows are locked.
        subjects: who is asked about; most have never had an erasure, and are done with by one look at an index.
    """
    found = {}
    for start in range(0, len(subjects), AT_ONCE):
        for subject in await _with_erasures(connection, tenant, subjects[start : start + AT_ONCE]):
            rest = await _rest_of(connection, tenant, subject)
            if rest.of and await _is_free(services, connection, tenant, subject, rest):
                found[subject] = rest
    return found


def scope_of(state: str, rest: Rest) -> Scope:
    """Return what the erasure is about that goes on: of somebody who was erased as a whole, everything."""
    if state == "retained":
        return EVERYTHING
    # Of what was generalised the name goes on with that of the view; a scope names fields.
    return Scope(fields=tuple(sorted({".".join(name.split(".")[:2]) for name in rest.fields})))


async def _with_erasures(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> list[SubjectId]:
    """Pick the people of whom something was erased, or of somebody who was merged into them."""
    aliases = SUBJECT_ALIAS.c
    statement = select(aliases.alias_id, aliases.subject_id).where(
        aliases.tenant_id == tenant, aliases.subject_id.in_(subjects)
    )
    stands_for = {row[0]: row[1] for row in (await connection.execute(statement)).all()}
    erased = select(ERASURE.c.subject_id).where(
        ERASURE.c.tenant_id == tenant, ERASURE.c.subject_id.in_([*subjects, *stands_for])
    )
    whom = {SubjectId(stands_for.get(each, each)) for each in (await connection.execute(erased.distinct())).scalars()}
    return sorted(whom)


async def _rest_of(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> Rest:
    aliases = select(SUBJECT_ALIAS.c.alias_id).where(
        SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.subject_id == subject
    )
    people = [subject, *(await connection.execute(aliases)).scalars()]
    return _sum([each for whom in people for each in await erasures_of(connection, tenant, whom)])


def _sum(erasures: Iterable[Erasure]) -> Rest:
    fields: dict[str, datetime] = {}
    of: dict[UUID, None] = {}
    for each in erasures:
        held = [line.field for line in each.facts.lines if line.ground == HELD]
        for name in held:
            # Of one that went on itself, what came in after the first of them was never to be erased.
            moment = each.facts.rests.get(name, each.facts.erased_at or each.started_at)
            fields[name] = max(fields.get(name, moment), moment)
        if held:
            of |= dict.fromkeys((each.id, *each.facts.resumes))
    return Rest(fields, tuple(of))


async def _is_free(
    services: Services, connection: AsyncConnection, tenant: TenantId, subject: SubjectId, rest: Rest
) -> bool:
    """Tell whether an erasure that went on now would take something."""
    row = await person(connection, tenant, subject)
    if row is None or row.state == "erased":
        return False
    records = await records_of(connection, tenant, subject)
    if row.state == "retained":
        return any(_is_endless(row, each) for each in records)
    policy_set = services.policies.active(tenant).policy_set
    clocks = (await clocks_in(connection, tenant, [subject])).get(subject, NO_CLOCKS)
    found = decide(policy_set, row, records, scope_of(row.state, rest), (), services.clock.now(), clocks)
    older = without_later_values(found, records, rest.fields)
    return any(verdict == () for fields in older.values() for verdict in fields.values())


def _is_endless(row: Any, record: Any) -> bool:
    """Tell whether something of an erased person is there that was kept by a hold alone, and is not held any more."""
    standing = unpack_standing(row.standing)
    body = unpack(record.body)
    day = day_of(happened_at(record, body))
    return any(
        stored.expires_at is None and held_by(standing, f"{record.collection}.{name}", day) is None
        for name, stored in body.items()
    )


NAME: Final = "resume-erasure"
CAUSE: Final = "hold"
SOON: Final = 5.0
"""Seconds until it is looked again, where another erasure of the same person is under way."""


class Waiting(NamedTuple):
    """An erasure that ought to have a job; the words are those of :class:`vault.workflows.Pending`."""

    workflow: str
    tenant: TenantId
    id: UUID
    run: int = 0


async def release(
    services: Services, connection: AsyncConnection, tenant: TenantId, hold: UUID, rows: Mapping[SubjectId, Any]
) -> None:
    """Let a hold go of people: reading is as before, and what ended or was to be erased meanwhile follows.

    Args:
        hold: which; its row is locked.
        rows: the people's rows, locked.
    """
    await take_marks(connection, tenant, rows, hold, services.clock.now())
    free = await free_rests(services, connection, tenant, list(rows))
    await remove_subjects(connection, tenant, hold, [each for each in rows if each not in free])
    await set_waiting_erasures(connection, tenant, hold, {each: new_id() for each in free})


async def pending_resumes(services: Services) -> list[Waiting]:
    """List the erasures of all tenants that have yet to go on."""
    found: list[Waiting] = []
    for tenant in await services.keyring.tenants():
        async with services.data.reading() as connection:
            found += [Waiting(NAME, tenant, each) for each in await list_waiting_erasures(connection, tenant)]
    return found


async def begin(services: Any, tenant: TenantId, erasure: UUID) -> float | None:
    """Lay the erasure down, once no other of the same person is under way; nothing where nothing is left to do."""
    try:
        async with services.data.transaction() as connection:
            return await _begin(services, connection, tenant, erasure)
    except IntegrityError:  # another erasure of the same person began at this moment
        return SOON


async def take(services: Any, tenant: TenantId, erasure: UUID) -> float | None:
    """Take away what goes; an erasure that gave way to a wider one is laid down anew, if anything is left for it."""
    found = await _find(services, tenant, erasure)
    if found is None:
        again: float | None = await begin(services, tenant, erasure)
        return SOON if again is None and await _find(services, tenant, erasure) is not None else again
    if found.state == "begun":
        await execute_erasure(services, tenant, found)
    return None


async def destroy(services: Any, tenant: TenantId, erasure: UUID) -> None:
    """Destroy the keys of what has gone."""
    found = await _find(services, tenant, erasure)
    if found is not None and found.state == "taken":
        await prove.destroy_keys(services, tenant, found)


async def scrub(services: Any, tenant: TenantId, erasure: UUID) -> float | None:
    """Clean the databases' files."""
    found = await _find(services, tenant, erasure)
    return await prove.scrub(services, tenant, found) if found is not None and found.state == "destroyed" else None


async def check(services: Any, tenant: TenantId, erasure: UUID) -> float | None:
    """Look whether anything is left."""
    found = await _find(services, tenant, erasure)
    return (
        await prove.check_remains(services, tenant, found) if found is not None and found.state == "scrubbed" else None
    )


async def attest(services: Any, tenant: TenantId, erasure: UUID) -> None:
    """Sign the certificate, and be done."""
    found = await _find(services, tenant, erasure)
    if found is not None and found.state == "checked":
        await certify(services, tenant, found)
    async with services.data.transaction() as connection:
        await remove_waiting_erasure(connection, tenant, erasure)


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


async def _begin(services: Services, connection: AsyncConnection, tenant: TenantId, erasure: UUID) -> float | None:
    subject = await subject_of_erasure(connection, tenant, erasure)
    row = None if subject is None else await locked_subject(connection, tenant, subject)
    if subject is None or row is None or await find_erasure(connection, tenant, erasure) is not None:
        return None
    if any(each.finished_at is None for each in await erasures_of(connection, tenant, subject)):
        return SOON
    rest = (await free_rests(services, connection, tenant, [subject])).get(subject)
    if rest is None:
        return None
    now, scope = services.clock.now(), scope_of(row.state, rest)
    rests = dict(rest.fields) if scope.fields else {}
    facts = Facts(scope=scope, cause=CAUSE, rests=rests, resumes=rest.of)
    laid = Erasure(
        id=erasure, request=None, subject=subject, state="begun", started_at=now, changed_at=now, facts=facts
    )
    await add_erasure(connection, tenant, laid)
    return None


async def _find(services: Services, tenant: TenantId, erasure: UUID) -> Erasure | None:
    async with services.data.reading() as connection:
        return await find_erasure(connection, tenant, erasure)
