"""``POST /v1/read``: the main job, and the one hot route. It decodes its own body; the document still describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from vault.api.answers import answer
from vault.api.doors import caller_of, house_of
from vault.api.metrics import count_shown
from vault.api.problems import from_decoder
from vault.errors import InvalidInput
from vault.operations.read_fields import read_fields

if TYPE_CHECKING:
    from starlette.requests import Request

PATH = "/v1/read"


class ReadAsk(msgspec.Struct, forbid_unknown_fields=True):
    """Which fields of whom, and what for."""

    fields: list[str]
    purpose: str
    subject: UUID | None = None
    subjects: list[UUID] | None = None
    reason: str | None = None


_decoder = msgspec.json.Decoder(ReadAsk)


async def read(request: Request) -> Response:
    """Read fields of one subject or of up to 1,000."""
    request.scope["route"] = route  # for the figures; a plain Starlette route does not say so by itself
    caller = await caller_of(request)
    try:
        ask = _decoder.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise from_decoder(error) from None
    if (ask.subject is None) == (ask.subjects is None):
        raise InvalidInput("name either one `subject` or several `subjects`", code="invalid-body")
    subjects = [ask.subject] if ask.subjects is None else ask.subjects
    done = await read_fields(
        house_of(request),
        caller,
        subjects=subjects,  # type: ignore[arg-type]
        fields=ask.fields,
        purpose=ask.purpose,
        reason=ask.reason,
    )
    results = []
    for each in done.results:
        count_shown(each)
        results.append({"subject": each.subject, "fields": each.fields, "denied": each.denied})
    if ask.subjects is None:
        return answer({**results[0], "audit": done.audit})
    return answer({"results": results, "audit": done.audit})


route = Route(PATH, read, methods=["POST"])


def described() -> dict[str, Any]:
    """Describe the route for the OpenAPI document, which FastAPI writes for all others by itself."""
    one = {
        "subject": "0199aaaa-aaaa-7aaa-8aaa-aaaaaaaaaaaa",
        "fields": ["email", "birth_date.over_18"],
        "purpose": "order-fulfilment",
        "reason": "order 4711",
    }
    names = {"type": "array", "items": {"type": "string", "maxLength": 200}, "minItems": 1, "maxItems": 200}
    identifier = {"type": "string", "format": "uuid"}
    ask = {
        "type": "object",
        "required": ["fields", "purpose"],
        "additionalProperties": False,
        "properties": {
            "subject": identifier,
            "subjects": {"type": "array", "items": identifier, "minItems": 1, "maxItems": 1000},
            "fields": names,
            "purpose": {"type": "string", "maxLength": 64},
            "reason": {"type": "string", "maxLength": 500},
        },
        "oneOf": [{"required": ["subject"]}, {"required": ["subjects"]}],
        "examples": [one],
    }
    result = {"$ref": "#/components/schemas/ReadResult"}
    several = {
        "type": "object",
        "required": ["results", "audit"],
        "properties": {"results": {"type": "array", "items": result}, "audit": identifier},
    }
    return {
        "tags": ["reading"],
        "summary": "Read fields of one subject, or of up to 1,000, for a purpose",
        "operationId": "read",
        "security": [{"bearer": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": ask}}},
        "responses": {
            "200": {
                "description": "What may be shown, and why the rest may not",
                "content": {"application/json": {"schema": {"oneOf": [result, several]}}},
            }
        },
    }
