"""Notify the apps that were shown changed data: the notices are part of the transaction of the change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select

from vault.catalogue.model import HOME, covers
from vault.ids import Pseudonym, new_id
from vault.principals.store import PrincipalRow
from vault.recipients.store import NoticeQuery, RecipientNotice, add_notices, list_notices
from vault.storage.columns import table_of
from vault.subjects.tables import SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Disclosure
    from vault.context import Services
    from vault.ids import SubjectId, TenantId
    from vault.recipients.store import NoticeKind

EVERYTHING: Final = ("*",)
"""Every field of a person."""
MOST: Final = 10_000
"""Notices about one person that are compared with the new ones."""

PRINCIPAL = table_of(PrincipalRow)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChange:
    """A change of a person's data, of which recipients have to learn.

    Attributes:
        pseudonym: of the person in the audit log.
        fields: what changed: ``profile.email`` or ``email``, ``purchase.*``, ``*`` (:data:`EVERYTHING`).
        request: the person's request that led to it, if any.
    """

    subject: SubjectId
    pseudonym: UUID
    kind: NoticeKind
    fields: Collection[str]
    request: UUID | None = None


async def notify_recipients(
    services: Services, connection: AsyncConnection, tenant: TenantId, change: DataChange
) -> int:
    """Add a notice to the outbox for every app that was shown a field that has changed (Art. 19 GDPR).

    Jobs deliver the notices after the commit. If it is called again for the same request and kind, it adds notices only
    for apps and fields that have none yet.

    A field is shown by a read, a list or a search, in any view, and if a search by it finds the person. The audit log
    is searched for people merged into this one too: call this before their aliases are deleted, and with the pseudonym
    that is in the log so far.

    Args:
        connection: the open transaction of the change.

    Returns:
        the number of notices.
    """
    # An app that was shown the value, in any view, must be notified.
    names = [name if "." in name or name == "*" else f"{HOME}.{name}" for name in change.fields]
    changed = [_without_view(name) for name in names]
    former = await _former(connection, tenant, change.subject)
    shown: dict[UUID, set[str]] = {}
    for known_as in (change.pseudonym, *former.values()):
        async for disclosures in services.audit_log.disclosures(connection, tenant, Pseudonym(known_as)):
            _collect(shown, disclosures, changed)
    apps = await _apps(connection, tenant, shown)
    notified = {} if change.request is None else await _notified(connection, tenant, change)
    now = services.clock.now()
    notices = [
        RecipientNotice(
            id=new_id(),
            principal=app,
            subject=change.subject,
            request=change.request,
            kind=change.kind,
            state="pending",
            created_at=now,
            next_at=now,
            fields=tuple(sorted(fields)),
            former=tuple(former),
        )
        for app in sorted(apps)
        if (fields := shown[app] - notified.get(app, set()))
    ]
    await add_notices(connection, tenant, notices)
    return len(notices)


def _collect(shown: dict[UUID, set[str]], disclosures: list[Disclosure], changed: list[str]) -> None:
    """Collect which of the changed fields each principal was shown, without the views."""
    for disclosure in disclosures:
        if disclosure.principal is None:
            continue
        concerned = {
            _without_view(name)
            for name in (*disclosure.fields, *disclosure.matched)
            if any(covers(name, affected) for affected in changed)
        }
        if concerned:
            shown.setdefault(UUID(disclosure.principal), set()).update(concerned)


def _without_view(name: str) -> str:
    return ".".join(name.split(".")[:2])


async def _former(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> dict[UUID, UUID]:
    """Return the ids that were merged into a person, with their pseudonyms in the audit log."""
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
    """Return the apps among principals, also disabled ones, for they may still hold what they were shown."""
    statement = select(PRINCIPAL.c.id).where(PRINCIPAL.c.tenant_id == tenant, PRINCIPAL.c.kind == "app")
    return [UUID(bytes=app.bytes) for app in (await connection.execute(statement)).scalars() if app in principals]


async def _notified(connection: AsyncConnection, tenant: TenantId, change: DataChange) -> dict[UUID, set[str]]:
    """Return the fields of which each app was notified for this request."""
    notified: dict[UUID, set[str]] = {}
    query = NoticeQuery(subject=change.subject, request=change.request, limit=MOST)
    for notice in await list_notices(connection, tenant, query):
        if notice.kind == change.kind:
            notified.setdefault(notice.principal, set()).update(notice.fields)
    return notified
