"""The durable job that builds an index over values from before it was declared.

It goes through all people by their ids, a few in each transaction. The row of the build is locked and has the last
person, so it goes on after any crash, and two processes with the same job do one portion after the other.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select

from vault.catalogue.types import decode
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen
from vault.ids import SubjectId
from vault.jobs.workflow import Work, Workflow
from vault.logs import get_logger
from vault.storage.query import insert_into
from vault.subjects.index_builds import FOLLOWED, advance_build, end_build, indexes_of, list_builds, locked_build
from vault.subjects.rows import digests, unpack
from vault.subjects.store import GONE
from vault.subjects.tables import BLIND_INDEX, RECORD, SUBJECT

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Field
    from vault.context import Services
    from vault.ids import TenantId
    from vault.subjects.index_builds import IndexBuild

PORTION: Final = 50
"""People in one transaction: their rows are locked while their values are opened."""
AGAIN: Final = 5.0
"""Seconds until the next try where this process does not follow the newest policies yet."""
_FIRST: Final = UUID(int=0)


async def build_index(services: Services, tenant: TenantId, build_id: UUID) -> float | None:
    """Build an index to its end; returns None if it is built, or the seconds until the next try."""
    while True:
        wait = await _build_portion(services, tenant, build_id)
        if wait != 0:
            return wait
        await asyncio.sleep(0)


BUILD_INDEX: Final = Workflow("build-index", (("build", build_index),))


async def pending_builds(services: Services) -> list[Work]:
    """Return the indexes of all tenants that are not built yet."""
    work = []
    for tenant in await services.keyring.tenants():
        async with services.data.reading() as connection:
            work += [Work(BUILD_INDEX.name, tenant, build.id) for build in await list_builds(connection, tenant)]
    return work


async def _build_portion(services: Services, tenant: TenantId, build_id: UUID) -> float | None:
    """Cover some more people; returns 0 if there are others, else as :func:`build_index`."""
    async with services.data.transaction() as connection:
        build = await locked_build(connection, tenant, build_id)
        if build is None:
            return None
        early = (build.started_at + FOLLOWED - services.clock.now()).total_seconds()
        if early > 0:
            return early
        if not await services.policies.is_newest(connection, tenant):
            return AGAIN
        declared = indexes_of(services.policies.active(tenant).policy_set.catalogue).get(build.name)
        people = []
        if declared is not None:
            field, index = declared
            people = await _next_people(connection, tenant, build)
            living = [subject for subject, state in people if state not in GONE]
            await _cover(services, connection, tenant, replace(field, indexes=(index,)), living)
        if len(people) == PORTION:
            await advance_build(connection, tenant, build, people[-1][0], len(people))
            return 0
        await end_build(connection, tenant, build)
    get_logger().info("an index leads to all people", tenant=tenant, index=build.name)
    return None


async def _next_people(connection: AsyncConnection, tenant: TenantId, build: IndexBuild) -> list[tuple[SubjectId, str]]:
    """Fetch and lock the next people with their states: a write to them has to wait, or would be overwritten."""
    statement = (
        select(SUBJECT.c.id, SUBJECT.c.state)
        .where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id > (build.cursor or _FIRST))
        .order_by(SUBJECT.c.id)
        .limit(PORTION)
        .with_for_update()
    )
    return [(SubjectId(row.id), row.state) for row in (await connection.execute(statement)).all()]


async def _cover(
    services: Services, connection: AsyncConnection, tenant: TenantId, field: Field, people: list[SubjectId]
) -> None:
    """Insert what leads to the values that people have of a field."""
    for subject in people:
        services.keyring.evict(tenant, subject)  # a partial erasure may have renewed a key since it was cached
    keys = await services.keyring.subject_keys(tenant, people)
    index_keys = await services.keyring.index_keys(tenant)
    of_people = (
        RECORD.c.tenant_id == tenant,
        RECORD.c.subject_id.in_(people),
        RECORD.c.collection == field.collection,
    )
    statement = select(RECORD.c.subject_id, RECORD.c.id, RECORD.c.body).where(*of_people)
    rows, unreadable = [], 0
    for record in (await connection.execute(statement)).all():
        subject = SubjectId(record.subject_id)
        aad = record_aad(tenant, subject, field.collection, record.id)
        try:
            stored = unpack(record.body).get(field.name)
            if stored is None or subject not in keys:
                continue
            value = decode(keys[subject].open(field.name, stored.sealed, aad))
        except CannotOpen:  # no search could verify it, so that it need not be found either
            unreadable += 1
            continue
        row = {"tenant_id": tenant, "subject_id": subject, "record_id": record.id, "version": index_keys.version}
        rows += [{**row, "digest": digest} for digest in digests(index_keys, field, value)]
    if rows:
        insert = insert_into(BLIND_INDEX, connection.dialect.name).on_conflict_do_nothing()
        await connection.execute(insert, rows)
    if unreadable:
        get_logger().error("values do not open, so an index does not lead to them", tenant=tenant, count=unreadable)
