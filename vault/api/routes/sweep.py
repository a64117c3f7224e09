"""Routes of sweeps, and the preview of what ends in the next days."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from vault.api.dependencies import CallerDep, ServicesDep, StoredResponse, respond_once
from vault.api.responses import error_responses
from vault.api.routes.subjects import IdempotencyKey
from vault.sweep.query import DAYS, MOST_DAYS, MOST_PEOPLE, PEOPLE, SaveSweep, list_sweeps, preview, start_sweep
from vault.sweep.views import RetentionPreview, Sweep, SweepPage

router = APIRouter(prefix="/v1", tags=["retention"])


@router.get("/retention/due", operation_id="previewRetention")
async def due(
    services: ServicesDep,
    caller: CallerDep,
    days: Annotated[int, Query(ge=0, le=MOST_DAYS, description="0: only what is already over.")] = DAYS,
    field: Annotated[str | None, Query(max_length=200, description="Only this field.")] = None,
    after: Annotated[UUID | None, Query(description="`next` of the previous answer.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_PEOPLE, description="Subjects evaluated for one answer.")] = PEOPLE,
) -> RetentionPreview:
    """Count what ends in the next days by day and field, and what is already over."""
    return await preview(services, caller, days=days, field=field, after=after, limit=limit)


@router.get("/retention/sweeps", operation_id="listSweeps")
async def sweeps(
    services: ServicesDep,
    caller: CallerDep,
    before: Annotated[UUID | None, Query(description="`next` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> SweepPage:
    """List sweeps, the newest first: how far each is, and what it did."""
    return await list_sweeps(services, caller, before=before, limit=limit)


@router.post(
    "/retention/sweeps",
    operation_id="startSweep",
    status_code=202,
    response_model=Sweep,
    responses=error_responses(409),
)
async def start(
    request: Request, services: ServicesDep, caller: CallerDep, idempotency_key: IdempotencyKey = None
) -> Response:
    """Start a sweep as a job; if one is under way, join it."""

    async def run(on_commit: SaveSweep | None) -> Sweep:
        return await start_sweep(services, caller, on_commit)

    return await respond_once(
        services, caller, request, idempotency_key, "sweep", run, lambda view: StoredResponse(202, view)
    )
