"""Connections are bounded before anyone is signed in: heads, bodies and answers in size and time, and their number."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys

import pytest
import uvicorn
from uvicorn.server import ServerState

from vault import server
from vault.bootstrap import init_vault
from vault.http.connection import LARGEST_HEAD, MOST_HEADERS, PIECE, Connection, Limits

LIMITS = Limits(connections=3, receive=10, send=15)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
HALF_BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
FILL = b"a" * 1000


class Timer:
    def __init__(self, due, call):
        self._due, self.call, self.cancelled = due, call, False

    def when(self):
        return self._due

    def cancel(self):
        self.cancelled = True


class Loop:
    """A loop whose time only the test moves. Tasks run on the real one."""

    def __init__(self):
        self.now, self.timers = 0.0, []

    def call_later(self, seconds, call):
        self.timers.append(Timer(self.now + seconds, call))
        return self.timers[-1]

    def create_task(self, work, **how):
        return asyncio.get_running_loop().create_task(work, **how)

    def pass_time(self, seconds):
        self.now += seconds
        while due := [timer for timer in self.timers if timer.when() <= self.now and not timer.cancelled]:
            self.timers.remove(due[0])
            due[0].call()

    @property
    def pending(self):
        return [timer for timer in self.timers if not timer.cancelled]


class Transport(asyncio.Transport):
    """Keeps what is written, and how it ended."""

    def __init__(self):
        super().__init__()
        self.written, self.end = b"", None

    def write(self, data):
        assert self.end is None
        self.written += data

    def is_closing(self):
        return self.end is not None

    def close(self):
        self.end = self.end or "closed"

    def abort(self):
        self.end = "aborted"

    def pause_reading(self):
        pass

    resume_reading = pause_reading


class App:
    """Reads the body and answers; ``hold`` keeps an answer back. It keeps the requests that it got."""

    def __init__(self):
        self.requests, self.hold = [], None

    async def __call__(self, scope, receive, send):
        body, message = b"", await receive()
        while message["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
            message = await receive()
        else:
            return
        self.requests.append((scope, body))
        if self.hold is not None:
            await self.hold.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


async def at_once(_scope, _receive, send):
    """Answer without a look at the body."""
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Process:
    """The connections of one process."""

    def __init__(self, app=None, limits=LIMITS):
        self.app, self.loop, self._limits, self._state = app or App(), Loop(), limits, ServerState()
        self._config = uvicorn.Config(self.app, ws="none", log_config=None, lifespan="off")

    def connect(self):
        transport = Transport()
        how = {"config": self._config, "server_state": self._state, "app_state": {}, "_loop": self.loop}
        connection = Connection(limits=self._limits, **how)
        connection.connection_made(transport)
        return connection, transport

    @staticmethod
    async def settle():
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def process():
    return Process()


def problem(transport):
    """Return status and code of the one answer that was written."""
    head, _, body = transport.written.partition(b"\r\n\r\n")
    status, said = int(head.split()[1]), json.loads(body)
    assert said["status"] == status
    assert b"application/problem+json" in head
    assert b"connection: close" in head
    assert said["detail"]
    assert said["hint"]
    assert FILL[:20] not in transport.written
    return status, said["code"]


ENDLESS = {
    "target": (b"GET /", FILL),
    "name of a header": (HALF_HEAD, FILL),
    "value of a header": (HALF_HEAD + b"X-A: ", FILL),
    "many headers": (HALF_HEAD, b"a: b\r\n" * 200),
    "continued lines": (HALF_HEAD + b"X-A: b\r\n", b" c\r\n" * 200),
    "blank lines before a request": (b"", b"\r\n" * 500),
    "extension of a chunk": (CHUNKED + b"1;", FILL),
    "name of a trailer": (CHUNKED + b"0\r\n", FILL),
    "value of a trailer": (CHUNKED + b"0\r\nX-A: ", FILL),
    "many trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 200),
    "head after a request": (GET + HALF_HEAD + b"X-A: ", FILL),
}


@pytest.mark.parametrize("app", [App, lambda: at_once], ids=["reads", "answers-at-once"])
@pytest.mark.parametrize("chunk", [1, 7, 300], ids=["small", "middle", "large"])
@pytest.mark.parametrize("kind", ENDLESS)
async def test_what_never_ends_is_refused_at_a_bound(kind, chunk, app):
    process = Process(app())
    connection, transport = process.connect()
    start, more = ENDLESS[kind]
    connection.data_received(start)
    await process.settle()
    answered = transport.written
    sent = 0
    while not transport.is_closing() and sent < 4 * LARGEST_HEAD + 1000 * chunk:
        connection.data_received(more * chunk)
        sent += len(more) * chunk
    assert transport.is_closing()
    assert len(connection.headers or ()) <= PIECE  # of the piece that was parsed last
    assert sent - len(more) * chunk <= LARGEST_HEAD + 2 * PIECE
    transport.written = transport.written.removeprefix(answered)
    if transport.end == "closed":
        assert problem(transport)[0] in {400, 431}


async def test_a_head_at_the_limit_is_answered_and_one_beyond_it_is_not(process):
    def head(size, step):
        value = b"v" * (size - len(b"/") - len(b"host") - len(b"x") - len(b"a") - 2 * 4)
        whole = b"GET / HTTP/1.1\r\nHost: x\r\nA: " + value + b"\r\n\r\n"
        connection, transport = process.connect()
        for start in range(0, len(whole), step):
            if not transport.is_closing():
                connection.data_received(whole[start : start + step])
        return connection, transport

    for step in (1000, PIECE, 10 * LARGEST_HEAD):
        connection, transport = head(LARGEST_HEAD, step)
        await process.settle()
        assert transport.written.startswith(b"HTTP/1.1 200"), step
        connection.connection_lost(None)
        connection, transport = head(LARGEST_HEAD + 1, step)
        assert problem(transport) == (431, "head-too-large")
        connection.connection_lost(None)
    assert len(process.app.requests) == 3


@pytest.mark.parametrize(("count", "status"), [(MOST_HEADERS, 200), (MOST_HEADERS + 1, 431)])
async def test_a_head_has_a_limited_number_of_fields(process, count, status):
    connection, transport = process.connect()
    connection.data_received(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * count + b"\r\n")
    await process.settle()
    assert transport.written.startswith(b"HTTP/1.1 %d" % status)
    assert len(process.app.requests) == (status == 200)


async def test_a_large_body_is_no_large_head(process):
    body = b"b" * 1_000_000
    connection, transport = process.connect()
    connection.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + body + GET)
    await process.settle()
    assert transport.written.count(b"HTTP/1.1 200") == 2
    assert process.app.requests[0][1] == body


async def test_trailers_do_not_become_headers(process):
    connection, transport = process.connect()
    connection.data_received(CHUNKED + b"2\r\nab\r\n0\r\nAuthorization: Bearer x\r\n\r\n")
    await process.settle()
    (scope, body) = process.app.requests[0]
    assert body == b"ab"
    assert [name for name, _ in scope["headers"]] == [b"host", b"transfer-encoding"]
    assert transport.written.startswith(b"HTTP/1.1 200")


async def test_what_is_no_http_is_refused_in_words(process):
    connection, transport = process.connect()
    connection.data_received(b"\x16\x03\x01 TLS\r\n\r\n")
    assert problem(transport) == (400, "malformed-request")


@pytest.mark.parametrize(
    ("sent", "drip"),
    [(HALF_HEAD, b"a: b\r\n"), (HALF_BODY, b"1"), (CHUNKED, b"1\r\na\r\n"), (GET + HALF_HEAD, b"a: b\r\n")],
    ids=["head", "body", "chunked", "second-head"],
)
async def test_a_request_that_does_not_come_whole_in_time_is_refused_however_it_drips(process, sent, drip):
    connection, transport = process.connect()
    process.loop.pass_time(1)
    connection.data_received(sent)
    await process.settle()
    for _ in range(4):
        process.loop.pass_time(2)
        connection.data_received(drip)
        await process.settle()
    transport.written = transport.written[transport.written.startswith(b"HTTP/1.1 200") and 42 :]
    assert not transport.is_closing()
    process.loop.pass_time(3)
    await process.settle()
    assert problem(transport) == (408, "request-too-slow")
    assert len(process.app.requests) == sent.startswith(GET)  # nothing half was taken for a request


async def test_head_and_body_have_a_time_each(process):
    connection, transport = process.connect()
    process.loop.pass_time(9)
    connection.data_received(HALF_BODY)
    process.loop.pass_time(9)
    connection.data_received(b"67890")
    await process.settle()
    assert transport.written.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", b"\r\n", GET, GET + b"\r\n"])
async def test_an_idle_connection_is_closed_without_a_word(process, sent):
    connection, transport = process.connect()
    connection.data_received(sent)
    await process.settle()
    answered = transport.written
    for _ in range(6):
        process.loop.pass_time(4)
        if not transport.is_closing() and sent.endswith(b"\n"):
            connection.data_received(b"\r\n")
    assert transport.is_closing()
    assert transport.written == answered


async def test_a_body_that_drips_on_after_its_answer_is_cut_off():
    process = Process(at_once)
    connection, transport = process.connect()
    connection.data_received(HALF_BODY[:-4])
    await process.settle()
    assert transport.written.startswith(b"HTTP/1.1 413")
    for _ in range(3):
        process.loop.pass_time(4)
        if not transport.is_closing():
            connection.data_received(b"1")
    assert transport.is_closing()
    assert transport.written.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("more", [b"", HALF_HEAD, HALF_BODY])
async def test_an_answer_under_way_is_not_cut_off_by_the_time_of_a_later_request(process, more):
    process.app.hold = asyncio.Event()
    connection, transport = process.connect()
    connection.data_received(GET + more)
    await process.settle()
    process.loop.pass_time(25)
    assert not transport.is_closing()
    process.app.hold.set()
    await process.settle()
    assert transport.written.startswith(b"HTTP/1.1 200")
    process.loop.pass_time(9 if more else 4)
    assert not transport.is_closing()  # the time of the second begins when the first is answered
    process.loop.pass_time(1)
    assert transport.is_closing()


async def test_a_peer_that_does_not_take_its_answer_is_cut_off(process):
    process.app.hold = asyncio.Event()
    connection, transport = process.connect()
    connection.data_received(GET)
    connection.pause_writing()
    process.loop.pass_time(14)
    connection.resume_writing()
    process.loop.pass_time(0)
    connection.pause_writing()
    connection.pause_writing()
    process.loop.pass_time(14)
    assert transport.end is None
    process.loop.pass_time(1)
    assert transport.end == "aborted"
    connection.connection_lost(None)
    process.app.hold.set()


@pytest.mark.parametrize("sent", [b"GARBAGE\r\n\r\n", GET, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
async def test_a_closed_connection_ends_even_if_the_peer_takes_nothing(process, sent):
    connection, transport = process.connect()
    connection.data_received(sent)
    await process.settle()
    process.loop.pass_time(5)
    assert transport.end == "closed"
    process.loop.pass_time(10)
    assert transport.end == "aborted"


async def test_a_lost_connection_leaves_no_timer(process):
    for sent in (b"", HALF_HEAD, HALF_BODY, GET, b"GARBAGE\r\n\r\n"):
        connection, _transport = process.connect()
        connection.data_received(sent)
        await process.settle()
        connection.pause_writing()
        connection.connection_lost(None)
        assert not process.loop.pending, sent


async def test_a_new_connection_takes_the_place_of_the_one_that_has_waited_longest(process):
    transports = []
    for sent in (HALF_HEAD, HALF_BODY, GET, b""):
        connection, transport = process.connect()
        connection.data_received(sent)
        await process.settle()
        process.loop.pass_time(1)
        transports.append(transport)
    # The idle one goes first: its time ends after five seconds, before that of the two halves.
    assert [transport.end for transport in transports] == [None, None, "aborted", None]
    _connection, fifth = process.connect()
    _connection, sixth = process.connect()
    assert [transport.end for transport in (*transports, fifth, sixth)] == [
        "aborted",
        "aborted",
        "aborted",
        *[None] * 3,
    ]


async def test_without_room_a_connection_is_refused_in_words(process):
    process.app.hold = asyncio.Event()
    held = []
    for _ in range(3):
        connection, transport = process.connect()
        connection.data_received(GET)
        held.append(transport)
    await process.settle()
    _connection, refused = process.connect()
    assert problem(refused) == (503, "too-many-connections")
    assert b"retry-after" in refused.written
    process.app.hold.set()
    await process.settle()
    assert all(transport.written.startswith(b"HTTP/1.1 200") for transport in held)


@pytest.mark.parametrize(
    ("soft", "hard", "affordable"),
    [(100_000, 100_000, 1000), (256, 100_000, 1000), (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1000), (500, 1024, 696), (128, 128, 1)],
)  # fmt: skip
def test_the_connections_fit_into_the_files_that_a_process_may_open(monkeypatch, soft, hard, affordable):
    files = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: tuple(files))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limits: files.__setitem__(slice(None), limits))
    assert server._affordable(1000) == affordable
    if affordable > 1 and soft != resource.RLIM_INFINITY:
        assert affordable + server.WAITING_CONNECTIONS + server.OTHER_FILES <= files[0]


async def test_a_server_that_may_open_too_few_files_is_refused_before_it_opens_one(tmp_path):
    settings = await init_vault(tmp_path / "vault")
    run = (
        "import resource, sys; from pathlib import Path; resource.setrlimit(resource.RLIMIT_NOFILE, (127, 127)); "
        "from vault.server import serve; serve(Path(sys.argv[1]), port=0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", run, str(settings.vault)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "a server opens at least 128 files, and this process may open 127" in done.stderr
