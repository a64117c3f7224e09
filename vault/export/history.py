"""History of a subject: consents, requests, corrections, merged entries and disclosures.

The subject's own words are opened. The disclosures say who received what, when and for which purpose, from the audit
log (Art. 15(1)(c) GDPR).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import select

from vault.access.callers import JOBS, OPERATOR, THE_PERSON
from vault.clock import rfc3339
from vault.consent.validation import open_words
from vault.export.schema import Access, Alias, Correction, HistoryEvent, RecipientSummary, RequestSummary
from vault.rectification.store import open_details, rectifications_of
from vault.requests.store import RequestQuery, list_requests
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
    from collections.abc import AsyncIterator, Mapping, Sequence

    from vault.audit.entry import Disclosure


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
        requests = await list_requests(connection, tenant, RequestQuery(subject=subject, limit=MOST_REQUESTS))
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


STAFF: Final = "staff"
ISSUERS_IDS: Final = 8
"""The UUID version of staff who sign in with a token of the company's own issuer."""
_BUILT_IN: Final[Mapping[UUID, str]] = {OPERATOR: "command-line", JOBS: "vault", THE_PERSON: "yourself"}


class RecipientNames:
    """Names of recipients for a package: apps by their name, people at work as ``staff``.

    The recipients must be named (CJEU C-154/21); employees who act under the controller's authority are not recipients
    (C-579/21), and their names are their own personal data.
    """

    def __init__(self, kinds: Mapping[UUID, str]) -> None:
        self._kinds = kinds

    @classmethod
    async def load(cls, services: Services, tenant: TenantId) -> RecipientNames:
        """Fetch the registered principals."""
        async with services.data.reading() as connection:
            principals = await services.principals.list_principals(connection, tenant)
        return cls({principal.id: principal.kind for principal in principals})

    def name_and_kind(self, principal: UUID | None, name: str) -> tuple[str, str]:
        """Return a recipient's name and kind, from its id and its name in the audit log."""
        if principal is None:
            return name or "unknown", "app"
        if principal in _BUILT_IN:
            return _BUILT_IN[principal], "vault"
        kind = self._kinds.get(principal, STAFF if principal.version == ISSUERS_IDS else "app")
        return (STAFF, STAFF) if kind == STAFF else (name or "unknown", "app")


@dataclass(slots=True)
class _Sum:
    times: int = 0
    first: str = ""
    last: str = ""
    fields: set[str] = field(default_factory=set)

    def add(self, access: Access) -> None:
        self.times += 1
        self.first = min(self.first or access.at, access.at)
        self.last = max(self.last, access.at)
        self.fields.update(access.fields)


async def accesses(
    services: Services, tenant: TenantId, pseudonyms: Sequence[Pseudonym], names: RecipientNames
) -> AsyncIterator[Access]:
    """Iterate over the disclosures of a subject's data, oldest first.

    A subject into whom others were merged has several pseudonyms in the log; they are read one after the other.
    """
    for pseudonym in pseudonyms:
        async with services.data.reading() as connection:
            async for chunk in services.audit_log.disclosures(connection, tenant, pseudonym):
                for disclosure in chunk:
                    yield _access(disclosure, names)


def _access(disclosure: Disclosure, names: RecipientNames) -> Access:
    principal = None if disclosure.principal is None else UUID(disclosure.principal)
    recipient, kind = names.name_and_kind(principal, disclosure.principal_name)
    return Access(
        at=disclosure.at,
        recipient=recipient,
        kind=kind,
        action=disclosure.action,
        purpose=disclosure.purpose or None,
        fields=disclosure.fields or disclosure.matched,  # a search that matches a value discloses that value
    )


async def recipients(
    services: Services, tenant: TenantId, pseudonyms: Sequence[Pseudonym], names: RecipientNames
) -> tuple[tuple[RecipientSummary, ...], int]:
    """Sum up the disclosures by recipient and purpose, latest first; returns their total count as well.

    Only the sums are held in memory, so the length of the log does not matter.
    """
    sums: dict[tuple[str, str, str | None], _Sum] = {}
    times = 0
    async for access in accesses(services, tenant, pseudonyms, names):
        sums.setdefault((access.recipient, access.kind, access.purpose), _Sum()).add(access)
        times += 1
    summaries = [
        RecipientSummary(
            recipient=recipient,
            kind=kind,
            purpose=purpose,
            times=total.times,
            first=total.first,
            last=total.last,
            fields=tuple(sorted(total.fields)),
        )
        for (recipient, kind, purpose), total in sums.items()
    ]
    return tuple(sorted(summaries, key=lambda summary: summary.last, reverse=True)), times
