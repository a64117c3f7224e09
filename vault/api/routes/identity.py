"""Who made a request: a code that came by letter, an app that vouches, or evidence that staff note."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from fastapi import APIRouter, Response

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.responses import error_responses, json_response, moment
from vault.api.schemas import identity as bodies
from vault.errors import Fault, InvalidInput
from vault.identity.verify import note_evidence, send_code, verify_by_code, vouch

if TYPE_CHECKING:
    from vault.requests.model import Request as Verified

router = APIRouter(prefix="/v1", tags=["requests"])


@router.post(
    "/requests/{request}:verify",
    response_model=bodies.Verified,
    responses={202: {"description": "A code was asked for", "model": bodies.CodeSent}, **error_responses(409)},
)
async def verify(request: UUID, body: bodies.Verify, services: ServicesDep, caller: CallerDep) -> Response:
    """Verify a request, in one of four ways; until then it changes nothing.

    `send_code` is answered 202 and alike whether or not there is such a person.
    """
    given = body.model_dump(exclude_none=True)
    if given.keys() == {"send_code"}:
        issued = await send_code(services, caller, request)
        return json_response({"code_id": issued.id, "expires_at": moment(issued.expires_at)}, 202)
    if body.code_id is not None and body.code is not None and len(given) == 2:
        return _told(await verify_by_code(services, caller, request, body.code_id, body.code))
    if body.vouch is not None and len(given) == 1:
        return _told(await vouch(services, caller, request, body.vouch.level, body.vouch.evidence))
    if body.evidence is not None and len(given) == 1:
        return _told(await note_evidence(services, caller, request, body.evidence))
    fault = Fault("", "invalid-verification", "One of: send_code; code_id with code; vouch; evidence.")
    raise InvalidInput("a request is verified in one way at a time", faults=[fault], code=fault.code)


def _told(verified: Verified) -> Response:
    level = None if verified.verification is None else verified.verification.level
    return json_response({"id": verified.id, "state": verified.state, "due": verified.due.on, "level": level})
