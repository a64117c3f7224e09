"""What routes need of the request: the open vault, and who calls.

Answer a write, under an idempotency key where there is one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar

import msgspec
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from starlette.responses import Response

from vault.access.idempotency import Answered, begin
from vault.context import Caller, Services
from vault.errors import InvalidInput
from vault.views import View

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse, Written
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
    """Find out who calls; the second argument only describes the scheme in the OpenAPI document.

    Raises:
        NotAuthenticated: the bearer stands for nobody, or there is none.
    """
    sign_ins: SignIns = request.app.state.sign_ins
    return await sign_ins.sign_in(bearer_of(request), request.scope["request_id"])


def bearer_of(request: Request) -> str | None:
    """Read the bearer of a request; none where it has none."""
    header = request.headers.get("authorization", "")
    return header[len(BEARER) :].strip() if header[: len(BEARER)].lower() == BEARER else None


def services_of(request: Request) -> Services:
    """Return the rooms of the open vault."""
    services: Services = request.app.state.services
    return services


CallerDep = Annotated[Caller, Depends(signed_in)]
ServicesDep = Annotated[Services, Depends(services_of)]


def revision_of(if_match: str | None) -> int | None:
    """Read the revision from ``If-Match`` (RFC 9110 §13.1.1).

    Returns:
        the revision; none where none is stated, or ``*``, which would say that any revision will do; and 0, which no
        record has, for a weak or foreign tag: none of ours can match it.

    Raises:
        InvalidInput: no entity tag at all.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    found = _REVISION.fullmatch(if_match.strip())
    if found is not None:
        return int(found[1])
    if '"' in if_match:
        return NO_REVISION
    raise InvalidInput('If-Match takes an entity tag such as "3"', code="invalid-if-match")


T = TypeVar("T")

REPLAYED: Final = "Idempotent-Replayed"
"""The header of an answer that was kept."""


class StoredResponse(NamedTuple):
    """The response to a write.

    Attributes:
        status: the HTTP status.
        body: a view, or JSON values.
        kept: the part of the body that may be stored under an idempotency key; none: all of it.
    """

    status: int
    body: View | dict[str, Any]
    kept: View | dict[str, Any] | None = None

    @property
    def to_keep(self) -> bytes:
        """Return the bytes to store: the body, or the part of it that may be in a database."""
        return _encoded(self.body if self.kept is None else self.kept)


def written_response(written: Written) -> StoredResponse:
    """Tell the id and revision of what was written."""
    return StoredResponse(201 if written.created else 200, {"id": written.id, "revision": written.revision})


async def respond_once(
    services: Services,
    caller: Caller,
    request: Request,
    key: str | None,
    action: Action,
    run: Callable[[SaveResponse | None], Awaitable[T]],
    tell: Callable[[T], StoredResponse] = written_response,  # type: ignore[assignment]
) -> Response:
    """Run a write; under a key, only the first time, and answer every time what the first was answered."""
    if key is None:
        return _response(tell(await run(None)))
    route = f"{request.method} {request.url.path}"
    call = await begin(services, caller, key, route, await request.body(), action=action)
    if isinstance(call, Answered):
        body = msgspec.json.decode(call.answer)
        headers = {**_tag(body), REPLAYED: "true"}
        return Response(call.answer, call.status, headers, "application/json")

    async def keep(connection: AsyncConnection, written: T) -> None:
        told = tell(written)
        await call.keep(connection, told.status, told.to_keep)

    try:
        return _response(tell(await run(keep)))
    except BaseException:
        await call.give_up()
        raise


def _response(response: StoredResponse) -> Response:
    return Response(_encoded(response.body), response.status, _tag(response.body), "application/json")


def _encoded(body: View | dict[str, Any]) -> bytes:
    return body.model_dump_json().encode() if isinstance(body, View) else msgspec.json.encode(body)


def _tag(body: View | dict[str, Any]) -> dict[str, str]:
    """Return the entity tag header, if the body has a revision."""
    revision = getattr(body, "revision", None) if isinstance(body, View) else body.get("revision")
    return {} if revision is None else {"ETag": f'"{revision}"'}
