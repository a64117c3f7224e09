"""Disputes, confirmed values, and what was corrected of a person's data (Arts. 16 and 18 GDPR)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from vault.access.recording import SaveResponse, WriteResult
from vault.api.dependencies import CallerDep, ServicesDep, StoredResponse, respond_once
from vault.api.responses import error_responses, json_response, moment
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas import rectification as bodies
from vault.errors import Fault, InvalidInput
from vault.ids import SubjectId
from vault.rectification.disputes import dispute as note_dispute
from vault.rectification.disputes import resolve_dispute
from vault.rectification.query import list_rectifications
from vault.rectification.verified_values import verify_values

if TYPE_CHECKING:
    from vault.rectification.disputes import Disputed, Resolved
    from vault.rectification.query import Told as Shown

router = APIRouter(prefix="/v1/subjects/{subject}", tags=["rectification"])


@router.post("/disputes", status_code=201, response_model=bodies.Disputed, responses=error_responses(409))
async def disputes(
    request: Request,
    subject: UUID,
    body: bodies.NewDispute,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Note that the person says that values are wrong; on demand their data is restricted until that is decided."""

    async def run(on_commit: SaveResponse | None) -> Disputed:
        return await note_dispute(
            services,
            caller,
            SubjectId(subject),
            fields=body.fields,
            statement=body.statement,
            restrict=body.restrict,
            on_commit=on_commit,
        )

    return await respond_once(services, caller, request, idempotency_key, "dispute", run, _disputed)


@router.post(
    "/disputes/{dispute}:resolve", status_code=201, response_model=bodies.Resolved, responses=error_responses(409)
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
    """Decide a dispute. A value that was wrong is corrected by a change of its own."""

    async def run(on_commit: SaveResponse | None) -> Resolved:
        return await resolve_dispute(
            services,
            caller,
            SubjectId(subject),
            dispute,
            verdict=body.decision,
            reason=body.reason,
            on_commit=on_commit,
        )

    return await respond_once(services, caller, request, idempotency_key, "dispute", run, _resolved)


@router.post("/fields:verify", operation_id="verifyFields", response_model=WriteResult, responses=error_responses(409))
async def verify(
    request: Request,
    subject: UUID,
    body: bodies.Checked,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Note that values of the profile were checked and are right, as of now."""

    async def run(on_commit: SaveResponse | None) -> WriteResult:
        return await verify_values(
            services, caller, SubjectId(subject), fields=body.fields, purpose=body.purpose, on_commit=on_commit
        )

    return await respond_once(services, caller, request, idempotency_key, "verify-value", run)


@router.get("/rectifications", response_model=bodies.RectificationPage)
async def rectifications(
    subject: UUID,
    services: ServicesDep,
    caller: CallerDep,
    cursor: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List corrections, statements and disputes, the oldest first; what stood there before stays sealed."""
    page = await list_rectifications(services, caller, SubjectId(subject), after=_cursor(cursor), limit=limit)
    following = None if page.next is None else page.next.hex
    return json_response({"results": [_shown(each) for each in page.items], "next": following, "audit": page.audit})


def _shown(told: Shown) -> dict[str, object]:
    row = told.rectification
    return {
        "id": row.id,
        "request": row.request,
        "collection": row.collection,
        "record": row.record,
        "field": row.field,
        "state": row.state,
        "at": moment(row.at),
        "closed_at": moment(row.closed_at),
        "statement": told.statement,
        "reason": told.reason,
    }


def _cursor(cursor: str | None) -> UUID | None:
    try:
        return None if cursor is None else UUID(hex=cursor)
    except ValueError:
        fault = Fault("/cursor", "invalid-cursor", "Take `next` of the page before, unchanged.")
        raise InvalidInput("The cursor is none of ours.", faults=[fault], code="invalid-cursor") from None


def _disputed(disputed: Disputed) -> StoredResponse:
    return StoredResponse(201, {"disputes": disputed.disputes, "state": disputed.state})


def _resolved(resolved: Resolved) -> StoredResponse:
    return StoredResponse(201, {"id": resolved.id, "state": resolved.state})
