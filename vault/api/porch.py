"""What every request passes on its way in and out: id, size, deadline, counting, headers. Plain ASGI, for speed."""

from __future__ import annotations

import asyncio
import os
import re
import time
from typing import TYPE_CHECKING, Any, Final

from vault import logs
from vault.api.metrics import count_request

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logs.get_logger()

_ID: Final = re.compile(rb"[A-Za-z0-9-]{1,64}")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_SAFE: Final = (
    (b"cache-control", b"no-store"),  # nothing that a vault answers belongs into anybody's cache
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_TOO_LARGE: Final = (
    b'{"type":"/problems#body-too-large","title":"The body is too large","status":413,'
    b'"code":"body-too-large","detail":"The body has more bytes than this vault takes at once."}'
)
_TOO_SLOW: Final = (
    b'{"type":"/problems#deadline-passed","title":"The vault cannot answer safely now","status":503,'
    b'"code":"deadline-passed","detail":"The request took longer than it may; nothing was shown."}'
)


class BodyTooLarge(Exception):
    """More bytes came in than are taken at once."""


class Porch:
    """The outermost layer of the API.

    Args:
        app: what lies behind.
        largest: bytes of a body that are taken.
        deadline: seconds after which a request is given up with 503.
    """

    def __init__(self, app: ASGIApp, *, largest: int, deadline: float) -> None:
        self._app = app
        self._largest = largest
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        answer = _Answer(send)
        length = _take_in(scope)
        if length is None:
            receive = _counted(receive, self._largest)
        elif length > self._largest:
            receive = _refused
        try:
            async with asyncio.timeout(self._deadline):
                await self._app(scope, receive, answer.send)
        except BodyTooLarge:
            await answer.refuse(413, _TOO_LARGE)
        except TimeoutError:
            log.warning("a request took too long", route=_route(scope), request_id=scope["request_id"])
            await answer.refuse(503, _TOO_SLOW)
        finally:
            count_request(_route(scope), answer.status, time.perf_counter() - began, scope.get("problem_code"))


class _Answer:
    """Passes the answer on, with our headers, and remembers its status."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *_SAFE]
        await self._send(message)

    async def refuse(self, status: int, body: bytes) -> None:
        """Answer in place of the app, unless it has begun to answer."""
        if self.status:
            return
        headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _take_in(scope: Scope) -> int | None:
    """Give the request its id and return the length that it states; none where it states none."""
    length, request_id = None, None
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = int(value) if value.isdigit() else None
        elif name == b"x-request-id" and _ID.fullmatch(value):
            request_id = value
        elif name == b"traceparent" and request_id is None:
            trace = _TRACEPARENT.fullmatch(value)
            request_id = None if trace is None else trace[1]
        elif name == b"transfer-encoding":
            length = None
    if length is None and scope["method"] in {"GET", "HEAD", "DELETE", "OPTIONS"}:
        length = 0
    scope["request_id"] = os.urandom(12).hex() if request_id is None else request_id.decode()
    return length


async def _refused() -> Message:
    """Stand in for a body that says of itself that it is too large."""
    raise BodyTooLarge


def _counted(receive: Receive, largest: int) -> Receive:
    """Count a body of unstated length while it comes in."""
    got = 0

    async def counting() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > largest:
            raise BodyTooLarge
        return message

    return counting


def _route(scope: Scope) -> str:
    """Return the template of the route, never the path: that may hold anything."""
    template: str | None = scope.get("route_template")
    route: Any = scope.get("route")
    return template or getattr(route, "path", None) or "unmatched"
