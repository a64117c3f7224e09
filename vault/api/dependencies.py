"""Dependencies of routes: the services of the open vault, the caller, and writes under an idempotency key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPBearer
from starlette.responses import Response

from vault.access.idempotency import Answered, begin
from vault.context import Caller, Services
from vault.errors import Fault, InvalidInput
from vault.views import View

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse, WriteResult
    from vault.access.sign_in import SignIns
    from vault.audit.entry import Action


_described = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    description="An API key (`cdv_…`) or a JWT of the company's OIDC issuer.",
)
_REVISION = re.compile(r'"(\d{1,9})"')
BEARER = "bearer "
NO_REVISION = 0


async def signed_in(request: Request, _described: Annotated[Any, Security(_described)] = None) -> Caller:
    """Authenticate the caller. The second argument only describes the scheme in the OpenAPI document.

    Raises:
        NotAuthenticated: the bearer is missing or unknown.
    """
    sign_ins: SignIns = request.app.state.sign_ins
    return await sign_ins.sign_in(bearer_of(request), request.scope["request_id"])


def bearer_of(request: Request) -> str | None:
    """Return the bearer of a request, or None."""
    header = request.headers.get("authorization", "")
    return header[len(BEARER) :].strip() if header[: len(BEARER)].lower() == BEARER else None


def services_of(request: Request) -> Services:
    """Return the services of the open vault."""
    services: Services = request.app.state.services
    return services


CallerDep = Annotated[Caller, Depends(signed_in)]
ServicesDep = Annotated[Services, Depends(services_of)]


def revision_of(if_match: str | None) -> int | None:
    """Read the revision from ``If-Match`` (RFC 9110 §13.1.1).

    Returns:
        the revision. None if there is no header, or for ``*``, which would accept any revision. 0, which no record
        has, for a weak or foreign tag: it can match no record.

    Raises:
        InvalidInput: the header is not an entity tag.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    tag = _REVISION.fullmatch(if_match.strip())
    if tag is not None:
        return int(tag[1])
    if '"' in if_match:
        return NO_REVISION
    raise InvalidInput('If-Match takes an entity tag such as "3"', code="invalid-if-match")


def cursor_of(cursor: str | None) -> UUID | None:
    """Read the cursor of a page.

    Raises:
        InvalidInput: it is not the ``next`` of a page.
    """
    try:
        return None if cursor is None else UUID(hex=cursor)
    except ValueError:
        fault = Fault("/cursor", "invalid-cursor", "Pass the previous page's `next` value unchanged.")
        raise InvalidInput("The cursor is invalid.", faults=[fault], code="invalid-cursor") from None


T = TypeVar("T")

REPLAYED: Final = "Idempotent-Replayed"
"""The header of a response that was stored."""


class StoredResponse(NamedTuple):
    """The response to a write.

    Attributes:
        status: the HTTP status.
        body: a view, or JSON values.
        kept: the part of the body that may be stored under an idempotency key; by default all of it.
    """

    status: int
    body: View | dict[str, Any]
    kept: View | dict[str, Any] | None = None

    @property
    def to_keep(self) -> bytes:
        """Return the bytes to store: the body, or the part of it that may be in a database."""
        return _encoded(self.body if self.kept is None else self.kept)


def written_response(written: WriteResult) -> StoredResponse:
    """Return the response to a write: 201 for something new, else 200."""
    return StoredResponse(201 if written.created else 200, written)


async def respond_once(
    services: Services,
    caller: Caller,
    request: Request,
    key: str | None,
    action: Action,
    run: Callable[[SaveResponse | None], Awaitable[T]],
    respond: Callable[[T], StoredResponse] = written_response,  # type: ignore[assignment]
) -> Response:
    """Run a write. Under a key it runs once only, and each later call gets the response of the first."""
    if key is None:
        return _response(respond(await run(None)))
    route = f"{request.method} {request.url.path}"
    call = await begin(services, caller, key, route, await request.body(), action=action)
    if isinstance(call, Answered):
        body = msgspec.json.decode(call.answer)
        headers = {**_tag(body), REPLAYED: "true"}
        return Response(call.answer, call.status, headers, "application/json")

    async def keep(connection: AsyncConnection, written: T) -> None:
        response = respond(written)
        await call.keep(connection, response.status, response.to_keep)

    try:
        return _response(respond(await run(keep)))
    except BaseException:
        await call.give_up()
        raise


class IdempotentWrite:
    """A write of a route: it happens once under its idempotency key, however often the call is sent."""

    def __init__(
        self,
        request: Request,
        services: ServicesDep,
        caller: CallerDep,
        idempotency_key: Annotated[
            str | None, Header(max_length=200, description="Makes the call happen once, however often it is sent.")
        ] = None,
    ) -> None:
        self.request = request
        self.services = services
        self.caller = caller
        self._key = idempotency_key

    async def respond(
        self,
        action: Action,
        run: Callable[[SaveResponse | None], Awaitable[T]],
        respond: Callable[[T], StoredResponse] = written_response,  # type: ignore[assignment]
    ) -> Response:
        """Run the write, or repeat the response of the first call; see :func:`respond_once`."""
        return await respond_once(self.services, self.caller, self.request, self._key, action, run, respond)


WriteDep = Annotated[IdempotentWrite, Depends()]


def _response(response: StoredResponse) -> Response:
    return Response(_encoded(response.body), response.status, _tag(response.body), "application/json")


def _encoded(body: View | dict[str, Any]) -> bytes:
    return body.model_dump_json().encode() if isinstance(body, View) else msgspec.json.encode(body)


def _tag(body: View | dict[str, Any]) -> dict[str, str]:
    """Return the entity tag header, if the body has a revision."""
    revision = getattr(body, "revision", None) if isinstance(body, View) else body.get("revision")
    return {} if revision is None else {"ETag": f'"{revision}"'}
