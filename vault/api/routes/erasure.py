"""Erasures: what one would do, what is kept from it, how far it is, and the certificate at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from vault.api.dependencies import Rooms, SignedIn
from vault.api.responses import answer, moment, refusals
from vault.api.schemas import erasure as bodies
from vault.catalogue.model import Scope
from vault.erasure.claims import keep_for_claims
from vault.erasure.query import list_erasures, preview_erasure, read_certificate
from vault.ids import SubjectId

if TYPE_CHECKING:
    from vault.context import Caller, House
    from vault.erasure.query import Preview
    from vault.lifecycle.erasures import Erasure

router = APIRouter(prefix="/v1", tags=["erasure"])


@router.get("/subjects/{subject}/erasure:preview", response_model=bodies.Preview)
async def preview(subject: UUID, house: Rooms, caller: SignedIn) -> Response:
    """Tell what the erasure of a person would take, and what it would keep, on which ground and until when."""
    return _previewed(house, caller, await preview_erasure(house, caller, SubjectId(subject)))


@router.post("/subjects/{subject}/erasure:preview", response_model=bodies.Preview)
async def preview_part(subject: UUID, body: bodies.PreviewAsk, house: Rooms, caller: SignedIn) -> Response:
    """Tell the same of an erasure of fields, collections or purposes, or of the one that a request asks for."""
    scope = Scope(body.fields, body.collections, body.purposes)
    found = await preview_erasure(house, caller, SubjectId(subject), scope, request=body.request)
    return _previewed(house, caller, found)


@router.post("/requests/{request}/grounds", status_code=201, response_model=bodies.Grounded, responses=refusals(409))
async def ground(request: UUID, body: bodies.NewGround, house: Rooms, caller: SignedIn) -> Response:
    """Keep fields or collections from the erasure that a request asks for, because legal claims are open."""
    await keep_for_claims(house, caller, request, names=body.names, until=body.until, reason=body.reason)
    return answer({"request": request}, status=201)


@router.get("/requests/{request}/certificate", response_model=bodies.Certificate, responses=refusals(409))
async def certificate(request: UUID, house: Rooms, caller: SignedIn) -> Response:
    """Hand out the signed certificate of the erasure that carried a request out."""
    return answer(await read_certificate(house, caller, request))


@router.get("/erasures", response_model=bodies.Erasures)
async def erasures(
    house: Rooms,
    caller: SignedIn,
    before: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List erasures, the newest first."""
    page = await list_erasures(house, caller, before=before, limit=limit)
    return answer({"erasures": [_told(each) for each in page.erasures], "next": page.next})


def _previewed(house: House, caller: Caller, found: Preview) -> Response:
    purposes = house.policies.active(caller.tenant).policy_set.purposes
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
    return answer(
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
