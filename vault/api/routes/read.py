"""``POST /v1/read``, the hot route.

It is plain ASGI in front of FastAPI: routing, dependencies and body models would cost more than everything that a read
does. The OpenAPI document describes it by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import msgspec
from pydantic import ConfigDict, Field, JsonValue
from starlette.requests import ClientDisconnect, Request

from vault.api.dependencies import BEARER
from vault.api.schemas import EVERYWHERE, Body, Purpose, error_responses
from vault.errors import InvalidInput, VaultError
from vault.http.body_faults import from_decoder, require_unique
from vault.http.metrics import count_shown
from vault.http.problems import from_anything, from_vault_error
from vault.ids import SubjectId
from vault.records.read import LONGEST_REASON, MOST_FIELDS, MOST_SUBJECTS, read_fields

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from vault.access.callers import SignIns
    from vault.context import Caller, Services

PATH: Final = "/v1/read"
_BEARER: Final = BEARER.encode()
_encode = msgspec.json.Encoder().encode


EXAMPLE: JsonValue = {
    "subject": "0199aaaa-aaaa-7aaa-8aaa-aaaaaaaaaaaa",
    "fields": ["email", "birth_date.over_18"],
    "purpose": "order-fulfilment",
    "reason": "order 4711",
}

FieldsToRead = Annotated[
    list[Annotated[str, Field(max_length=200)]],
    Field(min_length=1, max_length=MOST_FIELDS, description="Names of fields and views, each once."),
]
Reason = Annotated[
    str | None, Field(max_length=LONGEST_REASON, description="Free text for the audit log; it is stored sealed.")
]


class ReadRequest(Body):
    """Fields of one subject to read for a purpose."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    subject: UUID
    fields: FieldsToRead
    purpose: Purpose
    reason: Reason = None


class BatchReadRequest(Body):
    """Fields of several subjects to read for a purpose."""

    subjects: Annotated[list[UUID], Field(min_length=1, max_length=MOST_SUBJECTS)]
    fields: FieldsToRead
    purpose: Purpose
    reason: Reason = None


class ReadBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body: a :class:`ReadRequest` or a :class:`BatchReadRequest`."""

    fields: list[str]
    purpose: str
    subject: SubjectId | None = None
    subjects: list[SubjectId] | None = None
    reason: str | None = None


_decode = msgspec.json.Decoder(ReadBody).decode


class HotRoute:
    """Answers ``POST /v1/read`` and passes all other requests on.

    Args:
        app: the FastAPI application.
        services: the services of the vault.
        sign_ins: authenticates callers.
    """

    def __init__(self, app: ASGIApp, services: Services, sign_ins: SignIns) -> None:
        self._app = app
        self._services = services
        self._sign_ins = sign_ins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request or pass it on."""
        if scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route_template"] = PATH
        try:
            body = await self._read(scope, receive)
        except VaultError as error:
            response = await from_vault_error(Request(scope), error)
            await response(scope, receive, send)
        except ClientDisconnect:
            return  # there is no one to answer
        except Exception as error:  # noqa: BLE001 - the server's own error page could repeat the input
            response = await from_anything(Request(scope), error)
            await response(scope, receive, send)
        else:
            length = str(len(body)).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", length)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        caller = await self._caller(scope)
        request = _parse(await _body(receive))
        subjects = _subjects(request)
        answer = await read_fields(
            self._services,
            caller,
            subjects=subjects,
            fields=request.fields,
            purpose=request.purpose,
            reason=request.reason,
        )
        results = answer.results
        count_shown(len(results) * len(request.fields), [result.denied for result in results if result.denied])
        if request.subjects is not None:
            return _encode({"results": results, "audit": answer.audit})
        (one,) = results
        return _encode({"subject": one.subject, "fields": one.values, "denied": one.denied, "audit": answer.audit})

    async def _caller(self, scope: Scope) -> Caller:
        for name, value in scope["headers"]:
            if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
                bearer = value[len(_BEARER) :].decode("latin-1").strip()
                return await self._sign_ins.sign_in(bearer, scope["request_id"])
        return await self._sign_ins.sign_in(None, scope["request_id"])


async def _body(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        return bytes(message.get("body", b""))  # the common case: the body is one message
    parts = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise ClientDisconnect


def _parse(body: bytes) -> ReadBody:
    try:
        request = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise from_decoder(error, body, ReadBody.__struct_fields__) from None
    if body.count(b'"') != _quotes(request):  # a name may be there twice, or a text has a quote in it
        require_unique(body)
    return request


def _quotes(request: ReadBody) -> int:
    """Return how many quotes a body with these parts has: those of the names, and those of the texts."""
    texts = 1 + len(request.fields)
    names = 2
    for part in (request.subject, request.reason):
        if part is not None:
            names, texts = names + 1, texts + 1
    if request.subjects is not None:
        names, texts = names + 1, texts + len(request.subjects)
    return 2 * (names + texts)


def _subjects(request: ReadBody) -> list[SubjectId]:
    if request.subjects is None and request.subject is not None:
        return [request.subject]
    if request.subjects is not None and request.subject is None:
        return request.subjects
    raise InvalidInput("Name either one `subject` or several `subjects`.", code="invalid-body")


def openapi_operation() -> dict[str, object]:
    """Return the operation of the OpenAPI document, which FastAPI writes for all other routes itself."""
    return {
        "tags": ["reading"],
        "summary": "Read fields of one subject, or of up to 1,000, for a purpose",
        "operationId": "readFields",
        "security": [{"bearer": []}],
        "requestBody": {"required": True, "content": _one_of("ReadRequest", "BatchReadRequest")},
        "responses": {
            "200": {
                "description": "The values that may be shown, and why the others may not",
                "content": _one_of("ReadResult", "BatchReadResult"),
            },
            **{str(status): response for status, response in error_responses(*EVERYWHERE).items()},
        },
    }


def _one_of(*names: str) -> dict[str, object]:
    return {"application/json": {"schema": {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in names]}}}
