"""Requests of people about their own data: take them in, see them, decide about them.

How requests are told in answers.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request, Response

from vault.access.recording import SaveResponse
from vault.api.dependencies import CallerDep, ServicesDep, StoredResponse, respond_once
from vault.api.responses import error_responses, json_response, moment
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas import requests as bodies
from vault.catalogue.model import Scope
from vault.catalogue.requests import KindName
from vault.errors import Fault, InvalidInput
from vault.ids import SubjectId
from vault.requests import decide
from vault.requests.decide import remedies
from vault.requests.model import State
from vault.requests.query import Urgency, days_left, is_suspended, list_of_requests, show_request
from vault.requests.submit import Submission, Submitted, submit_request

if TYPE_CHECKING:
    from vault.context import Caller, Services
    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Request as DataRequest
    from vault.requests.model import Request as Made
    from vault.requests.query import Shown
    from vault.requests.query import Told as RequestFacts


router = APIRouter(prefix="/v1/requests", tags=["requests"])


@router.post("", status_code=201, response_model=bodies.Submitted, responses=error_responses(409))
async def submit(
    request: Request,
    body: bodies.NewRequest,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Take a request in. It changes nothing before it is verified; an identity that leads nowhere is answered alike."""
    submission = Submission(
        kind=body.kind,
        regime=body.regime,
        jurisdiction=body.jurisdiction,
        language=body.language,
        channel=body.channel,
        scope=Scope(tuple(body.scope.fields), tuple(body.scope.collections), tuple(body.scope.purposes)),
        details=body.details,
        received_at=body.received_at,
        follows=body.follows,
    )
    identity = None if body.identity is None else body.identity.model_dump(exclude_none=True)
    subject = None if body.subject is None else SubjectId(body.subject)

    async def run(on_commit: SaveResponse | None) -> Submitted:
        return await submit_request(
            services, caller, submission, subject=subject, identity=identity, on_commit=on_commit
        )

    return await respond_once(services, caller, request, idempotency_key, "submit-request", run, submitted)


