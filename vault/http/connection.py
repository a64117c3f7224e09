"""Connections: the bounds that hold before a request reaches the application. uvicorn has none of them.

A connection waits for its peer only under a timer: for a head, for a body, for an answer to be taken. The size of
everything that the parser keeps is bounded. Nothing here needs a sign-in, so nothing here may be without a limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from vault.http.metrics import PROBLEMS
from vault.http.problems import MEDIA_TYPE, RETRY_SECONDS, TITLES, Problem

if TYPE_CHECKING:
    import asyncio

LARGEST_HEAD: Final = 64 * 1024
"""Bytes of the request target and all header fields."""
MOST_HEADERS: Final = 100
PIECE: Final = 16 * 1024
"""Bytes that the parser gets at a time: what it keeps beyond a limit before the limit is checked."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one process.

    Attributes:
        connections: how many may be open.
        receive: seconds for a head to come, and again for the body.
        send: seconds for the peer to take a part of an answer.
    """

    connections: int
    receive: float
    send: float


class _Answer(NamedTuple):
    """What a peer gets whose request does not reach the application."""

    code: str
    content: bytes


def _answer(status: HTTPStatus, detail: str, *, code: str, hint: str) -> _Answer:
    """Write an answer once; it repeats nothing of the request."""
    body = Problem(
        type=f"/problems#{code}", title=TITLES[status], status=int(status), code=code, detail=detail, hint=hint
    )
    content = body.model_dump_json(exclude_none=True).encode()
    headers = [f"content-type: {MEDIA_TYPE}", f"content-length: {len(content)}", "cache-control: no-store"]
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append(f"retry-after: {RETRY_SECONDS}")
    head = "".join(f"{header}\r\n" for header in (*headers, "connection: close", ""))
    return _Answer(code, STATUS_LINE[status] + head.encode() + content)


HEAD_TOO_LARGE: Final = _answer(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "The head of the request, or its trailer, is larger than this vault accepts.",
    code="head-too-large",
    hint="send at most 64 KiB and 100 header fields; names and values belong in the body",
)
TOO_SLOW: Final = _answer(
    HTTPStatus.REQUEST_TIMEOUT,
    "The request did not come whole in time; nothing was shown or changed.",
    code="request-too-slow",
    hint="send the head and the body without a pause",
)
MALFORMED: Final = _answer(
    HTTPStatus.BAD_REQUEST,
    "The request is not HTTP/1.1 (RFC 9112).",
    code="malformed-request",
    hint="send it by an HTTP library",
)
TOO_MANY: Final = _answer(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "This process has no room for another connection.",
    code="too-many-connections",
    hint="try again soon; keep few connections open and use them again",
)


class _HeadTooLargeError(Exception):
    """Stops the parser."""


class Connection(HttpToolsProtocol):
    """One connection of uvicorn, with :class:`Limits`. Its arguments are uvicorn's, and ``limits``."""

    def __init__(self, *args: object, limits: Limits, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type] # they are passed on as they come
        self._limits = limits
        self._begun = 0  # messages
        self._in_head = False
        self._in_body = False
        self._advanced = False  # whether the current piece began or ended a head, or held a part of a body
        self._is_whole = False  # whether the current piece holds all of the head so far
        self._without_advance = 0  # bytes
        self._fault = MALFORMED
        self._awaited = 0
        self._timer: asyncio.TimerHandle | None = None
        self._untaken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Take the connection, or refuse it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._make_room()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._awaited = 0
        for timer in (self._timer, self._untaken):
            if timer is not None:
                timer.cancel()
        self._timer = self._untaken = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, in pieces."""
        if len(data) <= PIECE:
            self._take(data)
        else:
            for start in range(0, len(data), PIECE):
                if self.transport.is_closing():
                    return
                self._take(data[start : start + PIECE])
        self._watch()

    def _take(self, data: bytes) -> None:
        self._advanced = self._is_whole = False
        super().data_received(data)
        # The parser keeps header fields that are not complete; trailer fields too, and the extensions of a chunk
        # take time. So the measure is what brings a request no further, wherever that is.
        self._without_advance = 0 if self._advanced else self._without_advance + len(data)
        if self._without_advance > LARGEST_HEAD or len(self.headers or ()) > MOST_HEADERS:
            self._refuse(HEAD_TOO_LARGE)

    # What the parser calls

    def on_message_begin(self) -> None:
        """Note the start of a head."""
        super().on_message_begin()
        self._begun += 1
        self._in_head = self._advanced = self._is_whole = True

    def on_headers_complete(self) -> None:
        """Check the head, and start the request."""
        if len(self.headers) > MOST_HEADERS or not (self._is_whole or self._head_size() <= LARGEST_HEAD):
            self._fault = HEAD_TOO_LARGE
            raise _HeadTooLargeError
        self._in_head, self._in_body, self._advanced = False, True, True
        super().on_headers_complete()
        # Trailer fields must not become header fields (RFC 9110 §6.5.1): a proxy has not checked them.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body."""
        self._advanced = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a body."""
        self._in_body, self._advanced = False, True
        super().on_message_complete()

    def _head_size(self) -> int:
        """Return the bytes of the current head, with a colon, a space and a line end for each field."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    # What uvicorn calls

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()
        elif self._timer is not None:  # the peer could not go on while this answer was under way
            self._unset_keepalive_if_required()
            self._start_timer()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the text is uvicorn's
        """Refuse what the parser does not take."""
        self._refuse(self._fault)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        self._close()

    def pause_writing(self) -> None:
        """Give the peer a time to take what was sent."""
        super().pause_writing()
        if self._untaken is None:
            self._untaken = self.loop.call_later(self._limits.send, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the peer has taken a part."""
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None
        super().resume_writing()

    # Timers

    def _watch(self) -> None:
        """Time what the peer owes. The time does not start again with each byte, but with each head and body."""
        if self.transport.is_closing():
            return
        if self._in_body:
            awaited = 2 * self._begun + 1
        elif self._in_head:
            awaited = 2 * self._begun
        elif self.cycle is None or self.cycle.response_complete:
            awaited = 2 * (self._begun + 1)  # the head of the next message
        else:
            awaited = 0
        if awaited != self._awaited:
            self._awaited = awaited
            self._start_timer()

    def _start_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(self._limits.receive, self._expired) if self._awaited else None

    def _expired(self) -> None:
        if self.transport.is_closing():
            self.transport.abort()
        elif self._is_answering():
            self._start_timer()  # the answer has a deadline of its own
        elif self._in_head or (self._in_body and not self.cycle.response_complete):
            self._refuse(TOO_SLOW)
        else:
            self._close()

    def _is_answering(self) -> bool:
        """Return whether the application is at work and does not wait for the current message."""
        if self.pipeline:
            return True
        if self.cycle is None or self.cycle.response_complete:
            return False
        return self.cycle.response_started or not self._in_body

    # Ends

    def _refuse(self, answer: _Answer) -> None:
        """Answer and close. Within another answer nothing can be said: the peer would take it as part of that one."""
        if self.transport.is_closing():
            return
        PROBLEMS.labels(answer.code).inc()
        if self._is_answering():
            self.transport.abort()
            return
        self.transport.write(answer.content)
        if self.cycle is not None:
            self.cycle.disconnected = True  # the application sends nothing more
            self.cycle.message_event.set()
        self._close()

    def _close(self) -> None:
        """Close when all is sent, and then also if the peer takes nothing."""
        self.transport.close()
        self._awaited = 2 * self._begun + 1
        self._start_timer()

    def _make_room(self) -> None:
        """Drop the connection that has waited longest for its peer; refuse this one if all are being answered."""
        others = [other for other in self.connections if isinstance(other, Connection) and other is not self]
        waiting = [(due, other) for other in others if (due := other.due()) is not None]
        if not waiting:
            self._refuse(TOO_MANY)
            return
        _, longest = min(waiting, key=lambda pair: pair[0])
        PROBLEMS.labels(TOO_MANY.code).inc()
        longest.drop()

    def drop(self) -> None:
        """End at once."""
        self._awaited = 0
        self._start_timer()
        self._unset_keepalive_if_required()
        self.transport.abort()

    def due(self) -> float | None:
        """Return when the peer's time ends, in the loop's time; None while the peer waits for the vault."""
        timer = self._timer or self.timeout_keep_alive_task
        return None if timer is None or self._is_answering() else timer.when()
