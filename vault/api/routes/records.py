"""The records of a customer: interactions, purchases, complaints and whatever else the catalogue declares."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request, Response

from vault.access.recording import Keep, Written
from vault.api.answers import answer, moment
from vault.api.dependencies import once
from vault.api.doors import Rooms, SignedIn
from vault.api.responses import refusals
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas import common as bodies
from vault.errors import Fault, InvalidInput
from vault.http.metrics import count_shown
from vault.ids import RecordId, SubjectId
from vault.records.append import append_record
from vault.records.list import list_records

router = APIRouter(prefix="/v1", tags=["records"])


@router.post("/subjects/{subject}/records/{collection}:read", response_model=bodies.RecordPage)
async def read(subject: UUID, collection: str, body: bodies.RecordsAsk, house: Rooms, caller: SignedIn) -> Response:
    """List a collection's records, newest first; fields are named within it (`amount`) or whole."""
    page = await list_records(
        house,
        caller,
        SubjectId(subject),
        collection,
        fields=body.fields,
        purpose=body.purpose,
        before=_cursor(body.cursor),
        limit=body.limit,
    )
    asked = sum(len(each.fields) + len(each.denied) for each in page.records)
    count_shown(asked, [each.denied for each in page.records])
    results = [
        {
            "id": each.id,
            "revision": each.revision,
            "occurred_at": moment(each.occurred_at),
            "created_at": moment(each.created_at),
            "fields": each.fields,
            "denied": each.denied,
        }
        for each in page.records
    ]
    next_page = None if page.next is None else page.next.hex
    return answer({"results": results, "denied": page.denied, "next": next_page, "audit": page.audit})


@router.post(
    "/subjects/{subject}/records/{collection}",
    status_code=201,
    response_model=bodies.Written,
    responses={200: {"model": bodies.Written}, **refusals(409)},
)
async def append(
    request: Request,
    subject: UUID,
    collection: str,
    body: bodies.NewRecord,
    house: Rooms,
    caller: SignedIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Append a record; the same external id with the same values is the same record (200)."""

    async def run(keep: Keep | None) -> Written:
        return await append_record(
            house,
            caller,
            SubjectId(subject),
            collection,
            fields=body.fields,
            purpose=body.purpose,
            external_id=body.external_id,
            occurred_at=body.occurred_at,
            expires_at=body.expires_at,
            source=body.source,
            keep=keep,
        )

    return await once(house, caller, request, idempotency_key, "append", run)


def _cursor(cursor: str | None) -> RecordId | None:
    try:
        return None if cursor is None else RecordId(UUID(hex=cursor))
    except ValueError:
        fault = Fault("/cursor", "invalid-cursor", "Take `next` of the page before, unchanged.")
        raise InvalidInput("The cursor is none of ours.", faults=[fault], code="invalid-cursor") from None
