"""``POST /v1/read``: the main job, and the one hot route.

It is plain ASGI, in front of the framework: routing, dependencies and body models cost more than everything that a
read does. The OpenAPI document describes it all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from starlette.requests import ClientDisconnect, Request

from vault.api.dependencies import BEARER
from vault.errors import InvalidInput, VaultError
from vault.http.metrics import count_shown
from vault.http.problems import from_anything, from_decoder, from_vault_error
from vault.records.read import read_fields

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from vault.access.sign_in import SignIns
    from vault.context import Caller, Services

PATH: Final = "/v1/read"
_BEARER: Final = BEARER.encode()
_encode = msgspec.json.Encoder().encode


class ReadAsk(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Which fields of whom, and what for."""

    fields: list[str]
    purpose: str
    subject: UUID | None = None
    subjects: list[UUID] | None = None
    reason: str | None = None


_decode = msgspec.json.Decoder(ReadAsk).decode


class HotRoute:
    """Answers ``POST /v1/read`` and lets everything else through.

    Args:
        app: the framework's application.
        sign_ins: who tells who calls.
    """

    def __init__(self, app: ASGIApp, services: Services, sign_ins: SignIns) -> None:
        self._app = app
        self._services = services
        self._sign_ins = sign_ins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
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
            return  # nobody is left to be answered
        except Exception as error:  # noqa: BLE001 - whatever it is must not reach the server's own words
            response = await from_anything(Request(scope), error)
            await response(scope, receive, send)
        else:
            length = str(len(body)).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", length)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        caller = await self._caller(scope)
        ask = _asked(await _body(receive))
        subjects: Any = [ask.subject] if ask.subjects is None else ask.subjects
        done = await read_fields(
            self._services, caller, subjects=subjects, fields=ask.fields, purpose=ask.purpose, reason=ask.reason
        )
        count_shown(len(done.results) * len(ask.fields), [each.denied for each in done.results if each.denied])
        if ask.subjects is not None:
            return _encode({"results": done.results, "audit": done.audit})
        (one,) = done.results
        return _encode({"subject": one.subject, "fields": one.values, "denied": one.denied, "audit": done.audit})

    async def _caller(self, scope: Scope) -> Caller:
        for name, value in scope["headers"]:
            if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
                bearer = value[len(_BEARER) :].decode("latin-1").strip()
                return await self._sign_ins.sign_in(bearer, scope["request_id"])
        return await self._sign_ins.sign_in(None, scope["request_id"])


async def _body(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        return bytes(message.get("body", b""))  # the common case: it came in one piece
    parts = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise ClientDisconnect


def _asked(body: bytes) -> ReadAsk:
    try:
        ask = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise from_decoder(error) from None
    if (ask.subject is None) == (ask.subjects is None):
        raise InvalidInput("Name either one `subject` or several `subjects`.", code="invalid-body")
    return ask


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
