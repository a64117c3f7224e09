"""Erasures: what one would do, what is kept from it, how far it is, and the certificate at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.responses import error_responses, json_response, moment
from vault.api.schemas import erasure as bodies
from vault.catalogue.model import Scope
from vault.erasure.claims import keep_for_claims
from vault.erasure.query import list_erasures, preview_erasure, read_certificate
from vault.ids import SubjectId

if TYPE_CHECKING:
    from vault.context import Caller, Services
    from vault.erasure.query import Preview
    from vault.lifecycle.erasures import Erasure

router = APIRouter(prefix="/v1", tags=["erasure"])


@router.get("/subjects/{subject}/erasure:preview", response_model=bodies.Preview)
async def preview(subject: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Tell what the erasure of a person would take, and what it would keep, on which ground and until when."""
    return _previewed(services, caller, await preview_erasure(services, caller, SubjectId(subject)))


@router.post("/subjects/{subject}/erasure:preview", response_model=bodies.Preview)
async def preview_part(subject: UUID, body: bodies.PreviewAsk, services: ServicesDep, caller: CallerDep) -> Response:
    """Tell the same of an erasure of fields, collections or purposes, or of the one that a request asks for."""
    scope = Scope(body.fields, body.collections, body.purposes)
    found = await preview_erasure(services, caller, SubjectId(subject), scope, request=body.request)
    return _previewed(services, caller, found)


@router.post(
    "/requests/{request}/grounds", status_code=201, response_model=bodies.Grounded, responses=error_responses(409)
)
async def ground(request: UUID, body: bodies.NewGround, services: ServicesDep, caller: CallerDep) -> Response:
    """Keep fields or collections from the erasure that a request asks for, because legal claims are open."""
    await keep_for_claims(services, caller, request, names=body.names, until=body.until, reason=body.reason)
    return json_response({"request": request}, status=201)


@router.get("/requests/{request}/certificate", response_model=bodies.Certificate, responses=error_responses(409))
async def certificate(request: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Hand out the signed certificate of the erasure that carried a request out."""
    return json_response(await read_certificate(services, caller, request))


@router.get("/erasures", response_model=bodies.Erasures)
async def erasures(
    services: ServicesDep,
    caller: CallerDep,
    before: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List erasures, the newest first."""
    page = await list_erasures(services, caller, before=before, limit=limit)
    return json_response({"erasures": [_told(each) for each in page.erasures], "next": page.next})


def _previewed(services: Services, caller: Caller, found: Preview) -> Response:
    purposes = services.policies.active(caller.tenant).policy_set.purposes
    kept = []
    for line in found.lines:
        if line.ground is not None:
            purpose = purposes.get(line.purpose or "")
            law = None if purpose is None else purpose.law
            kept.append(
                {"field": line.field, "records": line.records, "ground": line.ground, "article": line.article}
                | {"purpose": line.purpose, "law": law, "until": line.until}
            )
    erased = [{"field": line.field, "records": line.records} for line in found.lines if line.ground is None]
    return json_response(
        {"subject": found.subject, "becomes": found.becomes, "erased": erased, "kept": kept, "audit": found.audit}
    )


def _told(erasure: Erasure) -> dict[str, Any]:
    return {
        "id": erasure.id,
        "request": erasure.request,
        "subject": erasure.subject,
        "state": erasure.state,
        "started_at": moment(erasure.started_at),
        "finished_at": moment(erasure.finished_at),
    }
