"""Erasures that continue after a hold is lifted: what the hold kept back is erased now. No value is opened.

A row of a released subject names the erasure that is to continue. The row is written in the transaction that releases
the subject, and deleted when the erasure has ended, so a crash in between loses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from vault.catalogue.model import Scope
from vault.consent.model import unpack as unpack_standing
from vault.erasure import verify
from vault.erasure.execute import execute_erasure
from vault.erasure.verdict import EVERYTHING, HELD, decide, without_later_values
from vault.ids import SubjectId, new_id
from vault.jobs.workflow import Work, Workflow
from vault.lifecycle.erasures import ERASURE, Erasure, Facts, add_erasure, erasures_of, find_erasure
from vault.retention import holds
from vault.retention.clocks import clocks_of_one
from vault.retention.ends import SubjectData, day_of
from vault.subjects.rows import happened_at, unpack
from vault.subjects.store import records_of
from vault.subjects.tables import SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Services
    from vault.ids import TenantId
    from vault.jobs.workflow import Step
    from vault.lifecycle.erasures import State
    from vault.storage.columns import AnyRow


AT_ONCE = 500


class Rest(NamedTuple):
    """What holds have kept back of one subject.

    Attributes:
        fields: for each field (by whole name), when it was last to be erased.
        of: the erasures from which it was kept back.
    """

    fields: Mapping[str, datetime]
    of: tuple[UUID, ...]


async def free_rests(
    services: Services, connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, Rest]:
    """Return the subjects with withheld values that no hold covers now, each with all of its withheld values.

    Args:
        connection: the open transaction, in which the subjects' rows are locked.
        subjects: candidates. Most have never had an erasure, which one index lookup shows.
    """
    rests = {}
    for start in range(0, len(subjects), AT_ONCE):
        for subject in await _with_erasures(connection, tenant, subjects[start : start + AT_ONCE]):
            rest = await _rest_of(connection, tenant, subject)
            if rest.of and await _is_free(services, connection, tenant, subject, rest):
                rests[subject] = rest
    return rests


def scope_of(state: str, rest: Rest) -> Scope:
    """Return the scope of the erasure that continues: everything, if the whole subject was erased."""
    if state == "retained":
        return EVERYTHING
    # The name of a generalised value has the view as a third part; a scope names fields.
    return Scope(fields=tuple(sorted({".".join(name.split(".")[:2]) for name in rest.fields})))


async def _with_erasures(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> list[SubjectId]:
    """Return the subjects that have an erasure themselves or through a merged subject."""
    aliases = SUBJECT_ALIAS.c
    statement = select(aliases.alias_id, aliases.subject_id).where(
        aliases.tenant_id == tenant, aliases.subject_id.in_(subjects)
    )
    survivors = {row[0]: row[1] for row in (await connection.execute(statement)).all()}
    erased = select(ERASURE.c.subject_id).where(
        ERASURE.c.tenant_id == tenant, ERASURE.c.subject_id.in_([*subjects, *survivors])
    )
    erased_ids = (await connection.execute(erased.distinct())).scalars()
    return sorted({SubjectId(survivors.get(subject, subject)) for subject in erased_ids})


async def _rest_of(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> Rest:
    aliases = select(SUBJECT_ALIAS.c.alias_id).where(
        SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.subject_id == subject
    )
    people = [subject, *(await connection.execute(aliases)).scalars()]
    fields: dict[str, datetime] = {}
    of: dict[UUID, None] = {}
    for erasure in [erasure for person_id in people for erasure in await erasures_of(connection, tenant, person_id)]:
        held = [line.field for line in erasure.facts.lines if line.ground == HELD]
        for name in held:
            # If this erasure continues an earlier one, values collected after the earlier one were never to be erased.
            moment = erasure.facts.rests.get(name, erasure.facts.erased_at or erasure.started_at)
            fields[name] = max(fields.get(name, moment), moment)
        if held:
            of |= dict.fromkeys((erasure.id, *erasure.facts.resumes))
    return Rest(fields, tuple(of))


async def _is_free(
    services: Services, connection: AsyncConnection, tenant: TenantId, subject: SubjectId, rest: Rest
) -> bool:
    """Return whether an erasure that continued now would erase something."""
    row = await services.subjects.person(connection, tenant, subject)
    if row is None or row.state == "erased":
        return False
    records = await records_of(connection, tenant, subject)
    if row.state == "retained":
        return any(_is_endless(row, record) for record in records)
    policy_set = services.policies.active(tenant).policy_set
    data = SubjectData(row, records, await clocks_of_one(connection, tenant, subject))
    verdicts = decide(policy_set, data, scope_of(row.state, rest), (), services.clock.now())
    older = without_later_values(verdicts, records, rest.fields)
    return any(verdict == () for fields in older.values() for verdict in fields.values())


def _is_endless(row: AnyRow, record: AnyRow) -> bool:
    """Return whether a record of an erased subject has a value that only a hold kept, and that is no longer held."""
    standing = unpack_standing(row.standing)
    body = unpack(record.body)
    day = day_of(happened_at(record, body))
    return any(
        stored.expires_at is None and holds.held_by(standing, f"{record.collection}.{name}", day) is None
        for name, stored in body.items()
    )


NAME: Final = "resume-erasure"
CAUSE: Final = "hold"
SOON: Final = 5.0
"""Seconds until the next attempt, if another erasure of the same subject is under way."""


async def release(
    services: Services, connection: AsyncConnection, tenant: TenantId, hold: UUID, rows: Mapping[SubjectId, AnyRow]
) -> None:
    """Release subjects from a hold: reads are as before, and what has ended or was to be erased is erased now.

    Args:
        hold: the hold; its row is locked.
        rows: the subjects' rows, locked.
    """
    await holds.take_marks(services, connection, tenant, rows, hold)
    free = await free_rests(services, connection, tenant, list(rows))
    await holds.remove_subjects(connection, tenant, hold, [subject for subject in rows if subject not in free])
    await holds.set_waiting_erasures(connection, tenant, hold, {subject: new_id() for subject in free})


async def pending_resumes(services: Services) -> list[Work]:
    """List the erasures of all tenants that are to continue."""
    pending: list[Work] = []
    for tenant in await services.keyring.tenants():
        async with services.data.reading() as connection:
            pending += [
                Work(NAME, tenant, erasure) for erasure in await holds.list_waiting_erasures(connection, tenant)
            ]
    return pending


async def begin(services: Services, tenant: TenantId, erasure: UUID) -> float | None:
    """Start the erasure, once no other of the same subject is under way; nothing is done if nothing is left."""
    try:
        async with services.data.transaction() as connection:
            return await _begin(services, connection, tenant, erasure)
    except IntegrityError:  # another erasure of the same person began at this moment
        return SOON


async def take(services: Services, tenant: TenantId, erasure: UUID) -> float | None:
    """Erase values. If a wider erasure replaced this one, it is started again, if anything is left for it."""
    stored = await _find(services, tenant, erasure)
    if stored is None:
        seconds = await begin(services, tenant, erasure)
        return SOON if seconds is None and await _find(services, tenant, erasure) is not None else seconds
    if stored.state == "begun":
        await execute_erasure(services, tenant, stored)
    return None


def _when(state: State, act: Callable[[Services, TenantId, Erasure], Awaitable[float | None]]) -> Step:
    """Return the step that acts on an erasure in a state."""

    async def step(services: Services, tenant: TenantId, erasure: UUID) -> float | None:
        stored = await _find(services, tenant, erasure)
        return await act(services, tenant, stored) if stored is not None and stored.state == state else None

    return step


async def attest(services: Services, tenant: TenantId, erasure: UUID) -> None:
    """Sign the certificate, and delete the row of the erasure."""
    await _when("checked", verify.certify)(services, tenant, erasure)
    async with services.data.transaction() as connection:
        await holds.remove_waiting_erasure(connection, tenant, erasure)


RESUME: Final = Workflow(
    NAME,
    (
        ("begin", begin),
        ("take-away", take),
        ("destroy-keys", _when("taken", verify.destroy_keys)),
        ("scrub", _when("destroyed", verify.scrub)),
        ("check", _when("scrubbed", verify.check_remains)),
        ("certify", attest),
    ),
)
"""The steps of an erasure on request; see :mod:`vault.erasure.workflow`."""
RESUME_STEPS: Final = RESUME.steps


async def _begin(services: Services, connection: AsyncConnection, tenant: TenantId, erasure: UUID) -> float | None:
    subject = await holds.subject_of_erasure(connection, tenant, erasure)
    row = None if subject is None else await services.subjects.locked(connection, tenant, subject)
    if subject is None or row is None or await find_erasure(connection, tenant, erasure) is not None:
        return None
    if any(other.finished_at is None for other in await erasures_of(connection, tenant, subject)):
        return SOON
    rest = (await free_rests(services, connection, tenant, [subject])).get(subject)
    if rest is None:
        return None
    now, scope = services.clock.now(), scope_of(row.state, rest)
    rests = dict(rest.fields) if scope.fields else {}
    facts = Facts(scope=scope, cause=CAUSE, rests=rests, resumes=rest.of)
    started = Erasure(
        id=erasure, request=None, subject=subject, state="begun", started_at=now, changed_at=now, facts=facts
    )
    await add_erasure(connection, tenant, started)
    return None


async def _find(services: Services, tenant: TenantId, erasure: UUID) -> Erasure | None:
    async with services.data.reading() as connection:
        return await find_erasure(connection, tenant, erasure)
