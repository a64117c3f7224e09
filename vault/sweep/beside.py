"""What lies beside the records of those whom a sweep erases in part or as a whole: for many people at once.

It is what :mod:`vault.erasure.related_data` does for one person, who asked for it. Their rows and requests are
locked, and none of the requests is open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from sqlalchemy import bindparam, delete, or_, select, update

from vault.consent import event as consents
from vault.consent.evidence import COLLECTION as CONSENT
from vault.consent.evidence import FIELD as EVIDENCE
from vault.consent.tables import CONFIRMATION, EVENT
from vault.erasure.related_data import bare, rewrite_request
from vault.export.store import drop_packages
from vault.export.tables import PACKAGE
from vault.identity.tables import IDENTITY_CODE, SUBJECT_SESSION
from vault.rectification.sealed import COLLECTION as RECTIFICATION_PLACE
from vault.rectification.sealed import DETAILS as RECTIFICATION_DETAILS
from vault.rectification.tables import RECTIFICATION
from vault.requests.model import decode
from vault.retention.reviews import clear_reviews
from vault.retention.store import clear_clocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.erasure.reseal import Anew
    from vault.ids import SubjectId, TenantId

    Gone = Callable[[UUID, str, UUID, str], bool]
    """Tells whether a value is erased: by person, collection, record and name in the body."""


async def clear_besides(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId], requests: Sequence[Any]
) -> None:
    """Take away what lies beside the records of those of whom nothing is left.

    Of consents stays that they were given or taken back, and of requests what became of them: proof without a value.

    Args:
        connection: the open transaction.
        tenant: whose.
        subjects: the people.
        requests: theirs.
    """
    await _drop_packages(connection, tenant, subjects)
    await clear_clocks(connection, tenant, subjects)
    await clear_reviews(connection, tenant, subjects)
    for table in (SUBJECT_SESSION, RECTIFICATION, CONFIRMATION):
        await connection.execute(delete(table).where(*_theirs(table, tenant, subjects)))
    mine = or_(IDENTITY_CODE.c.subject_id.in_(subjects), IDENTITY_CODE.c.request_id.in_([row.id for row in requests]))
    await connection.execute(delete(IDENTITY_CODE).where(IDENTITY_CODE.c.tenant_id == tenant, mine))
    events = [(subject, event, bare(event)) for subject, event in await _events(connection, tenant, subjects)]
    await _rewrite_events(connection, tenant, [(who, after) for who, before, after in events if after != before])
    for row in requests:
        await rewrite_request(connection, tenant, row, None)


async def renew_besides(
    connection: AsyncConnection, tenant: TenantId, people: Mapping[SubjectId, Anew], requests: Sequence[Any], gone: Gone
) -> None:
    """Seal anew what lies beside the records of those of whom something is erased; what tells of that goes.

    Packages hold what is erased, so they go; so do corrections of erased values, and what requests to rectify said.

    Args:
        connection: the open transaction.
        tenant: whose.
        people: with the keys that seal anew.
        requests: theirs.
        gone: tells what is erased.

    Raises:
        CannotOpen: something does not open.
    """
    subjects = list(people)
    await _drop_packages(connection, tenant, subjects)
    changed = []
    for subject, event in await _events(connection, tenant, subjects):
        if event.evidence is not None:
            evidence = people[subject].sealed(CONSENT, event.id, EVIDENCE, event.evidence)
            changed.append((subject, replace(event, evidence=evidence)))
    await _rewrite_events(connection, tenant, changed)
    await _renew_rectifications(connection, tenant, people, gone)
    for row in requests:
        anew = people[row.subject_id]
        without = decode(row.body).kind == "rectification"
        await rewrite_request(connection, tenant, row, anew, without_details=without)


async def _drop_packages(connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]) -> None:
    statement = select(PACKAGE.c.subject_id).where(*_theirs(PACKAGE, tenant, subjects)).distinct()
    for subject in (await connection.execute(statement)).scalars().all():
        await drop_packages(connection, tenant, subject)


async def _events(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> list[tuple[SubjectId, consents.Event]]:
    statement = select(EVENT.c.subject_id, EVENT.c.body).where(*_theirs(EVENT, tenant, subjects))
    return [(row[0], consents.decode(row[1])) for row in (await connection.execute(statement)).all()]


async def _rewrite_events(
    connection: AsyncConnection, tenant: TenantId, events: Iterable[tuple[SubjectId, consents.Event]]
) -> None:
    rows = [{"whose": subject, "event": event.id, "anew": consents.encode(event)} for subject, event in events]
    if rows:
        mine = EVENT.c.subject_id == bindparam("whose"), EVENT.c.id == bindparam("event")
        statement = update(EVENT).where(EVENT.c.tenant_id == tenant, *mine).values(body=bindparam("anew"))
        await connection.execute(statement, rows)


async def _renew_rectifications(
    connection: AsyncConnection, tenant: TenantId, people: Mapping[SubjectId, Anew], gone: Gone
) -> None:
    statement = select(RECTIFICATION).where(*_theirs(RECTIFICATION, tenant, list(people)))
    for row in (await connection.execute(statement)).all():
        this = (*_theirs(RECTIFICATION, tenant, [row.subject_id]), RECTIFICATION.c.id == row.id)
        if gone(row.subject_id, row.collection, row.record_id, row.field):
            await connection.execute(delete(RECTIFICATION).where(*this))
        elif row.details is not None:
            anew = people[row.subject_id]
            sealed = anew.sealed(RECTIFICATION_PLACE, row.id, RECTIFICATION_DETAILS, row.details)
            await connection.execute(update(RECTIFICATION).where(*this).values(details=sealed))


def _theirs(table: Table, tenant: TenantId, subjects: Sequence[SubjectId]) -> tuple[Any, ...]:
    return table.c.tenant_id == tenant, table.c.subject_id.in_(subjects)
