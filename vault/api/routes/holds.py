"""Routes of legal holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from vault.api.dependencies import CallerDep, ServicesDep, StoredResponse, respond_once
from vault.api.responses import error_responses
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas.holds import HoldChange, HoldLifting, NewHold
from vault.holds.manage import (
    PAGE_LIMIT,
    HoldChanges,
    HoldDraft,
    Which,
    change_hold,
    lift_hold,
    list_holds,
    place_hold,
    show_hold,
)
from vault.holds.views import Hold, HoldDetails, HoldPage
from vault.ids import SubjectId

if TYPE_CHECKING:
    from vault.access.recording import SaveResponse

router = APIRouter(prefix="/v1/holds", tags=["holds"])

NO_LONGER_NEEDED = "no-longer-needed"


@router.post("", operation_id="placeHold", status_code=201, response_model=Hold, responses=error_responses(409))
async def place(
    request: Request,
    body: NewHold,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Place a hold. Nothing deletes what it covers, and it is read for the hold's purposes only."""
    draft = HoldDraft(
        matter=body.matter,
        owner=body.owner,
        purpose=body.purpose,
        subjects=[SubjectId(subject) for subject in body.subjects],
        review_on=body.review_on,
        also_for=body.also_for,
        fields=body.fields,
        since=body.since,
        until=body.until,
    )

    async def run(on_commit: SaveResponse | None) -> Hold:
        return await place_hold(services, caller, draft, on_commit=on_commit)

    return await respond_once(
        services, caller, request, idempotency_key, "place-hold", run, lambda hold: StoredResponse(201, hold)
    )


@router.get("", operation_id="listHolds")
async def index(
    services: ServicesDep,
    caller: CallerDep,
    due: Annotated[bool, Query(description="Only active holds whose review is due.")] = False,
    state: Annotated[
        str, Query(pattern="^(active|lifted|all)$", description="`active`, `lifted` or `all`.")
    ] = "active",
    after: Annotated[UUID | None, Query(description="`next` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 50,
) -> HoldPage:
    """List holds, the next due for review first."""
    which: Which = "due" if due else "lifted" if state == "lifted" else "all" if state == "all" else "active"
    return await list_holds(services, caller, which=which, after=after, limit=limit)


@router.get("/{hold}", operation_id="showHold")
async def show(hold: UUID, services: ServicesDep, caller: CallerDep) -> HoldDetails:
    """Show a hold and the subjects that it covers; a lifted hold covers none."""
    return await show_hold(services, caller, hold)


@router.patch("/{hold}", operation_id="changeHold", responses=error_responses(409))
async def change(hold: UUID, body: HoldChange, services: ServicesDep, caller: CallerDep) -> Hold:
    """Change the owner of a hold, its review, the purposes that may go on, or the subjects that it covers."""
    changes = HoldChanges(
        owner=body.owner,
        review_on=body.review_on,
        also_for=body.also_for,
        add=[SubjectId(subject) for subject in body.add_subjects],
        remove=[SubjectId(subject) for subject in body.remove_subjects],
    )
    return await change_hold(services, caller, hold, changes)


@router.post("/{hold}:lift", operation_id="liftHold", responses=error_responses(409))
async def lift(hold: UUID, body: HoldLifting, services: ServicesDep, caller: CallerDep) -> Hold:
    """Lift a hold; erasures that waited for it continue by themselves."""
    return await lift_hold(services, caller, hold, reason=body.reason)


@router.delete("/{hold}", operation_id="deleteHold", responses=error_responses(409))
async def delete(hold: UUID, services: ServicesDep, caller: CallerDep) -> Hold:
    """Lift a hold that is no longer needed: `POST /v1/holds/{id}:lift` with the reason `no-longer-needed`."""
    return await lift_hold(services, caller, hold, reason=NO_LONGER_NEEDED)
