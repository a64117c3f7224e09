"""What a person said, asked for and corrected so far, with their own words opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from vault.clock import rfc3339
from vault.consent.validation import open_words
from vault.export.schema import Alias, CorrectionTold, EventTold, RequestTold
from vault.rectification.store import open_details, rectifications_of
from vault.requests.store import list_requests
from vault.subjects.tables import SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from datetime import datetime

    from vault.catalogue.notices import Notices
    from vault.consent.event import Event
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import Pseudonym, SubjectId, TenantId
    from vault.rectification.store import Rectification
    from vault.requests.model import Request

EVENTS_AT_A_TIME: Final = 200
MOST_REQUESTS: Final = 1_000


async def history(
    services: Services, tenant: TenantId, subject: SubjectId, keys: SubjectKeys, notices: Notices, language: str
) -> tuple[EventTold, ...]:
    """Tell every consent, objection and restriction, the newest first, with the words beside it.

    Raises:
        CannotOpen: the words beside an event do not open at their place.
    """
    told: list[EventTold] = []
    before = None
    while True:
        page = await services.consents.history(tenant, subject, before=before, limit=EVENTS_AT_A_TIME)
        told += [_event(each, open_words(keys, tenant, each), notices, language) for each in page.events]
        if page.next is None:
            return tuple(told)
        before = page.next


def _event(event: Event, words: str | None, notices: Notices, language: str) -> EventTold:
    return EventTold(
        id=str(event.id),
        at=rfc3339(event.occurred_at),
        recorded_at=rfc3339(event.recorded_at),
        kind=event.kind,
        by=event.by,
        purpose=event.purpose,
        notice=event.notice,
        notice_title=None if event.notice is None else _title(notices, event.notice, language),
        language=event.language,
        method=event.method,
        channel=event.channel,
        source=event.source,
        valid_until=_moment(event.valid_until),
        ground=event.ground,
        words=words,
    )


def _title(notices: Notices, notice: str, language: str) -> str | None:
    text = notices.languages(notice).get(language) or notices.version(notice)
    return None if text is None else text.title


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


async def requests(services: Services, tenant: TenantId, subject: SubjectId) -> tuple[RequestTold, ...]:
    """Tell the person's requests, the latest first."""
    async with services.data.reading() as connection:
        found = await list_requests(connection, tenant, subject=subject, limit=MOST_REQUESTS)
    return tuple(_request(each) for each in sorted(found, key=lambda each: each.received_at, reverse=True))


def _request(request: Request) -> RequestTold:
    return RequestTold(
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
) -> tuple[CorrectionTold, ...]:
    """Tell what was corrected, what the person disputes and what they stated, with the words and values of it.

    Raises:
        CannotOpen: one of them does not open at its place.
    """
    async with services.data.reading() as connection:
        found = await rectifications_of(connection, tenant, subject)
    return tuple(_correction(each, open_details(keys, tenant, subject, each)) for each in found)


def _correction(made: Rectification, details: dict[str, Any]) -> CorrectionTold:
    return CorrectionTold(
        id=str(made.id),
        field=f"{made.collection}.{made.field}",
        record=str(made.record),
        state=made.state,
        at=rfc3339(made.at),
        closed_at=_moment(made.closed_at),
        details=details,
    )


async def aliases(services: Services, tenant: TenantId, subject: SubjectId) -> tuple[Alias, ...]:
    """Tell under which other ids the person once was: entries that were merged into this one."""
    statement = (
        select(SUBJECT_ALIAS.c.alias_id, SUBJECT_ALIAS.c.created_at)
        .where(SUBJECT_ALIAS.c.tenant_id == tenant, SUBJECT_ALIAS.c.subject_id == subject)
        .order_by(SUBJECT_ALIAS.c.created_at)
    )
    async with services.data.reading() as connection:
        rows = (await connection.execute(statement)).all()
    return tuple(Alias(id=str(row.alias_id), merged_at=rfc3339(row.created_at)) for row in rows)


async def merged_pseudonyms(services: Services, tenant: TenantId, subject: SubjectId) -> tuple[Pseudonym, ...]:
    """List the pseudonyms that the audit log has for entries that were merged into this one."""
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