@router.get("", response_model=bodies.RequestPage)
async def listed(
    services: ServicesDep,
    caller: CallerDep,
    subject: Annotated[UUID | None, Query(description="Only this person's.")] = None,
    state: Annotated[list[State], Query(description="Only these states; may be repeated.")] = [],  # noqa: B006 - FastAPI copies it
    kind: Annotated[list[KindName], Query(description="Only these kinds; may be repeated.")] = [],  # noqa: B006 - as above
    due: Annotated[Urgency | None, Query(description="Open ones that are overdue, or due within a week.")] = None,
    cursor: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List requests, the most urgent first."""
    page = await list_of_requests(
        services,
        caller,
        subject=None if subject is None else SubjectId(subject),
        states=state,
        kinds=kind,
        urgency=due,
        after=_after(cursor),
        limit=limit,
    )
    policy_set = services.policies.active(caller.tenant).policy_set
    return json_response(
        {
            "requests": [told(services, policy_set, each.request, each.days_left) for each in page.requests],
            "next": None if page.next is None else f"{page.next[0]}.{page.next[1].hex}",
            "audit": page.audit,
        }
    )


@router.get("/{request}", response_model=bodies.ShownWhole)
async def shown(request: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Show a request with its history. An app that may not see requests sees where those stand that it brought in."""
    found = await show_request(services, caller, request)
    return json_response(told_whole(services, services.policies.active(caller.tenant).policy_set, found))


@router.post("/{request}:approve", response_model=bodies.Shown, responses=error_responses(409))
async def approve(request: UUID, body: bodies.NoteOnly, services: ServicesDep, caller: CallerDep) -> Response:
    """Approve a verified request, or sign it as the first of two; then its job begins."""
    return _told(services, caller, await decide.approve_request(services, caller, request, note=body.note))


@router.post("/{request}:reject", response_model=bodies.Shown, responses=error_responses(409))
async def reject(request: UUID, body: bodies.Rejection, services: ServicesDep, caller: CallerDep) -> Response:
    """Refuse a request on a ground that the law gives; the answer has the remedies of which the person is told."""
    return _told(
        services, caller, await decide.reject_request(services, caller, request, ground=body.ground, note=body.note)
    )


@router.post("/{request}:extend", response_model=bodies.Shown, responses=error_responses(409))
async def extend(request: UUID, body: bodies.Extending, services: ServicesDep, caller: CallerDep) -> Response:
    """Extend the deadline, once and before it has passed."""
    return _told(
        services, caller, await decide.extend_request(services, caller, request, reason=body.reason, note=body.note)
    )


@router.post("/{request}:cancel", response_model=bodies.Shown, responses=error_responses(409))
async def cancel(request: UUID, body: bodies.NoteOnly, services: ServicesDep, caller: CallerDep) -> Response:
    """Cancel a request that is not under way: staff any, an app one that it brought in."""
    made = await decide.cancel_request(services, caller, request, note=body.note)
    return json_response(told(services, services.policies.active(caller.tenant).policy_set, made, None, whole=False))


@router.post("/{request}:complete", response_model=bodies.Shown, responses=error_responses(409))
async def complete(request: UUID, body: bodies.Completion, services: ServicesDep, caller: CallerDep) -> Response:
    """Complete a review of an automated decision, which is a person's work."""
    return _told(
        services, caller, await decide.complete_request(services, caller, request, outcome=body.outcome, note=body.note)
    )


@router.post("/{request}:reopen", response_model=bodies.Shown, responses=error_responses(409))
async def reopen(request: UUID, body: bodies.NoteOnly, services: ServicesDep, caller: CallerDep) -> Response:
    """Reopen a closed request: unverified again, with its history and the deadline of its receipt."""
    return _told(services, caller, await decide.reopen_request(services, caller, request, note=body.note))


@router.post("/{request}:ask-identity", response_model=bodies.Shown, responses=error_responses(409))
async def ask_identity(request: UUID, body: bodies.NoteOnly, services: ServicesDep, caller: CallerDep) -> Response:
    """Ask who it is, where that is in doubt; asked promptly, it stops the clock."""
    return _told(services, caller, await decide.ask_identity(services, caller, request, note=body.note))


def submitted(made: Submitted) -> StoredResponse:
    """Tell what became of a request that came in."""
    body: dict[str, Any] = {
        "id": made.id,
        "state": made.state,
        "due": made.due.on,
        "due_rule": made.due.rule,
        "internal_due": made.internal_due.on,
    }
    if made.duplicate_of is not None:
        body["duplicate_of"] = made.duplicate_of
    return StoredResponse(201, body)


def _told(services: Services, caller: Caller, made: Made) -> Response:
    policy_set = services.policies.active(caller.tenant).policy_set
    return json_response(told(services, policy_set, made, days_left(services, made)))


def _after(cursor: str | None) -> tuple[str, UUID] | None:
    if cursor is None:
        return None
    day, _, number = cursor.partition(".")
    try:
        return day, UUID(hex=number)
    except ValueError:
        fault = Fault("/cursor", "invalid-cursor", "Take `next` of the page before, unchanged.")
        raise InvalidInput("The cursor is none of ours.", faults=[fault], code="invalid-cursor") from None


def told(
    services: Services, policy_set: PolicySet, request: DataRequest, days_left: int | None, *, whole: bool = True
) -> dict[str, Any]:
    """Tell a request: whole, or what may be told to an app that brought it in and may see no others."""
    body: dict[str, Any] = {
        "id": request.id,
        "kind": request.kind,
        "state": request.state,
        "regime": request.regime,
        "jurisdiction": request.jurisdiction,
        "received_at": moment(request.received_at),
        "due": request.due.on,
        "due_rule": request.due.rule,
        "internal_due": request.internal_due.on,
        "days_left": days_left,
        "suspended": is_suspended(request),
        "extended": request.extension is not None,
        "language": request.language,
        "channel": request.channel,
        "scope": msgspec.structs.asdict(request.scope),
        "ground": request.ground,
        "outcome": request.outcome,
        "closed_at": moment(request.closed_at),
    }
    if request.state == "rejected":
        body["remedies"] = _remedies(policy_set, request)
    return body | (_inner(services, policy_set, request) if whole else {})


def told_whole(services: Services, policy_set: PolicySet, shown: Shown) -> dict[str, Any]:
    """Tell a request with its history and what was written about it, as far as the caller may see that."""
    whole = shown.history is not None
    body = told(services, policy_set, shown.request, shown.days_left, whole=whole)
    if shown.history is not None:
        body |= {"details": shown.details, "history": [_event(each) for each in shown.history]}
    return body | {"audit": shown.audit}


def _inner(services: Services, policy_set: PolicySet, request: DataRequest) -> dict[str, Any]:
    checked = request.verification
    return {
        "subject": request.subject,
        "recorder": request.recorder,
        "verification": None if checked is None else {**msgspec.structs.asdict(checked), "at": moment(checked.at)},
        "approvals": [{"at": moment(each.at), "by": each.by} for each in request.approvals],
        "approval": services.request_kinds[request.kind].approval(policy_set, request.scope),
        "duplicate_of": request.duplicate_of,
        "follows": request.follows,
        "package": request.package,
        "erasure": request.erasure,
        "results": request.results,
    }


def _event(told: RequestFacts) -> dict[str, Any]:
    return {**msgspec.structs.asdict(told.event), "at": moment(told.event.at), "note": told.note}


def _remedies(policy_set: PolicySet, request: DataRequest) -> dict[str, Any]:
    found = remedies(policy_set, request.regime)
    return {**found._asdict(), "authority": None if found.authority is None else asdict(found.authority)}
