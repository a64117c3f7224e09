"""The record of processing activities (Art. 30 GDPR), and the audit log."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import AwareDatetime

from vault.api.dependencies import CallerDep, ServicesDep
from vault.governance.processing_record import processing_record
from vault.governance.query import AuditQuery, read_audit
from vault.governance.record_formats import FORMS, MEDIA_TYPES, Form, write_record
from vault.governance.views import AuditPage, ProcessingRecord
from vault.ids import EntryId, SubjectId

router = APIRouter(prefix="/v1", tags=["processing"])

LONGEST_ACCEPT = 1000
TEXT: dict[str, Any] = {"schema": {"type": "string"}}


@router.get(
    "/processing-record",
    operation_id="readProcessingRecord",
    response_model=ProcessingRecord,
    responses={200: {"content": {MEDIA_TYPES["csv"]: TEXT, MEDIA_TYPES["markdown"]: TEXT}}},
)
async def record(
    services: ServicesDep,
    caller: CallerDep,
    since: Annotated[AwareDatetime | None, Query(description="Start of the period; 365 days back by default.")] = None,
    form: Annotated[Form | None, Query(alias="format", description="Takes precedence over `Accept`.")] = None,
    accept: Annotated[str, Header(max_length=LONGEST_ACCEPT)] = "",
) -> Response:
    """Build the record of processing activities from the policies in force and the audit log."""
    processing = await processing_record(services, caller, since=since)
    chosen = form or accepted(accept)
    headers = {"Content-Disposition": 'attachment; filename="processing-record.csv"'} if chosen == "csv" else None
    return Response(write_record(processing, chosen), 200, headers, f"{MEDIA_TYPES[chosen]}; charset=utf-8")


def accepted(accept: str) -> Form:
    """Return the form that a client prefers (RFC 9110 §12.5.1); JSON if it has no preference, or accepts none."""
    weights: dict[str, float] = {}
    for media_range in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in media_range.split(";"))
        weights[media_type] = next((_weight(part) for part in parameters if part.startswith("q=")), 1.0)
    # max() returns the first of equals, and FORMS begins with JSON.
    best = max(FORMS, key=lambda form: weights.get(MEDIA_TYPES[form], 0.0))
    any_type = max(weights.get("*/*", 0.0), weights.get("application/*", 0.0))
    return best if weights.get(MEDIA_TYPES[best], 0.0) >= any_type else "json"


def _weight(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0


audit_router = APIRouter(prefix="/v1/audit", tags=["audit"])


@audit_router.get("/entries", operation_id="listAuditEntries")
async def entries(
    services: ServicesDep,
    caller: CallerDep,
    subject: UUID | None = None,
    principal: UUID | None = None,
    action: Annotated[str | None, Query(max_length=32)] = None,
    before: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> AuditPage:
    """List audit entries, newest first; `before` takes the `next` of the previous page."""
    query = AuditQuery(
        subject=None if subject is None else SubjectId(subject),
        principal=principal,
        action=action,
        before=None if before is None else EntryId(before),
        limit=limit,
    )
    return AuditPage.of(await read_audit(services, caller, query))
