"""Erasures: what one would do, what is kept from it, how far it is, and the certificate at its end."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.responses import error_responses
from vault.api.schemas import erasure as bodies
from vault.catalogue.model import Scope
from vault.erasure.claims import keep_for_claims
from vault.erasure.query import list_erasures, preview_erasure, read_certificate
from vault.erasure.views import ErasureCertificate, ErasureList, ErasurePreview, KeptForClaims
from vault.ids import SubjectId

router = APIRouter(prefix="/v1", tags=["erasure"])


@router.get("/subjects/{subject}/erasure:preview", operation_id="previewErasure")
async def preview(subject: UUID, services: ServicesDep, caller: CallerDep) -> ErasurePreview:
    """Preview the erasure of a person: what it would erase, and what it would keep, on which ground and until when."""
    return await preview_erasure(services, caller, SubjectId(subject))


@router.post("/subjects/{subject}/erasure:preview", operation_id="previewPartialErasure")
async def preview_part(
    subject: UUID, body: bodies.PreviewErasure, services: ServicesDep, caller: CallerDep
) -> ErasurePreview:
    """Preview the erasure of fields, collections or purposes, or of what a request asks for."""
    scope = Scope(body.fields, body.collections, body.purposes)
    return await preview_erasure(services, caller, SubjectId(subject), scope, request=body.request)


@router.post(
    "/requests/{request}/grounds",
    status_code=201,
    responses=error_responses(409),
    operation_id="keepForLegalClaims",
)
async def keep(request: UUID, body: bodies.KeepForClaims, services: ServicesDep, caller: CallerDep) -> KeptForClaims:
    """Keep fields or collections from the erasure that a request asks for, because of open legal claims."""
    await keep_for_claims(services, caller, request, names=body.names, until=body.until, reason=body.reason)
    return KeptForClaims(request=request)


@router.get("/requests/{request}/certificate", responses=error_responses(409), operation_id="readErasureCertificate")
async def certificate(request: UUID, services: ServicesDep, caller: CallerDep) -> ErasureCertificate:
    """Return the signed certificate of the erasure that carried a request out."""
    return await read_certificate(services, caller, request)


@router.get("/erasures", operation_id="listErasures")
async def list_some(
    services: ServicesDep,
    caller: CallerDep,
    before: Annotated[UUID | None, Query(description="The previous page's `next`.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ErasureList:
    """List erasures, the newest first."""
    return await list_erasures(services, caller, before=before, limit=limit)
