"""Verify who submitted a request: a one-time code, an app that vouches, or evidence that staff note."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Response

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.responses import error_responses, json_response
from vault.api.schemas import identity as bodies
from vault.errors import Fault, InvalidInput
from vault.identity.verify import SentCode, VerifiedRequest, note_evidence, send_code, verify_by_code, vouch

router = APIRouter(prefix="/v1", tags=["requests"])


@router.post(
    "/requests/{request}:verify",
    response_model=VerifiedRequest,
    responses={202: {"description": "A code was requested", "model": SentCode}, **error_responses(409)},
    operation_id="verifyRequest",
)
async def verify(
    request: UUID, body: bodies.Verify, services: ServicesDep, caller: CallerDep
) -> VerifiedRequest | Response:
    """Verify a request, in one of four ways; it has no effect before.

    The answer to `send_code` is 202, and does not reveal whether there is such a person.
    """
    given = body.model_dump(exclude_none=True)
    if given.keys() == {"send_code"}:
        return json_response(await send_code(services, caller, request), 202)
    if body.code_id is not None and body.code is not None and len(given) == 2:
        verified = await verify_by_code(services, caller, request, body.code_id, body.code)
    elif body.vouch is not None and len(given) == 1:
        verified = await vouch(services, caller, request, body.vouch.level, body.vouch.evidence)
    elif body.evidence is not None and len(given) == 1:
        verified = await note_evidence(services, caller, request, body.evidence)
    else:
        fault = Fault("", "invalid-verification", "One of: send_code; code_id with code; vouch; evidence.")
        raise InvalidInput("a request is verified in one way at a time", faults=[fault], code=fault.code)
    return VerifiedRequest.of(verified)
