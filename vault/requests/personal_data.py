"""Requests as personal data: what an erasure leaves of them, and what a merge does with them.

After an erasure it stays on record which requests there were and what became of them. What was written about them is
deleted, except about the request that is carried out: that stays for as long as the subject has a data key.

In a merge, a verified request proves the identity of one of the two subjects only, and the merged data is more than
that. So every verified request that is not yet approved needs a new proof of identity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from vault.clock import rfc3339
from vault.crypto.seal import version_of
from vault.ids import SubjectId
from vault.lifecycle.personal_data import is_stale
from vault.requests.model import OPEN
from vault.requests.store import (
    REQUEST,
    REQUEST_EVENT,
    RequestQuery,
    details_of,
    events_by_request,
    events_of,
    list_requests,
    requests_of,
    rewrite_events,
    save_details,
    save_request,
)
from vault.requests.transaction import COLLECTION, DETAILS, RequestChange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.company import KindName
    from vault.catalogue.model import Scope
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import ErasureContext, ExportContext, MergeContext, Resealer, Sections
    from vault.requests.kind import RequestKind
    from vault.requests.model import Event, Request

MOST_REQUESTS: Final = 1_000
"""Requests of one subject that a package lists."""
VERIFIED: Final = "in_review"
"""The one state in which a request is verified and not yet approved."""
MERGED: Final = "merged"
"""Code in a request's history: a merge asks again for a proof of identity."""


class RequestSummary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request of the subject, and its outcome."""

    id: str
    kind: str
    state: str
    received_at: str
    due: str
    closed_at: str | None = None
    ground: str | None = None
    outcome: str | None = None


class RequestData:
    """Requests, and what was written about them."""

    tables: tuple[Table, ...] = (REQUEST, REQUEST_EVENT)
    retained: tuple[Table, ...] = (REQUEST, REQUEST_EVENT)

    def __init__(self, kinds: Mapping[str, RequestKind]) -> None:
        self._kinds = kinds

    async def erase(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete what was written about requests, except those that are carried out."""
        await _rewrite(erasing, subjects, lambda request: request.erasure in erasing.erasures)

    async def reseal(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Seal again what was written about requests."""

        def loses_details(request: Request) -> bool:
            # The values in the details may be among the erased ones.
            return self._kinds[request.kind].holds_values and request.state not in OPEN

        await _rewrite(erasing, subjects, lambda _request: True, loses_details)

    async def move(self, merge: MergeContext) -> None:
        """Assign the duplicate's requests to the survivor, and ask again for a proof of identity where one counted."""
        connection, tenant = merge.connection, merge.tenant
        row_keys = await merge.services.keyring.row_keys(tenant)
        pseudonym, keys = merge.survivor_row.pseudonym, merge.resealer.target.keys
        first: dict[tuple[KindName, Scope], UUID] = {}
        for kept in await requests_of(connection, row_keys, [merge.survivor, merge.duplicate], lock=True):
            request, details = _linked(kept.request, first), kept.details
            if request.subject == merge.duplicate:
                request = _assigned(merge, request)
                if details is not None:
                    details = merge.resealer.reseal(COLLECTION, request.id, DETAILS, details)
                events = await events_of(connection, tenant, request.id)
                await rewrite_events(connection, tenant, _resealed_notes(merge.resealer, request.id, events))
            history = await events_of(connection, tenant, request.id) if request.state == VERIFIED else []
            change = RequestChange(merge.services, merge.caller, connection, request, details, history, pseudonym, keys)
            if request.state == VERIFIED:
                moved = change.move("ask-identity", code=MERGED, verification=None, approvals=())
                merge.reverify.append((moved.id, moved.revision))
            if change.request != kept.request:
                await save_request(connection, row_keys, change.request, change.details, change.events)
            await merge.services.audit_log.append_in(connection, change.entries("move-request"))

    async def export(self, package: ExportContext) -> Sections:
        """List the subject's requests, newest first."""
        async with package.services.data.reading() as connection:
            query = RequestQuery(subject=package.subject, limit=MOST_REQUESTS)
            requests = await list_requests(connection, await package.services.keyring.row_keys(package.tenant), query)
        summaries = [
            RequestSummary(
                id=str(request.id),
                kind=request.kind,
                state=request.state,
                received_at=rfc3339(request.received_at),
                due=request.due.on.isoformat(),
                closed_at=None if request.closed_at is None else rfc3339(request.closed_at),
                ground=request.ground,
                outcome=request.outcome,
            )
            for request in sorted(requests, key=lambda request: request.received_at, reverse=True)
        ]
        return {"requests": summaries}

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count what was written about requests under a data key that the erasure destroyed."""
        subjects = [SubjectId(erasure.subject)]
        details = await details_of(connection, tenant, subjects)
        histories = await events_by_request(connection, tenant, subjects)
        notes = [event.note for events in histories.values() for event in events]
        return sum(sealed is not None and is_stale(version_of(sealed), erasure) for sealed in (*details, *notes))


async def _rewrite(
    erasing: ErasureContext,
    subjects: Sequence[SubjectId],
    is_resealed: Callable[[Request], bool],
    loses_details: Callable[[Request], bool] = lambda _request: False,
) -> None:
    """Seal again what was written about the requests of subjects, or delete it."""
    histories = await events_by_request(erasing.connection, erasing.tenant, subjects)
    details: list[tuple[Request, bytes | None]] = []
    notes: list[tuple[UUID, Event]] = []
    for kept in await requests_of(erasing.connection, erasing.row_keys, subjects, lock=True):
        request = kept.request
        resealer = None
        if request.subject is not None and is_resealed(request):
            resealer = erasing.resealers.get(SubjectId(request.subject))
        if kept.details is not None:
            sealed = None
            if resealer is not None and not loses_details(request):
                sealed = resealer.reseal(COLLECTION, request.id, DETAILS, kept.details)
            details.append((request, sealed))
        notes += _resealed_notes(resealer, request.id, histories.get(request.id, ()))
    await save_details(erasing.connection, erasing.row_keys, details)
    await rewrite_events(erasing.connection, erasing.tenant, notes)


def _resealed_notes(resealer: Resealer | None, request: UUID, events: Sequence[Event]) -> list[tuple[UUID, Event]]:
    """Return the events that have a note, with the note sealed again, or without it if there is no resealer."""
    rewritten = []
    for event in events:
        if event.note is not None:
            name = f"note:{event.number}"
            note = None if resealer is None else resealer.reseal(COLLECTION, request, name, event.note)
            rewritten.append((request, replace(event, note=note)))
    return rewritten


def _assigned(merge: MergeContext, request: Request) -> Request:
    return replace(
        request,
        subject=merge.survivor,
        revision=request.revision + 1,
        results=tuple(merge.events.get(result, result) for result in request.results),
        erasure=None if request.erasure in merge.dropped_erasures else request.erasure,
    )


def _linked(request: Request, first: dict[tuple[KindName, Scope], UUID]) -> Request:
    """Link a request to an earlier open one for the same thing, as if it came in now."""
    if request.state not in OPEN:
        return request
    earlier = first.setdefault((request.kind, request.scope), request.id)
    return request if request.duplicate_of or earlier == request.id else replace(request, duplicate_of=earlier)
