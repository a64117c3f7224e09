"""Disputes, verified values, and corrections of a person's data (Arts. 16 and 18 GDPR)."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from vault.access.recording import SaveResponse, WriteResult
from vault.api.dependencies import CallerDep, ServicesDep, StoredResponse, respond_once
from vault.api.responses import error_responses
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas import rectification as bodies
from vault.ids import SubjectId
from vault.rectification.accuracy import dispute as note_dispute
from vault.rectification.accuracy import resolve_dispute, verify_values
from vault.rectification.query import DecidedDispute, Disputes, RectificationPage, list_rectifications
from vault.views import View

router = APIRouter(prefix="/v1/subjects/{subject}", tags=["rectification"])


@router.post(
    "/disputes",
    status_code=201,
    response_model=Disputes,
    responses=error_responses(409),
    operation_id="disputeFields",
)
async def dispute_fields(
    request: Request,
    subject: UUID,
    body: bodies.NewDispute,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Note that the person disputes values; optionally their data is restricted until that is decided."""

    async def run(on_commit: SaveResponse | None) -> Disputes:
        return await note_dispute(
            services,
            caller,
            SubjectId(subject),
            fields=body.fields,
            statement=body.statement,
            restrict=body.restrict,
            on_commit=on_commit,
        )

    return await respond_once(services, caller, request, idempotency_key, "dispute", run, _created)


@router.post(
    "/disputes/{dispute}:resolve",
    status_code=201,
    response_model=DecidedDispute,
    responses=error_responses(409),
    operation_id="resolveDispute",
)
async def resolve(
    request: Request,
    subject: UUID,
    dispute: UUID,
    body: bodies.Verdict,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Decide a dispute. A wrong value is corrected by another call."""

    async def run(on_commit: SaveResponse | None) -> DecidedDispute:
        return await resolve_dispute(
            services,
            caller,
            SubjectId(subject),
            dispute,
            verdict=body.decision,
            reason=body.reason,
            on_commit=on_commit,
        )

    return await respond_once(services, caller, request, idempotency_key, "dispute", run, _created)


@router.post("/fields:verify", operation_id="verifyFields", response_model=WriteResult, responses=error_responses(409))
async def verify(
    request: Request,
    subject: UUID,
    body: bodies.VerifiedFields,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Note that values of the profile were checked now and are accurate."""

    async def run(on_commit: SaveResponse | None) -> WriteResult:
        return await verify_values(
            services, caller, SubjectId(subject), fields=body.fields, purpose=body.purpose, on_commit=on_commit
        )

    return await respond_once(services, caller, request, idempotency_key, "verify-value", run)


@router.get("/rectifications", operation_id="listRectifications")
async def list_all(
    subject: UUID,
    services: ServicesDep,
    caller: CallerDep,
    cursor: Annotated[str | None, Query(max_length=64, description="`next` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> RectificationPage:
    """List corrections, statements and disputes, the oldest first; the values stay sealed."""
    return await list_rectifications(services, caller, SubjectId(subject), cursor=cursor, limit=limit)


def _created(view: View) -> StoredResponse:
    return StoredResponse(201, view)
