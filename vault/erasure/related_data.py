"""What lies beside a person's records: consents, requests, packages, sessions, corrections. Taken away, or sealed anew.

All of it happens within the one transaction of an erasure, with the person's requests and row locked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from sqlalchemy import delete, or_, select, update

from vault.consent import event as consents
from vault.consent.store import CONFIRMATION, EVENT
from vault.consent.validation import COLLECTION as CONSENT
from vault.consent.validation import FIELD as EVIDENCE
from vault.export.store import drop_packages
from vault.identity.tables import IDENTITY_CODE, SUBJECT_SESSION
from vault.rectification.store import COLLECTION as RECTIFICATION_PLACE
from vault.rectification.store import DETAILS as RECTIFICATION_DETAILS
from vault.rectification.tables import RECTIFICATION
from vault.requests.model import OPEN, decode
from vault.requests.store import events_of, rewrite_event
from vault.requests.tables import REQUEST
from vault.requests.transaction import COLLECTION as REQUEST_PLACE
from vault.requests.transaction import DETAILS
from vault.retention.clocks import clear_clocks
from vault.retention.review_store import clear_reviews

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.erasure.reseal import Anew
    from vault.ids import SubjectId, TenantId


async def lock_requests(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> list[Any]:
    """Lock a person's requests before their row, as everywhere, so that nobody waits in a ring."""
    statement = select(REQUEST.c.id, REQUEST.c.subject_id, REQUEST.c.body, REQUEST.c.details).where(
        REQUEST.c.tenant_id == tenant, REQUEST.c.subject_id == subject
    )
    return list((await connection.execute(statement.order_by(REQUEST.c.id).with_for_update())).all())


async def clear_beside(
    connection: AsyncConnection,
    tenant: TenantId,
    subject: SubjectId,
    requests: list[Any],
    *,
    erasures: Collection[UUID],
    anew: Anew | None,
) -> None:
    """Take away what lies beside the records of somebody who is erased as a whole.

    Of consents stays that they were given or taken back, for which purpose, by which text and when: that is proof
    (Art. 7(1)) without a value of the person's. Of requests stays what became of them, and of this one what was said,
    for as long as the person has a key at all. What a law keeps tells by itself until when; the clocks, which would
    tell when somebody last bought something, go.

    Args:
        subject: the person.
        requests: from :func:`lock_requests`.
        erasures: this one, and those that it goes on with.
        anew: the keys, where something of the person stays.
    """
    await drop_packages(connection, tenant, subject)
    await clear_clocks(connection, tenant, [subject])
    await clear_reviews(connection, tenant, [subject])
    await _end_access(connection, tenant, subject, [row.id for row in requests])
    await connection.execute(
        delete(RECTIFICATION).where(RECTIFICATION.c.tenant_id == tenant, RECTIFICATION.c.subject_id == subject)
    )
    await connection.execute(
        delete(CONFIRMATION).where(CONFIRMATION.c.tenant_id == tenant, CONFIRMATION.c.subject_id == subject)
    )
    await _rewrite_consents(connection, tenant, subject, bare)
    for row in requests:
        own = decode(row.body).erasure in erasures
        await rewrite_request(connection, tenant, row, anew if own else None)


async def renew_beside(
    connection: AsyncConnection,
    anew: Anew,
    requests: list[Any],
    *,
    in_scope: Callable[[str], bool],
) -> None:
    """Seal anew what lies beside the records of somebody who is erased in part; what tells of the erased part goes.

    Packages hold what is erased, so they go; so do corrections of erased fields, and what closed requests to rectify
    said.
    """
    tenant, subject = anew.tenant, anew.subject
    await drop_packages(connection, tenant, subject)

    def renewed(event: consents.Event) -> consents.Event:
        if event.evidence is None:
            return event
        return replace(event, evidence=anew.sealed(CONSENT, event.id, EVIDENCE, event.evidence))

    await _rewrite_consents(connection, tenant, subject, renewed)
    await _renew_rectifications(connection, anew, in_scope)
    for row in requests:
        request = decode(row.body)
        says_values = request.kind == "rectification" and request.state not in OPEN
        await rewrite_request(connection, tenant, row, anew, without_details=says_values)


async def _end_access(connection: AsyncConnection, tenant: TenantId, subject: SubjectId, requests: list[UUID]) -> None:
    """Delete the sessions in which the person is signed in, and the codes by which they could show who they are."""
    await connection.execute(
        delete(SUBJECT_SESSION).where(SUBJECT_SESSION.c.tenant_id == tenant, SUBJECT_SESSION.c.subject_id == subject)
    )
    mine = or_(IDENTITY_CODE.c.subject_id == subject, IDENTITY_CODE.c.request_id.in_(requests))
    await connection.execute(delete(IDENTITY_CODE).where(IDENTITY_CODE.c.tenant_id == tenant, mine))


def bare(event: consents.Event) -> consents.Event:
    """Leave of an event that it was, for which purpose, by which text and when."""
    return replace(event, evidence=None, channel=None, language=None, jurisdiction=None)


async def _rewrite_consents(
    connection: AsyncConnection,
    tenant: TenantId,
    subject: SubjectId,
    change: Callable[[consents.Event], consents.Event],
) -> None:
    mine = (EVENT.c.tenant_id == tenant, EVENT.c.subject_id == subject)
    for body in (await connection.execute(select(EVENT.c.body).where(*mine))).scalars().all():
        event = consents.decode(body)
        changed = change(event)
        if changed is not event:
            statement = update(EVENT).where(*mine, EVENT.c.id == event.id).values(body=consents.encode(changed))
            await connection.execute(statement)


async def _renew_rectifications(connection: AsyncConnection, anew: Anew, in_scope: Callable[[str], bool]) -> None:
    mine = (RECTIFICATION.c.tenant_id == anew.tenant, RECTIFICATION.c.subject_id == anew.subject)
    for row in (await connection.execute(select(RECTIFICATION).where(*mine))).all():
        this = (*mine, RECTIFICATION.c.id == row.id)
        if in_scope(f"{row.collection}.{row.field}"):
            await connection.execute(delete(RECTIFICATION).where(*this))
        elif row.details is not None:
            sealed = anew.sealed(RECTIFICATION_PLACE, row.id, RECTIFICATION_DETAILS, row.details)
            await connection.execute(update(RECTIFICATION).where(*this).values(details=sealed))


async def rewrite_request(
    connection: AsyncConnection, tenant: TenantId, row: Any, anew: Anew | None, *, without_details: bool = False
) -> None:
    """Seal what was written about a request anew, or take it away."""
    details = None
    if anew is not None and row.details is not None and not without_details:
        details = anew.sealed(REQUEST_PLACE, row.id, DETAILS, row.details)
    if details != row.details:
        await connection.execute(
            update(REQUEST).where(REQUEST.c.tenant_id == tenant, REQUEST.c.id == row.id).values(details=details)
        )
    for event in await events_of(connection, tenant, row.id):
        if event.note is not None:
            field = f"note:{event.number}"
            note = None if anew is None else anew.sealed(REQUEST_PLACE, row.id, field, event.note)
            await rewrite_event(connection, tenant, row.id, replace(event, note=note))
