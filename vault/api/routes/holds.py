"""Legal holds: what is evidence is kept, and used for little else, until the hold is lifted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from vault.api.dependencies import CallerDep, ServicesDep, StoredResponse, respond_once
from vault.api.responses import error_responses, json_response, moment
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas import holds as bodies
from vault.holds.manage import Asked, Changes, change_hold, lift_hold, place_hold
from vault.holds.query import MOST, Which, list_holds, show_hold, told
from vault.ids import SubjectId

if TYPE_CHECKING:
    from vault.access.recording import SaveResponse
    from vault.retention.holds import Hold

router = APIRouter(prefix="/v1/holds", tags=["holds"])

NO_LONGER_NEEDED = "no-longer-needed"


@router.post("", status_code=201, response_model=bodies.Hold, responses=error_responses(409))
async def place(
    request: Request,
    body: bodies.NewHold,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Place a hold. Nothing deletes what it covers, and it is read for the hold's purposes only."""
    asked = Asked(
        matter=body.matter,
        owner=body.owner,
        purpose=body.purpose,
        subjects=[SubjectId(each) for each in body.subjects],
        review_on=body.review_on,
        also_for=body.also_for,
        names=body.fields,
        since=body.since,
        until=body.until,
    )

    async def run(on_commit: SaveResponse | None) -> Hold:
        return await place_hold(services, caller, asked, on_commit=on_commit)

    return await respond_once(
        services, caller, request, idempotency_key, "place-hold", run, lambda hold: StoredResponse(201, _told(hold))
    )


@router.get("", response_model=bodies.HoldPage)
async def listed(
    services: ServicesDep,
    caller: CallerDep,
    due: Annotated[bool, Query(description="Only those whose day of review has come.")] = False,
    state: Annotated[
        str, Query(pattern="^(active|lifted|all)$", description="`active`, `lifted` or `all`.")
    ] = "active",
    after: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
) -> Response:
    """List holds, the next due for review first."""
    which: Which = "due" if due else "lifted" if state == "lifted" else "all" if state == "all" else "active"
    page = await list_holds(services, caller, which=which, after=after, limit=limit)
    return json_response({"holds": [_told(each) for each in page.holds], "next": page.next})


@router.get("/{hold}", response_model=bodies.HoldShown)
async def shown(hold: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Show a hold and whom it covers; one that is lifted covers nobody any more."""
    found = await show_hold(services, caller, hold)
    return json_response({**_told(found.hold), "subjects": found.subjects})


@router.patch("/{hold}", response_model=bodies.Hold, responses=error_responses(409))
async def change(hold: UUID, body: bodies.HoldChange, services: ServicesDep, caller: CallerDep) -> Response:
    """Change who answers for a hold, its review, the purposes that go on, or whom it covers."""
    changes = Changes(
        owner=body.owner,
        review_on=body.review_on,
        also_for=body.also_for,
        add=[SubjectId(each) for each in body.add_subjects],
        remove=[SubjectId(each) for each in body.remove_subjects],
    )
    return json_response(_told(await change_hold(services, caller, hold, changes)))


@router.post("/{hold}:lift", response_model=bodies.Hold, responses=error_responses(409))
async def lift(hold: UUID, body: bodies.Lifting, services: ServicesDep, caller: CallerDep) -> Response:
    """Lift a hold; erasures that waited for it go on by themselves."""
    return json_response(_told(await lift_hold(services, caller, hold, reason=body.reason)))


@router.delete("/{hold}", response_model=bodies.Hold, responses=error_responses(409))
async def delete(hold: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Lift a hold that is needed no more, as `POST /v1/holds/{id}:lift` does with a reason of its own."""
    return json_response(_told(await lift_hold(services, caller, hold, reason=NO_LONGER_NEEDED)))


def _told(hold: Hold) -> dict[str, Any]:
    return {**told(hold), "placed_at": moment(hold.placed_at), "lifted_at": moment(hold.lifted_at)}
