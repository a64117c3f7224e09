"""A person and their own data: sign in with a one-time code, make requests, and download packages."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

from fastapi import Depends, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import Field

from vault.access.recording import SaveResponse, audited, begin_once
from vault.api.dependencies import BY_ADDRESS, IdempotencyKey, IdempotentWrite, ServicesDep, bearer_of, file_response
from vault.api.routes.requests import Code, Identity, Jurisdiction, LegalRegime, Scope
from vault.api.schemas import FILE, Body, error_responses, router_of
from vault.catalogue.company import KindName
from vault.context import Caller, Services
from vault.export.download import AGE, ZIP
from vault.http.problems import request_id
from vault.identity.self_service import (
    MyRequest,
    MyRequestList,
    MyRequestWithHistory,
    cancel_mine,
    fetch_mine,
    my_request,
    my_requests,
    verification_of,
    verify_mine,
)
from vault.identity.sessions import OpenedSession, Session, SessionCode, require_room
from vault.ids import TenantId
from vault.requests.submit import Submission, submit_request
from vault.requests.views import SubmittedRequest

if TYPE_CHECKING:
    from vault.identity.sessions import People

router = router_of("me", prefix="/v1/me")

CHANNEL: Final = "self-service"
OPEN: Final[dict[str, object]] = {"security": []}
Language = Annotated[str | None, Field(max_length=10, description="Of the letter.", examples=["de"])]
_described = HTTPBearer(
    auto_error=False, scheme_name="session", description="The token of a person's own session (`cdvs_…`)."
)


class SignIn(Body):
    """A person who wants to sign in."""

    identity: Identity
    tenant: Annotated[str, Field(max_length=64, description="The controller, if the vault has several.")] = "default"
    language: Language = None


class Open(Body):
    """The code from the letter."""

    session: UUID
    code: Code


class MyNewRequest(Body):
    """A person's own request."""

    kind: KindName
    regime: LegalRegime = "gdpr"
    jurisdiction: Jurisdiction = None
    language: Language = None
    scope: Scope = Scope()
    details: Annotated[
        dict[str, object] | None, Field(max_length=50, description="As for `POST /v1/requests`; sealed.")
    ] = None
    follows: Annotated[UUID | None, Field(description="An earlier request that this one continues.")] = None


class Passphrase(Body):
    """The passphrase to which a package is encrypted."""

    passphrase: Annotated[str, Field(max_length=2_000, examples=["correct horse battery staple"])]


async def person(
    call: Request, _described: Annotated[HTTPAuthorizationCredentials | None, Security(_described)] = None
) -> Session:
    """Return the session of the person who calls.

    Raises:
        NotAuthenticated: there is no bearer token, or it belongs to no session.
    """
    return await _people(call).sign_in(bearer_of(call), request_id(call))


Me = Annotated[Session, Depends(person)]


@router.post(
    "/sessions",
    status_code=202,
    responses=error_responses(409),
    openapi_extra=OPEN,
    operation_id="requestSessionCode",
    dependencies=BY_ADDRESS,
)
async def request_code(call: Request, body: SignIn) -> SessionCode:
    """Send a code to a contact of the person that the vault holds. The answer does not reveal whether there is one."""
    identity = body.identity.model_dump(exclude_none=True)
    return await _people(call).ask(TenantId(body.tenant), identity, body.language, request_id(call))


@router.post(
    "/sessions:verify", status_code=201, openapi_extra=OPEN, operation_id="openSession", dependencies=BY_ADDRESS
)
async def open_session(call: Request, body: Open) -> OpenedSession:
    """Open a session with the code. It lasts 30 minutes, and is fresh for the first ten."""
    return await _people(call).enter(body.session, body.code, request_id(call))


@router.delete("/session", status_code=204, operation_id="closeSession")
async def close(call: Request, me: Me) -> Response:
    """Sign out."""
    await _people(call).sign_out(me)
    return Response(status_code=204)


@router.get("/requests", operation_id="listMyRequests")
async def list_mine(me: Me, services: ServicesDep) -> MyRequestList:
    """List the person's own requests, newest first."""
    return await my_requests(services, me)


@router.post(
    "/requests",
    status_code=201,
    response_model=SubmittedRequest,
    responses=error_responses(409),
    operation_id="submitMyRequest",
)
async def submit(
    call: Request, body: MyNewRequest, me: Me, services: ServicesDep, idempotency_key: IdempotencyKey = None
) -> Response:
    """Submit a request, verified by the session. Erasure and rectification need a fresh session for that."""
    submission = Submission(
        kind=body.kind,
        subject=me.subject,
        regime=body.regime,
        jurisdiction=body.jurisdiction,
        language=body.language,
        channel=CHANNEL,
        scope=body.scope.of_catalogue(),
        details=body.details,
        follows=body.follows,
    )
    verification = verification_of(services, me)
    # All data subjects share one principal, so the key is bound to the person.
    key = idempotency_key and hashlib.sha256(me.subject.bytes + idempotency_key.encode()).hexdigest()

    @audited("submit-request")
    async def submit_if_room(
        services: Services, caller: Caller, *, on_commit: SaveResponse | None = None
    ) -> SubmittedRequest:
        await begin_once(on_commit)  # the replay of a request takes no room
        await require_room(services, me)
        return await submit_request(services, caller, submission, verification=verification, on_commit=on_commit)

    return await IdempotentWrite(call, services, me.caller, key).once(submit_if_room)


@router.get("/requests/{request}", operation_id="getMyRequest")
async def show(request: UUID, me: Me, services: ServicesDep) -> MyRequestWithHistory:
    """Show one of the person's own requests, and what has happened to it."""
    return await my_request(services, me, request)


@router.post("/requests/{request}:cancel", responses=error_responses(409), operation_id="cancelMyRequest")
async def cancel(request: UUID, me: Me, services: ServicesDep) -> MyRequest:
    """Cancel one of the person's own requests, before it is in progress."""
    return await cancel_mine(services, me, request)


@router.post("/requests/{request}:verify", responses=error_responses(409), operation_id="verifyMyRequest")
async def verify(request: UUID, me: Me, services: ServicesDep) -> MyRequest:
    """Verify one of the person's own requests by this session, if it needed a fresher one than it was submitted in."""
    return await verify_mine(services, me, request)


@router.get(
    "/requests/{request}/package",
    response_class=Response,
    responses={200: {"description": "The package", "content": {ZIP: FILE}}, **error_responses(409, 410)},
    operation_id="downloadMyPackage",
)
async def download(request: UUID, me: Me, services: ServicesDep) -> Response:
    """Download the package that answers one of the person's own requests; needs a fresh session."""
    return file_response(await fetch_mine(services, me, request))


@router.post(
    "/requests/{request}/package:download",
    response_class=Response,
    responses={200: {"description": "The package, encrypted", "content": {AGE: FILE}}, **error_responses(409, 410)},
    operation_id="downloadMyEncryptedPackage",
)
async def download_encrypted(request: UUID, body: Passphrase, me: Me, services: ServicesDep) -> Response:
    """Download the package encrypted to a passphrase, as an `age` file; needs a fresh session."""
    package = await fetch_mine(services, me, request, passphrase=body.passphrase)
    return file_response(package)


def _people(call: Request) -> People:
    people: People = call.app.state.people
    return people
