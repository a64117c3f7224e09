"""Find the apps that know what has changed, and put a notice to each into the outbox: part of the change itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select

from vault.catalogue.model import HOME, covers
from vault.ids import Pseudonym, new_id
from vault.principals.store import PrincipalRow
from vault.recipients.store import RecipientNotice, add_notices, list_notices
from vault.storage.columns import table_of
from vault.subjects.tables import SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.usage import Disclosure
    from vault.context import Services
    from vault.ids import SubjectId, TenantId
    from vault.recipients.store import NoticeKind

EVERYTHING: Final = ("*",)
"""Every field of a person."""
MOST: Final = 10_000
"""Notices about one person that are looked through for those which an app has already."""

PRINCIPAL = table_of(PrincipalRow)


async def tell_recipients(
    services: Services,
    connection: AsyncConnection,
    tenant: TenantId,
    subject: SubjectId,
    pseudonym: UUID,
    *,
    kind: NoticeKind,
    fields: Collection[str],
    request: UUID | None,
) -> int:
    """Put a notice into the outbox for every app that was shown a field which has changed now (Art. 19 GDPR).

    It is part of the transaction of the change: both are there, or neither. Jobs find the notices in the outbox by
    themselves. Called again for the same request and kind, it tells only those apps and fields that it has not told.

    Shown is a field by a read, a list or a search, in whatever view; and a field by which a search found the person.
    Of people merged into this one the log is looked through too: call this before their aliases are taken away, and
    with the pseudonym by which the log has the person so far.

    Args:
        connection: of the change's open transaction.
        subject: whom it is about.
        pseudonym: who that is on the audit log.
        kind: what happened.
        fields: what changed: ``profile.email`` or ``email``, ``purchase.*``, ``*`` (:data:`EVERYTHING`); none: nobody
            is told anything.
        request: the person's request that led to it; none where there was none.

    Returns:
        how many apps are told.
    """
    changed = [_without_view(_whole(name)) for name in fields]  # who was shown the value is told of the view too
    former = await _former(connection, tenant, subject)
    shown: dict[UUID, set[str]] = {}
    for each in (pseudonym, *former.values()):
        async for disclosures in services.audit_log.disclosures(connection, tenant, Pseudonym(each)):
            _collect(shown, disclosures, changed)
    apps = await _apps(connection, tenant, shown)
    told = {} if request is None else await _told(connection, tenant, subject, request, kind)
    now = services.clock.now()
    notices = [
        RecipientNotice(
            new_id(),
            app,
            subject,
            request,
            kind,
            "pending",
            now,
            next_at=now,
            fields=tuple(sorted(left)),
            former=tuple(former),
        )
        for app in sorted(apps)
        if (left := shown[app] - told.get(app, set()))
    ]
    await add_notices(connection, tenant, notices)
    return len(notices)


def _whole(name: str) -> str:
    return name if "." in name or name == "*" else f"{HOME}.{name}"


def _collect(shown: dict[UUID, set[str]], disclosures: list[Disclosure], changed: list[str]) -> None:
    """Note which of the changed fields each principal was shown, without the views."""
    for each in disclosures:
        if each.principal is None:
            continue
        concerned = {
            _without_view(name)
            for name in (*each.fields, *each.matched)
            if any(covers(name, affected) for affected in changed)
        }
        if concerned:
            shown.setdefault(UUID(each.principal), set()).update(concerned)


def _without_view(name: str) -> str:
    return ".".join(name.split(".")[:2])


async def _former(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> dict[UUID, UUID]:
    """Map the ids that were merged into a person to the pseudonyms by which the log has them."""
    statement = (
        select(SUBJECT.c.id, SUBJECT.c.pseudonym)
        .join(SUBJECT_ALIAS, SUBJECT_ALIAS.c.alias_id == SUBJECT.c.id)
        .where(
            SUBJECT.c.tenant_id == tenant, SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.subject_id == subject
        )
        .order_by(SUBJECT.c.id)
    )
    return {UUID(bytes=row.id.bytes): row.pseudonym for row in await connection.execute(statement)}


async def _apps(connection: AsyncConnection, tenant: TenantId, principals: Collection[UUID]) -> list[UUID]:
    """Pick the apps among principals, the disabled ones too: they hold what they were shown all the same."""
    statement = select(PRINCIPAL.c.id).where(PRINCIPAL.c.tenant_id == tenant, PRINCIPAL.c.kind == "app")
    return [UUID(bytes=each.bytes) for each in (await connection.execute(statement)).scalars() if each in principals]


async def _told(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, request: UUID, kind: NoticeKind
) -> dict[UUID, set[str]]:
    """Map each app to the fields of which it was told for this request."""
    told: dict[UUID, set[str]] = {}
    for notice in await list_notices(connection, tenant, subject=subject, request=request, limit=MOST):
        if notice.kind == kind:
            told.setdefault(notice.principal, set()).update(notice.fields)
    return told
