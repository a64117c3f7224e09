"""What holds have kept back from erasures, and whether it may go now. Nothing is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select

from vault.catalogue.scope import Scope
from vault.consent.state import unpack as unpack_standing
from vault.erasure.held import of_rests
from vault.erasure.scope import EVERYTHING
from vault.erasure.verdict import HELD
from vault.erasure.view import decided
from vault.ids import SubjectId
from vault.lifecycle.erasures import erasures_of
from vault.lifecycle.tables import ERASURE
from vault.retention.applying import day_of
from vault.retention.holds import held_by
from vault.retention.store import NO_CLOCKS, clocks_in
from vault.subjects.erasing import person, records_of
from vault.subjects.record_body import happened_at, unpack
from vault.subjects.tables import SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import House
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure

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
    house: House, connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, Rest]:
    """Tell of whom something was kept back that no hold covers any more: of each, all that was kept back.

    Args:
        house: the rooms.
        connection: the open transaction, in which the people's rows are locked.
        tenant: whose.
        subjects: who is asked about; most have never had an erasure, and are done with by one look at an index.
    """
    found = {}
    for start in range(0, len(subjects), AT_ONCE):
        for subject in await _with_erasures(connection, tenant, subjects[start : start + AT_ONCE]):
            rest = await _rest_of(connection, tenant, subject)
            if rest.of and await _is_free(house, connection, tenant, subject, rest):
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


async def _is_free(house: House, connection: AsyncConnection, tenant: TenantId, subject: SubjectId, rest: Rest) -> bool:
    """Tell whether an erasure that went on now would take something."""
    row = await person(connection, tenant, subject)
    if row is None or row.state == "erased":
        return False
    records = await records_of(connection, tenant, subject)
    if row.state == "retained":
        return any(_is_endless(row, each) for each in records)
    policy_set = house.policies.active(tenant).policy_set
    clocks = (await clocks_in(connection, tenant, [subject])).get(subject, NO_CLOCKS)
    found = decided(policy_set, row, records, scope_of(row.state, rest), (), house.clock.now(), clocks)
    older = of_rests(found, records, rest.fields)
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
