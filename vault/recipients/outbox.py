"""Notify the apps that were shown changed data: the notices are part of the transaction of the change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

from sqlalchemy import select

from vault.catalogue.model import HOME, covers
from vault.ids import Pseudonym, new_id
from vault.principals.store import PrincipalRow
from vault.recipients.store import OPEN, NoticeQuery, RecipientNotice, add_notices, list_notices, save_notice
from vault.storage.columns import table_of
from vault.subjects.tables import SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Disclosure
    from vault.context import Caller, Services
    from vault.ids import SubjectId, TenantId
    from vault.recipients.store import NoticeKind

T = TypeVar("T")

EVERYTHING: Final = ("*",)
"""Every field of a person."""
MOST: Final = 10_000
"""Notices about one person that are compared with the new ones."""

MOST_PARAMETERS: Final = 1_000
"""Ids in one statement."""

PRINCIPAL = table_of(PrincipalRow)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChange:
    """A change of a person's data, of which recipients have to learn.

    Attributes:
        pseudonym: of the person in the audit log.
        fields: what changed: ``profile.email`` or ``email``, ``purchase.*``, ``*`` (:data:`EVERYTHING`).
        request: the person's request that led to it, if any.
        by: the principal that made the change, who is not notified of it.
    """

    subject: SubjectId
    pseudonym: UUID
    kind: NoticeKind
    fields: Collection[str]
    request: UUID | None = None
    by: UUID | None = None


@dataclass(frozen=True, slots=True)
class WrittenValues:
    """Values of a person's profile before and after a write; a field without a value is left out."""

    subject: SubjectId
    pseudonym: UUID
    before: Mapping[str, object]
    after: Mapping[str, object]

    def changes(self, by: UUID) -> Iterator[DataChange]:
        """Return what recipients have to learn: which values are others now, and which are gone."""
        differs = [name for name, value in self.before.items() if value != self.after.get(name)]
        kinds: dict[NoticeKind, list[str]] = {
            "subject.rectified": [name for name in differs if self.after.get(name) is not None],
            "subject.erased": [name for name in differs if self.after.get(name) is None],
        }
        for kind, names in kinds.items():
            if names:
                yield DataChange(subject=self.subject, pseudonym=self.pseudonym, kind=kind, fields=names, by=by)


async def notify_of_writes(
    services: Services, connection: AsyncConnection, caller: Caller, written: Sequence[WrittenValues]
) -> int:
    """Add notices for every app but the caller that was shown a value which has changed or is gone.

    A new notice takes the place of those to the same app about the same person and kind that are not acknowledged, and
    names their fields as well: an app that has been away for a while finds one notice, not one for each write.

    Returns:
        the number of notices.
    """
    changes = [change for values in written for change in values.changes(caller.principal.id)]
    # Most people of an import were never shown to anyone: one query for all of them spares one for each.
    people = {change.subject for change in changes}
    shown = await _shown(services, connection, caller.tenant, {each.subject: each.pseudonym for each in changes})
    skipped = people - shown
    return sum(
        [
            await notify_recipients(services, connection, caller.tenant, change)
            for change in changes
            if change.subject not in skipped
        ]
    )


async def _shown(
    services: Services, connection: AsyncConnection, tenant: TenantId, people: Mapping[SubjectId, UUID]
) -> set[SubjectId]:
    """Return the people whose data was shown at all, under this id or one that was merged into it."""
    if not people:
        return set()
    known_as = {pseudonym: subject for subject, pseudonym in people.items()}
    former = (
        select(SUBJECT.c.pseudonym, SUBJECT_ALIAS.c.subject_id)
        .join(SUBJECT_ALIAS, SUBJECT_ALIAS.c.alias_id == SUBJECT.c.id)
        .where(SUBJECT.c.tenant_id == tenant, SUBJECT_ALIAS.c.tenant_id == tenant)
    )
    for part in _batched(people, MOST_PARAMETERS):
        rows = await connection.execute(former.where(SUBJECT_ALIAS.c.subject_id.in_(part)))
        known_as.update({row.pseudonym: row.subject_id for row in rows})
    shown: set[SubjectId] = set()
    for names in _batched(known_as, MOST_PARAMETERS):
        disclosed = await services.audit_log.disclosed(connection, tenant, names)
        shown |= {known_as[pseudonym] for pseudonym in disclosed}
    return shown


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
        if app != change.by and (fields := shown[app] - notified.get(app, set()))
    ]
    if change.by is not None:
        notices = [await _superseding(connection, tenant, notice) for notice in notices]
    await add_notices(connection, tenant, notices)
    return len(notices)


async def _superseding(connection: AsyncConnection, tenant: TenantId, notice: RecipientNotice) -> RecipientNotice:
    """Close the open notices in whose place a new one comes; return the new one with their fields.

    An app may have seen an older one and read values that have changed since, so the new one is never left out.
    """
    query = NoticeQuery(principal=notice.principal, subject=notice.subject, states=OPEN, limit=MOST)
    fields, former = set(notice.fields), dict.fromkeys(notice.former)
    for older in await list_notices(connection, tenant, query, lock=True):
        if older.kind == notice.kind and older.request is None:
            closed = replace(older, state="acknowledged", next_at=None, acknowledged_at=notice.created_at)
            await save_notice(connection, tenant, closed)
            fields.update(older.fields)
            former.update(dict.fromkeys(older.former))
    return replace(notice, fields=tuple(sorted(fields)), former=tuple(former))


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


def _batched(ids: Iterable[T], size: int) -> Iterator[list[T]]:
    """Return ids some at a time."""
    rest = iter(ids)
    while part := list(islice(rest, size)):
        yield part
