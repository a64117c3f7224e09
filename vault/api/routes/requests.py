"""Requests of data subjects: submit, list, show, decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from vault.access.recording import SaveResponse
from vault.api.dependencies import CallerDep, ServicesDep, StoredResponse, respond_once
from vault.api.responses import error_responses
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas import requests as bodies
from vault.catalogue.model import Scope
from vault.catalogue.requests import KindName
from vault.ids import SubjectId
from vault.requests import decide
from vault.requests.model import State
from vault.requests.query import Urgency, list_of_requests, show_request
from vault.requests.submit import Submission, submit_request
from vault.requests.views import (
    DataSubjectRequest,
    RequestDetails,
    RequestPage,
    RequestStatus,
    SubmittedRequest,
    SubmittersRequest,
    request_view,
    status_view,
)

if TYPE_CHECKING:
    from vault.context import Caller, Services
    from vault.requests.model import Request as DataRequest


router = APIRouter(prefix="/v1/requests", tags=["requests"])


@router.post(
    "",
    status_code=201,
    response_model=SubmittedRequest,
    responses=error_responses(409),
    operation_id="submitRequest",
)
async def submit(
    call: Request,
    body: bodies.NewRequest,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a request. It has no effect before it is verified; the answer does not reveal whether a person exists."""
    identity = None if body.identity is None else body.identity.model_dump(exclude_none=True)
    subject = None if body.subject is None else SubjectId(body.subject)
    submission = Submission(
        kind=body.kind,
        regime=body.regime,
        jurisdiction=body.jurisdiction,
        language=body.language,
        channel=body.channel,
        scope=scope_of(body.scope),
        details=body.details,
        received_at=body.received_at,
        follows=body.follows,
    )

    async def run(on_commit: SaveResponse | None) -> SubmittedRequest:
        return await submit_request(
            services, caller, submission, subject=subject, identity=identity, on_commit=on_commit
        )

    return await respond_once(services, caller, call, idempotency_key, "submit-request", run, submitted_response)


@router.get("", operation_id="listRequests")
async def list_all(
    services: ServicesDep,
    caller: CallerDep,
    subject: Annotated[UUID | None, Query(description="Only this person's.")] = None,
    state: Annotated[list[State], Query(description="Only these states; may be repeated.")] = [],  # noqa: B006 - FastAPI copies it
    kind: Annotated[list[KindName], Query(description="Only these kinds; may be repeated.")] = [],  # noqa: B006 - as above
    due: Annotated[Urgency | None, Query(description="Open ones that are overdue, or due within a week.")] = None,
    cursor: Annotated[str | None, Query(max_length=64, description="`next` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> RequestPage:
    """List requests, the most urgent first."""
    return await list_of_requests(
        services,
        caller,
        subject=None if subject is None else SubjectId(subject),
        states=state,
        kinds=kind,
        urgency=due,
        cursor=cursor,
        limit=limit,
    )


@router.get("/{request}", operation_id="getRequest")
async def show(request: UUID, services: ServicesDep, caller: CallerDep) -> RequestDetails | SubmittersRequest:
    """Show a request with its history; to an app that may not see requests, the state of one that it submitted."""
    return await show_request(services, caller, request)


@router.post("/{request}:approve", responses=error_responses(409), operation_id="approveRequest")
async def approve(request: UUID, body: bodies.Decision, services: ServicesDep, caller: CallerDep) -> DataSubjectRequest:
    """Approve a verified request and start its job. With dual approval, the first approval only signs it."""
    return _view(services, caller, await decide.approve_request(services, caller, request, note=body.note))


@router.post("/{request}:reject", responses=error_responses(409), operation_id="rejectRequest")
async def reject(request: UUID, body: bodies.Rejection, services: ServicesDep, caller: CallerDep) -> DataSubjectRequest:
    """Reject a request on a legal ground. The person is informed; the answer contains the remedies."""
    rejected = await decide.reject_request(services, caller, request, ground=body.ground, note=body.note)
    return _view(services, caller, rejected)


@router.post("/{request}:extend", responses=error_responses(409), operation_id="extendRequest")
async def extend(
    request: UUID, body: bodies.DeadlineExtension, services: ServicesDep, caller: CallerDep
) -> DataSubjectRequest:
    """Extend the deadline, once and before it has passed. The person is informed."""
    extended = await decide.extend_request(services, caller, request, reason=body.reason, note=body.note)
    return _view(services, caller, extended)


@router.post("/{request}:cancel", responses=error_responses(409), operation_id="cancelRequest")
async def cancel(request: UUID, body: bodies.Decision, services: ServicesDep, caller: CallerDep) -> RequestStatus:
    """Cancel a request that is not in progress: staff any, an app one that it submitted."""
    cancelled = await decide.cancel_request(services, caller, request, note=body.note)
    return status_view(services, caller.tenant, cancelled)


@router.post("/{request}:complete", responses=error_responses(409), operation_id="completeRequest")
async def complete(
    request: UUID, body: bodies.ReviewCompletion, services: ServicesDep, caller: CallerDep
) -> DataSubjectRequest:
    """Complete the review of an automated decision, which a person carries out."""
    completed = await decide.complete_request(services, caller, request, outcome=body.outcome, note=body.note)
    return _view(services, caller, completed)


@router.post("/{request}:reopen", responses=error_responses(409), operation_id="reopenRequest")
async def reopen(request: UUID, body: bodies.Decision, services: ServicesDep, caller: CallerDep) -> DataSubjectRequest:
    """Reopen a closed request. It is unverified again; its history and deadline stay."""
    return _view(services, caller, await decide.reopen_request(services, caller, request, note=body.note))


@router.post("/{request}:ask-identity", responses=error_responses(409), operation_id="requestProofOfIdentity")
async def ask_identity(
    request: UUID, body: bodies.Decision, services: ServicesDep, caller: CallerDep
) -> DataSubjectRequest:
    """Request proof of identity. If asked in time, the deadline is suspended."""
    return _view(services, caller, await decide.ask_identity(services, caller, request, note=body.note))


def submitted_response(submitted: SubmittedRequest) -> StoredResponse:
    """Return the response to a submission."""
    return StoredResponse(201, submitted)


def scope_of(scope: bodies.Scope) -> Scope:
    """Return the scope that a body names."""
    return Scope(tuple(scope.fields), tuple(scope.collections), tuple(scope.purposes))


def _view(services: Services, caller: Caller, request: DataRequest) -> DataSubjectRequest:
    return request_view(services, caller.tenant, request)
