"""The record of processing activities (Art. 30 GDPR)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import AwareDatetime

from vault.api.doors import Rooms, SignedIn
from vault.governance.forms import FORMS, MEDIA_TYPES, Form, write
from vault.governance.operations_processing_record import processing_record

router = APIRouter(prefix="/v1", tags=["processing"])

LONGEST_ACCEPT = 1000
TEXT: dict[str, Any] = {"schema": {"type": "string"}}


@router.get(
    "/processing-record",
    response_model=dict[str, Any],
    responses={200: {"content": {MEDIA_TYPES["csv"]: TEXT, MEDIA_TYPES["markdown"]: TEXT}}},
)
async def record(
    house: Rooms,
    caller: SignedIn,
    since: Annotated[AwareDatetime | None, Query(description="From when on; 365 days back by default.")] = None,
    form: Annotated[Form | None, Query(alias="format", description="Outweighs `Accept`.")] = None,
    accept: Annotated[str, Header(max_length=LONGEST_ACCEPT)] = "",
) -> Response:
    """Make the record of processing activities, from the policies in force and from what was really read."""
    made = await processing_record(house, caller, since=since)
    chosen = form or accepted(accept)
    headers = {"Content-Disposition": 'attachment; filename="processing-record.csv"'} if chosen == "csv" else None
    return Response(write(made, chosen), 200, headers, f"{MEDIA_TYPES[chosen]}; charset=utf-8")


def accepted(accept: str) -> Form:
    """Choose the form that a client likes best (RFC 9110 §12.5.1); JSON where it leaves that open, or wants none."""
    liked: dict[str, float] = {}
    for each in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in each.split(";"))
        liked[media_type] = next((_weight(part) for part in parameters if part.startswith("q=")), 1.0)
    # Of forms that are liked as well the first of FORMS, JSON.
    best = max(FORMS, key=lambda form: liked.get(MEDIA_TYPES[form], 0.0))
    anything = max(liked.get("*/*", 0.0), liked.get("application/*", 0.0))
    return best if liked.get(MEDIA_TYPES[best], 0.0) >= anything else "json"


def _weight(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0
