"""What routes share in the OpenAPI document: the base of request bodies, common parts, pages, files and errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.routing import APIRoute
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

from vault.http.problems import MEDIA_TYPE
from vault.names import parse_unique

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.responses import Response

JsonObject = dict[str, JsonValue]

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _require_rfc3339(value: object) -> object:
    """Refuse what is no time of RFC 3339: a number could be seconds or milliseconds, and other forms are guesses."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        return value
    raise PydanticCustomError("datetime_parsing", "a time is written by RFC 3339, such as 2026-03-05T12:00:00Z")


Instant = Annotated[AwareDatetime, BeforeValidator(_require_rfc3339)]
"""A point in time in a request."""


class Body(BaseModel):
    """The base of all request bodies. Unknown keys are errors, so that a typo is noticed."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


Purpose = Annotated[str, Field(max_length=64, description="A purpose of purposes.toml.", examples=["order-fulfilment"])]
Reason = Annotated[str, Field(max_length=500, description="One line; sealed under the person's own key.")]

Cursor = Annotated[str | None, Query(max_length=64, description="`next` of the previous page.")]
PageId = Annotated[UUID | None, Query(description="`next` of the previous page.")]
"""The cursor of a list that is ordered by the ids of its entries."""
Limit = Annotated[int, Query(ge=1, le=200)]

FILE: Final[dict[str, JsonValue]] = {"schema": {"type": "string", "format": "binary"}}
TEXT: Final[dict[str, JsonValue]] = {"schema": {"type": "string"}}
PROBLEM: Final[dict[str, JsonValue]] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}

ERRORS: Final = {
    401: "The caller is not authenticated",
    403: "Denied by policy or legal ground",
    404: "It does not exist, or the caller may not know that it does",
    410: "It existed and was removed",
    409: "It contradicts what is stored, or the same call is in progress",
    412: "The record has changed since it was read",
    413: "The body is too large",
    422: "The request is invalid",
    428: "The change does not state the revision on which it is based",
    429: "Too many requests",
    500: "Internal error, or a sealed value does not open",
    503: "The audit log, a database or the key store does not answer",
}
EVERYWHERE: Final = (401, 403, 404, 413, 422, 429, 500, 503)
"""Errors of every operation; 404 is one of them if no policies are in force."""


def error_responses(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Describe the errors of a route (RFC 9457)."""
    return {status: {"description": ERRORS[status], "content": PROBLEM} for status in statuses}


def router_of(tag: str, prefix: str) -> APIRouter:
    """Return a router for the operations of one tag; each of them also has the errors of every operation.

    The application takes its routes as they are: a router that is included has each of its routes analysed again.
    """
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        responses=error_responses(*EVERYWHERE),
        redirect_slashes=False,
        route_class=_UniqueNames,
    )


class _UniqueNames(APIRoute):
    """A route whose JSON bodies give each name of an object once."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of requests."""
        handle = super().get_route_handler()

        async def handle_unique(request: Request) -> Response:
            return await handle(_UniqueRequest(request.scope, request.receive))

        return handle_unique


class _UniqueRequest(Request):
    async def json(self) -> Any:
        """Parse the body."""
        return parse_unique(await self.body())
