"""The record of processing activities (Art. 30 GDPR).

The audit log, for those who may read it.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Header, Query, Response
from pydantic import AwareDatetime

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.responses import json_response
from vault.api.schemas import subjects as bodies
from vault.governance.audit_log import read_audit
from vault.governance.processing_record import processing_record
from vault.governance.record_formats import FORMS, MEDIA_TYPES, Form, write_record
from vault.ids import EntryId, SubjectId

router = APIRouter(prefix="/v1", tags=["processing"])

LONGEST_ACCEPT = 1000
TEXT: dict[str, Any] = {"schema": {"type": "string"}}


@router.get(
    "/processing-record",
    response_model=dict[str, Any],
    responses={200: {"content": {MEDIA_TYPES["csv"]: TEXT, MEDIA_TYPES["markdown"]: TEXT}}},
)
async def record(
    services: ServicesDep,
    caller: CallerDep,
    since: Annotated[AwareDatetime | None, Query(description="From when on; 365 days back by default.")] = None,
    form: Annotated[Form | None, Query(alias="format", description="Outweighs `Accept`.")] = None,
    accept: Annotated[str, Header(max_length=LONGEST_ACCEPT)] = "",
) -> Response:
    """Make the record of processing activities, from the policies in force and from what was really read."""
    made = await processing_record(services, caller, since=since)
    chosen = form or accepted(accept)
    headers = {"Content-Disposition": 'attachment; filename="processing-record.csv"'} if chosen == "csv" else None
    return Response(write_record(made, chosen), 200, headers, f"{MEDIA_TYPES[chosen]}; charset=utf-8")


def accepted(accept: str) -> Form:
    """Choose the form that a client likes best (RFC 9110 §12.5.1); JSON where it leaves that open, or wants none."""
    liked: dict[str, float] = {}
    for each in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in each.split(";"))
        liked[media_type] = next((_weight(part) for part in parameters if part.startswith("q=")), 1.0)
    # Of forms that are liked as well the first of FORMS, JSON.
    best = max(FORMS, key=lambda form: liked.get(MEDIA_TYPES[form], 0.0))
    anything = max(liked.get("*/*", 0.0), liked.get("application/*", 0.0))
    return best if liked.get(MEDIA_TYPES[best], 0.0) >= anything else "json"


def _weight(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0


audit_router = APIRouter(prefix="/v1/audit", tags=["audit"])


@audit_router.get("/entries", response_model=bodies.AuditPage)
async def entries(
    services: ServicesDep,
    caller: CallerDep,
    subject: UUID | None = None,
    principal: UUID | None = None,
    action: Annotated[str | None, Query(max_length=32)] = None,
    before: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """List audit entries, newest first; `before` takes the `next` of the page before."""
    page = await read_audit(
        services,
        caller,
        subject=None if subject is None else SubjectId(subject),
        principal=principal,
        action=action,
        before=None if before is None else EntryId(before),
        limit=limit,
    )
    listed: list[Any] = [msgspec.to_builtins(each) for each in page.entries]
    return json_response({"entries": listed, "next": None if page.next is None else str(page.next)})
