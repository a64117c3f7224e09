"""History of a subject: consents, requests, corrections and merged entries, with the subject's own words opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from vault.clock import rfc3339
from vault.consent.validation import open_words
from vault.export.schema import Alias, Correction, HistoryEvent, RequestSummary
from vault.rectification.store import open_details, rectifications_of
from vault.requests.store import list_requests
from vault.subjects.tables import SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from vault.consent.model import Event
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import Pseudonym, SubjectId, TenantId
    from vault.rectification.store import Rectification
    from vault.requests.model import Request

    NoticeTitle = Callable[[str], str | None]
    """Returns the title of a version of a notice, in the language of the package."""

EVENTS_AT_A_TIME: Final = 200
MOST_REQUESTS: Final = 1_000


async def consent_history(
    services: Services, tenant: TenantId, subject: SubjectId, keys: SubjectKeys, notice_title: NoticeTitle
) -> tuple[HistoryEvent, ...]:
    """List every consent, objection and restriction, newest first.

    Raises:
        CannotOpen: the subject's words do not open as part of their event.
    """
    events: list[HistoryEvent] = []
    before = None
    while True:
        page = await services.consents.history(tenant, subject, before=before, limit=EVENTS_AT_A_TIME)
        events += [_event(event, open_words(keys, tenant, event), notice_title) for event in page.events]
        if page.next is None:
            return tuple(events)
        before = page.next


def _event(event: Event, words: str | None, notice_title: NoticeTitle) -> HistoryEvent:
    return HistoryEvent(
        id=str(event.id),
        at=rfc3339(event.occurred_at),
        recorded_at=rfc3339(event.recorded_at),
        kind=event.kind,
        by=event.by,
        purpose=event.purpose,
        notice=event.notice,
        notice_title=None if event.notice is None else notice_title(event.notice),
        language=event.language,
        method=event.method,
        channel=event.channel,
        source=event.source,
        valid_until=_moment(event.valid_until),
        ground=event.ground,
        words=words,
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


async def request_history(services: Services, tenant: TenantId, subject: SubjectId) -> tuple[RequestSummary, ...]:
    """List the subject's requests, newest first."""
    async with services.data.reading() as connection:
        requests = await list_requests(connection, tenant, subject=subject, limit=MOST_REQUESTS)
    return tuple(map(_request, sorted(requests, key=lambda request: request.received_at, reverse=True)))


def _request(request: Request) -> RequestSummary:
    return RequestSummary(
        id=str(request.id),
        kind=request.kind,
        state=request.state,
        received_at=rfc3339(request.received_at),
        due=request.due.on.isoformat(),
        closed_at=_moment(request.closed_at),
        ground=request.ground,
        outcome=request.outcome,
    )


async def corrections(
    services: Services, tenant: TenantId, subject: SubjectId, keys: SubjectKeys
) -> tuple[Correction, ...]:
    """List the corrected and disputed values, with the values before and after and the subject's statements.

    Raises:
        CannotOpen: sealed details do not open as part of their rectification.
    """
    async with services.data.reading() as connection:
        rectifications = await rectifications_of(connection, tenant, subject)
    return tuple(
        _correction(rectification, open_details(keys, tenant, subject, rectification))
        for rectification in rectifications
    )


def _correction(rectification: Rectification, details: dict[str, Any]) -> Correction:
    return Correction(
        id=str(rectification.id),
        field=f"{rectification.collection}.{rectification.field}",
        record=str(rectification.record),
        state=rectification.state,
        at=rfc3339(rectification.at),
        closed_at=_moment(rectification.closed_at),
        details=details,
    )


async def aliases(services: Services, tenant: TenantId, subject: SubjectId) -> tuple[Alias, ...]:
    """List the ids of the entries that were merged into this subject."""
    statement = (
        select(SUBJECT_ALIAS.c.alias_id, SUBJECT_ALIAS.c.created_at)
        .where(SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.subject_id == subject)
        .order_by(SUBJECT_ALIAS.c.created_at)
    )
    async with services.data.reading() as connection:
        rows = (await connection.execute(statement)).all()
    return tuple(Alias(id=str(row.alias_id), merged_at=rfc3339(row.created_at)) for row in rows)


async def merged_pseudonyms(services: Services, tenant: TenantId, subject: SubjectId) -> tuple[Pseudonym, ...]:
    """List the pseudonyms, in the audit log, of the entries that were merged into this subject."""
    statement = (
        select(SUBJECT.c.pseudonym)
        .join(SUBJECT_ALIAS, SUBJECT_ALIAS.c.alias_id == SUBJECT.c.id)
        .where(
            SUBJECT.c.tenant_id == tenant, SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.subject_id == subject
        )
        .order_by(SUBJECT.c.id)
    )
    async with services.data.reading() as connection:
        return tuple((await connection.execute(statement)).scalars())
