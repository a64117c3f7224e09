"""Consents that were given elsewhere, many at once."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from vault.api.answers import answer
from vault.api.doors import Rooms, SignedIn
from vault.api.schemas import common as bodies
from vault.consent.validation import Said
from vault.errors import Fault, InvalidInput
from vault.http.problems import from_decoder
from vault.ids import SubjectId
from vault.imports.call import import_consents
from vault.imports.consents import MOST, Result, Told

router = APIRouter(prefix="/v1", tags=["consents"])

NDJSON = "application/x-ndjson"
_array = msgspec.json.Decoder(list[msgspec.Raw])


class Item(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What somebody said elsewhere, as it comes in."""

    purpose: str
    decision: str
    occurred_at: datetime
    subject: UUID | None = None
    system: str | None = None
    external_id: str | None = None
    notice: str | None = None
    language: str | None = None
    channel: str | None = None
    method: str | None = None
    by: str = "subject"
    evidence: str | None = None
    jurisdiction: str | None = None
    valid_until: datetime | None = None


_item = msgspec.json.Decoder(Item)


class ImportedItem(BaseModel):
    """What became of an item: its event, or what is wrong with it."""

    id: UUID | None = None
    state: Annotated[str | None, Field(description="`written`, or `there` where it was imported before.")] = None
    errors: list[bodies.Fault] | None = None


class Imported(BaseModel):
    """What became of each item, in the order in which they came."""

    results: list[ImportedItem]
    written: int
    there: int
    refused: int
    audit: UUID | None


@router.post(
    "/consents:import",
    response_model=Imported,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"type": "array", "maxItems": MOST, "items": {"type": "object"}}},
                NDJSON: {"schema": {"type": "string"}},
            },
        }
    },
)
async def bring_in(
    request: Request,
    house: Rooms,
    caller: SignedIn,
    source: Annotated[str | None, Query(max_length=64, description="The system from which they come.")] = None,
) -> Response:
    """Import up to 1,000 consents, refusals, withdrawals and objections, as an array or as lines (NDJSON).

    A yes never outweighs a no that is there, and what was imported before is not written twice.
    """
    body = await request.body()
    lines = request.headers.get("content-type", "").partition(";")[0].strip() == NDJSON
    items = [_read(each) for each in (body.splitlines() if lines else _elements(body)) if bytes(each).strip()]
    brought = await import_consents(house, caller, items, source=source)
    results = [_told(each) for each in brought.results]
    counted = [each.get("state", "refused") for each in results]
    counts = {name: counted.count(name) for name in ("written", "there", "refused")}
    return answer({"results": results, **counts, "audit": brought.audit})


def _elements(body: bytes) -> list[Any]:
    try:
        return list(_array.decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise from_decoder(error) from None


def _read(raw: Any) -> Told | Fault:
    try:
        item = _item.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _fault(from_decoder(error))
    if (item.subject is None) == (item.system is None or item.external_id is None):
        return Fault("", "no-external-id", "Say whom it is about: by `subject`, or by `system` and `external_id`.")
    said = Said(**{name: getattr(item, name) for name in Said._fields})
    if item.subject is not None:
        return Told(SubjectId(item.subject), None, said)
    return Told(None, (item.system or "", item.external_id or ""), said)


def _fault(error: InvalidInput) -> Fault:
    return error.faults[0]


def _told(result: Result) -> dict[str, Any]:
    if result.faults:
        return {"errors": list(result.faults)}
    return {"id": result.event, "state": "written" if result.is_new else "there"}
