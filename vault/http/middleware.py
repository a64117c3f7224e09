"""ASGI middleware: request id, checked address, body limit, deadline, metrics and security headers.

It is plain ASGI, for speed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from vault import logs
from vault.errors import InvalidInput, TooLarge, Unavailable
from vault.http.metrics import count_request
from vault.http.problems import from_vault_error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logs.get_logger()

# Only ids that look drawn by a program. Any other may be an order, a customer or a name. The audit log keeps it
# for good, so it would link a pseudonym to a person after the erasure.
_ID: Final = re.compile(rb"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{32}")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")
_CONTROL_IN_QUERY: Final = re.compile(rb"%(?:[01][0-9A-Fa-f]|7[Ff])|[\x00-\x1f\x7f]")
_SAFE: Final = (
    (b"cache-control", b"no-store"),  # personal data must not be kept in caches
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_PROCESS: Final = os.urandom(6).hex()
_count = itertools.count()


class RequestMiddleware:
    """The outermost layer of the API.

    Args:
        app: the application.
        largest: the largest body in bytes.
    """

    def __init__(self, app: ASGIApp, *, largest: int) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        answer = _Answer(send, _SAFE)
        length = _take_in(scope)
        if length is None:
            receive = _counted(receive, self._largest)
        elif length > self._largest:
            receive = _refused
        try:
            if _CONTROL.search(scope["path"]) or _CONTROL_IN_QUERY.search(scope["query_string"]):
                await (await from_vault_error(Request(scope), _control_character()))(scope, receive, answer.send)
            else:
                await self._app(scope, receive, answer.send)
        finally:
            count_request(_route(scope), answer.status, time.perf_counter() - began, scope.get("problem_code"))


class Deadline:
    """Answers 503 if a request takes too long.

    The hot route does not use it, because each of its waits has a deadline. The time starts again with each part of a
    long response, such as a package: the wait is bounded, not the length.

    Args:
        app: the application.
        seconds: the longest wait.
    """

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        answer = _Answer(send)
        try:
            async with asyncio.timeout(self._seconds) as timer:

                async def passed_on(message: Message) -> None:
                    timer.reschedule(asyncio.get_running_loop().time() + self._seconds)
                    await answer.send(message)

                await self._app(scope, receive, passed_on)
        except TimeoutError:
            log.warning("a request took too long", route=_route(scope), request_id=scope["request_id"])
            if not answer.status:
                late = Unavailable("the request took too long; nothing was shown", code="deadline-passed")
                await (await from_vault_error(Request(scope), late))(scope, receive, send)


class _Answer:
    """Passes a response on with additional default headers, and remembers its status."""

    __slots__ = ("_headers", "_send", "status")

    def __init__(self, send: Send, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self._send = send
        self._headers = headers
        self.status = 0

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            names = {name for name, _value in message["headers"]}
            message["headers"] = [*message["headers"], *(header for header in self._headers if header[0] not in names)]
        await self._send(message)


def _take_in(scope: Scope) -> int | None:
    """Set the id of the request, and return its Content-Length; None if it is unknown.

    An id of the caller's counts if it is a UUID or 32 hexadecimal digits.
    """
    length, request_id = None, None
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = int(value) if value.isdigit() and len(value) < 19 else None
        elif name == b"x-request-id" and _ID.fullmatch(value):
            request_id = value
        elif name == b"traceparent" and request_id is None:
            trace = _TRACEPARENT.fullmatch(value)
            request_id = None if trace is None else trace[1]
        elif name == b"transfer-encoding":
            length = None
    if length is None and scope["method"] in {"GET", "HEAD", "DELETE", "OPTIONS"}:
        length = 0
    scope["request_id"] = f"{_PROCESS}-{next(_count):x}" if request_id is None else request_id.decode()
    return length


def _too_large() -> TooLarge:
    """Return the error for a body that is too large."""
    return TooLarge("the body has more bytes than this vault accepts", hint="send several smaller requests")


def _control_character() -> InvalidInput:
    """Return the error for a control character in an address.

    No parameter of a path or query takes one, so they are refused here, where no route can forget to: PostgreSQL takes
    no NUL, and would answer like a database that is down.
    """
    return InvalidInput(
        "The address has a control character in its path or query.",
        code="control-character",
        hint="check what the client puts into the address",
    )


async def _refused() -> Message:
    """Replace the body of a request whose Content-Length is too large."""
    raise _too_large()


def _counted(receive: Receive, largest: int) -> Receive:
    """Count the bytes of a body of unknown length while it is received."""
    received = 0

    async def counting() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > largest:
            raise _too_large()
        return message

    return counting


def _route(scope: Scope) -> str:
    """Return the template of the route and never the path, which can have any content."""
    template: str | None = scope.get("route_template") or getattr(scope.get("route"), "path", None)
    return template or "unmatched"
