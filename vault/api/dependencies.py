"""What routes get and give: the open vault, the caller, writes under an idempotency key, responses."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING, Annotated, Concatenate, Final, Generic, NamedTuple, ParamSpec, TypeVar
from uuid import UUID

import msgspec
from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.responses import Response, StreamingResponse

from vault.access.idempotency import KeyedCall, Once
from vault.access.recording import AlreadyAnswered, take_call
from vault.context import Caller, Services
from vault.errors import Fault, InvalidInput
from vault.views import View

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fastapi.dependencies.models import Dependant
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.callers import SignIns
    from vault.export.download import Download
    from vault.http.addresses import Addresses


T = TypeVar("T")
P = ParamSpec("P")
ViewT = TypeVar("ViewT", bound=View)

BEARER: Final = "bearer "
KEY_HEADER: Final = "idempotency-key"
REPLAYED: Final = "Idempotent-Replayed"
"""The header of a response that was stored."""
READING: Final = frozenset(
    {
        "checkConsents",
        "downloadEncryptedPackage",
        "explainDecision",
        "findDuplicates",
        "listRecords",
        "previewPartialErasure",
        "searchSubjects",
        "testWebhook",
    }
)
"""The operations with a body that change nothing; they spend the budget of reads or searches."""
_COUNTED_BY_SIZE: Final = frozenset({"checkConsents", "findDuplicates", "listRecords", "searchSubjects", "testWebhook"})
"""Those of them that spend it themselves: as many reads as there are people or records, or a search."""
NO_REVISION: Final = 0
_REVISION: Final = re.compile(r'"([1-9][0-9]{0,8})"')
_described = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    description="An API key (`cdv_…`) or a JWT of the company's OIDC issuer.",
)


def bearer_of(request: Request) -> str | None:
    """Return the bearer of a request, or None."""
    header = request.headers.get("authorization", "")
    return header[len(BEARER) :].strip() if header[: len(BEARER)].lower() == BEARER else None


async def signed_in(
    request: Request, _described: Annotated[HTTPAuthorizationCredentials | None, Security(_described)] = None
) -> Caller:
    """Authenticate the caller. The second argument only describes the scheme in the OpenAPI document.

    Raises:
        NotAuthenticated: the bearer is missing or unknown.
        TooMany: the caller has used up its writes, or its reads, of this minute.
    """
    sign_ins: SignIns = request.app.state.sign_ins
    caller = await sign_ins.sign_in(bearer_of(request), request.scope["request_id"])
    operation = request.scope["route"].operation_id
    if request.method != "GET" and operation not in READING:
        await take_call(services_of(request), caller, "write")
    elif operation not in _COUNTED_BY_SIZE:  # whatever it answers leaves an audit entry
        await take_call(services_of(request), caller, "read")
    return caller


async def stranger(request: Request) -> None:
    """Count a call of a route that needs no sign-in.

    Raises:
        TooMany: its address has used up this minute. It leaves no audit entry: it must cost less than it prevents.
    """
    addresses: Addresses = request.app.state.strangers
    addresses.count(request.scope)


def services_of(request: Request) -> Services:
    """Return the services of the open vault."""
    services: Services = request.app.state.services
    return services


BY_ADDRESS: Final = [Depends(stranger)]
"""The dependencies of a route that needs no sign-in."""
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


def encoded(body: object) -> bytes:
    """Encode a view, a msgspec struct or JSON values; values of records in it are raw JSON, as they were sealed."""
    return body.model_dump_json().encode() if isinstance(body, View) else msgspec.json.encode(body)


def json_response(body: object, status: int = 200) -> Response:
    """Return a response, with an entity tag if the body is a view with a revision."""
    return Response(encoded(body), status, _tag(getattr(body, "revision", None)), "application/json")


def file_response(download: Download) -> StreamingResponse:
    """Send a package as a file to save, which no cache may keep.

    ``Content-Length`` is known before the first byte, so that a client notices a file that was cut off.
    """
    headers = {
        "Content-Length": str(download.size),
        "Content-Disposition": f'attachment; filename="{download.name}"',
        "Cache-Control": "no-store",
    }
    if download.digest is not None:
        headers["Content-Digest"] = f"sha-256=:{b64encode(download.digest).decode()}:"  # RFC 9530
    return StreamingResponse(download.stream, headers=headers, media_type=download.media_type)


def _tag(revision: object) -> dict[str, str]:
    return {} if revision is None else {"ETag": f'"{revision}"'}


IdempotencyKey = Annotated[
    str | None, Header(max_length=200, description="Makes the call happen once, however often it is sent.")
]


class StoredResponse(NamedTuple):
    """The response to a write.

    Attributes:
        status: the HTTP status.
        body: the view that is sent.
        kept: the view that is stored under the idempotency key, if not all of the body may be in a database.
    """

    status: int
    body: View
    kept: View | None = None


class IdempotentWrite:
    """A write of a route. Under an idempotency key it happens once, and each later call gets the first response."""

    def __init__(
        self, request: Request, services: ServicesDep, caller: CallerDep, idempotency_key: IdempotencyKey = None
    ) -> None:
        self.request = request
        self.services = services
        self.caller = caller
        self._key = idempotency_key

    async def once(
        self,
        operation: Callable[Concatenate[Services, Caller, P], Awaitable[ViewT]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Response:
        """Run an operation, and respond with its view and the status that the route declares.

        Args:
            operation: takes ``on_commit`` as well. A view with the field ``created`` decides between 201 and 200.
            args: the arguments after services and caller.
            kwargs: the arguments by keyword.
        """
        declared = self.request.scope["route"].status_code or 200

        def stored(view: ViewT) -> StoredResponse:
            created: bool | None = getattr(view, "created", None)
            return StoredResponse(declared if created is None else 201 if created else 200, view)

        return await self.respond(partial(operation, self.services, self.caller, *args, **kwargs), stored)

    async def respond(self, run: Callable[..., Awaitable[T]], respond: Callable[[T], StoredResponse]) -> Response:
        """Run an operation that takes ``on_commit``, and turn its result into the response; see :meth:`once`."""
        if self._key is None:
            response = respond(await run(on_commit=None))
            return json_response(response.body, response.status)
        once = Once(self.services, self.caller, await self._call(self._key))
        try:
            response = respond(await run(on_commit=_Saving(once, respond)))
        except AlreadyAnswered as first:
            body: Mapping[str, object] = msgspec.json.decode(first.answer)
            headers = {**_tag(body.get("revision")), REPLAYED: "true"}
            return Response(first.answer, first.status, headers, "application/json")
        except BaseException:
            await once.give_up()
            raise
        return json_response(response.body, response.status)

    async def _call(self, key: str) -> KeyedCall:
        request, url = self.request, self.request.url
        # Each header that a route declares changes what it does: a new one is covered by its declaration.
        names = _declared_headers(request.scope["route"].dependant) - {KEY_HEADER}
        return KeyedCall(
            key=key,
            target=(request.method, url.path, url.query),
            headers={name: request.headers.getlist(name) for name in names if name in request.headers},
            body=await request.body(),
            in_flight_for=request.app.state.in_flight_for,
        )


def _declared_headers(dependant: Dependant) -> set[str]:
    """Return the names, in small letters, of the headers that a route and its dependencies read."""
    names = {field.alias.lower() for field in dependant.header_params}
    return names.union(*map(_declared_headers, dependant.dependencies))


class _Saving(Generic[T]):
    """Saves a response under an idempotency key in the transaction of an operation."""

    def __init__(self, once: Once, respond: Callable[[T], StoredResponse]) -> None:
        self._once = once
        self._respond = respond

    async def begin(self) -> None:
        await self._once.begin()

    async def __call__(self, connection: AsyncConnection, result: T) -> None:
        response = self._respond(result)
        await self._once.keep(connection, response.status, encoded(response.kept or response.body))


WriteDep = Annotated[IdempotentWrite, Depends()]
