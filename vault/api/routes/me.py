"""A person about their own data: sign in by a code that comes by letter, and make requests."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.security import HTTPBearer

from vault.access.callers import data_subject_caller
from vault.access.recording import SaveResponse
from vault.api.dependencies import ServicesDep, bearer_of, respond_once
from vault.api.responses import error_responses, file_response, json_response, moment
from vault.api.routes.requests import submitted, told
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas import identity as bodies
from vault.api.schemas.requests import Submitted
from vault.catalogue.model import Scope
from vault.export.download import AGE, ZIP
from vault.http.problems import request_id
from vault.identity.self_service import cancel_mine, fetch_mine, my_request, my_requests, verification_of, verify_mine
from vault.identity.sessions import Session, require_room
from vault.ids import TenantId
from vault.requests.query import days_left
from vault.requests.submit import Submission, submit_request

if TYPE_CHECKING:
    from vault.context import Services
    from vault.identity.sessions import People
    from vault.requests.model import Event
    from vault.requests.model import Request as Made
    from vault.requests.submit import Submitted as Made_

router = APIRouter(prefix="/v1/me", tags=["me"])

CHANNEL = "self-service"
OPEN: dict[str, Any] = {"security": []}
FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_described = HTTPBearer(
    auto_error=False, scheme_name="session", description="The token of a person's own session (`cdvs_…`)."
)


async def person(call: Request, _described: Annotated[Any, Security(_described)] = None) -> Session:
    """Find out which person calls.

    Raises:
        NotAuthenticated: the bearer stands for nobody, or there is none.
    """
    return await _people(call).sign_in(bearer_of(call), request_id(call))


Me = Annotated[Session, Depends(person)]


@router.post(
    "/sessions", status_code=202, response_model=bodies.Asked, responses=error_responses(409), openapi_extra=OPEN
)
async def ask(call: Request, body: bodies.SignIn) -> Response:
    """Have a code sent to whoever is named, to a contact that the vault holds; answered alike for everybody."""
    identity = body.identity.model_dump(exclude_none=True)
    issued = await _people(call).ask(TenantId(body.tenant), identity, body.language, request_id(call))
    return json_response({"session": issued.id, "expires_at": moment(issued.expires_at)}, 202)


@router.post("/sessions:verify", status_code=201, response_model=bodies.Opened, openapi_extra=OPEN)
async def open_session(call: Request, body: bodies.Open) -> Response:
    """Open a session by the code: it lasts 30 minutes, and is fresh for the first ten."""
    opened = await _people(call).enter(body.session, body.code, request_id(call))
    return json_response(
        {
            "token": opened.token,
            "expires_at": moment(opened.expires_at),
            "fresh_until": moment(opened.fresh_until),
        },
        201,
    )


@router.delete("/session", status_code=204)
async def close(call: Request, me: Me) -> Response:
    """Sign out."""
    await _people(call).sign_out(me, request_id(call))
    return Response(status_code=204)


@router.get("/requests", response_model=bodies.MyRequests)
async def listed(call: Request, me: Me, services: ServicesDep) -> Response:
    """List one's own requests, newest first."""
    found = await my_requests(services, me, request_id(call))
    return json_response({"requests": [_told(services, me, each) for each in found]})


@router.post("/requests", status_code=201, response_model=Submitted, responses=error_responses(409))
async def submit(
    call: Request, body: bodies.MyNewRequest, me: Me, services: ServicesDep, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a request: the session shows whose it is. Erasure and rectification need a fresh one to go on at once."""
    submission = Submission(
        kind=body.kind,
        regime=body.regime,
        jurisdiction=body.jurisdiction,
        language=body.language,
        channel=CHANNEL,
        scope=Scope(tuple(body.scope.fields), tuple(body.scope.collections), tuple(body.scope.purposes)),
        details=body.details,
        follows=body.follows,
    )
    caller = data_subject_caller(me.tenant, request_id(call))
    verification = verification_of(services, me)

    async def run(on_commit: SaveResponse | None) -> Made_:
        await require_room(services, me, request_id(call))
        return await submit_request(
            services, caller, submission, subject=me.subject, verification=verification, on_commit=on_commit
        )

    return await respond_once(services, caller, call, _own(me, idempotency_key), "submit-request", run, submitted)


@router.get("/requests/{request}", response_model=bodies.MyRequest)
async def shown(call: Request, request: UUID, me: Me, services: ServicesDep) -> Response:
    """Show one of one's own requests, with what has happened to it."""
    mine = await my_request(services, me, request, request_id(call))
    return json_response({**_told(services, me, mine.request), "history": [_moved(each) for each in mine.history]})


@router.post("/requests/{request}:cancel", response_model=bodies.MyRequest, responses=error_responses(409))
async def cancel(call: Request, request: UUID, me: Me, services: ServicesDep) -> Response:
    """Cancel one of one's own requests, before it is under way."""
    return json_response(_told(services, me, await cancel_mine(services, me, request, request_id(call))))


@router.post("/requests/{request}:verify", response_model=bodies.MyRequest, responses=error_responses(409))
async def verify(call: Request, request: UUID, me: Me, services: ServicesDep) -> Response:
    """Show that one's own request is one's own, by this session: for one that needed a fresher session than it had."""
    return json_response(_told(services, me, await verify_mine(services, me, request, request_id(call))))


@router.get(
    "/requests/{request}/package",
    response_class=Response,
    responses={200: {"description": "The package", "content": {ZIP: FILE}}, **error_responses(409, 410)},
)
async def package(call: Request, request: UUID, me: Me, services: ServicesDep) -> Response:
    """Get the package that answers one's own request; needs a session that is fresh."""
    return file_response(await fetch_mine(services, me, request, request_id(call)))


@router.post(
    "/requests/{request}/package:download",
    response_class=Response,
    responses={200: {"description": "The package, encrypted", "content": {AGE: FILE}}, **error_responses(409, 410)},
)
async def encrypted(call: Request, request: UUID, body: bodies.Passphrase, me: Me, services: ServicesDep) -> Response:
    """Get the same encrypted to a passphrase, as a file of `age`; needs a session that is fresh."""
    download = await fetch_mine(services, me, request, request_id(call), passphrase=body.passphrase)
    return file_response(download)


def _people(call: Request) -> People:
    people: People = call.app.state.people
    return people


def _told(services: Services, me: Session, made: Made) -> dict[str, Any]:
    policy_set = services.policies.active(me.tenant).policy_set
    level = None if made.verification is None else made.verification.level
    return {**told(services, policy_set, made, days_left(services, made), whole=False), "verified": level}


def _own(me: Session, key: str | None) -> str | None:
    """Make a person's idempotency key their own: to the vault, all people are one caller."""
    return hashlib.sha256(me.subject.bytes + key.encode()).hexdigest() if key else key


def _moved(event: Event) -> dict[str, Any]:
    """Tell what happened, and not which member of staff did it, nor what they noted."""
    return {"at": moment(event.at), "move": event.move, "state": event.after, "code": event.code}
