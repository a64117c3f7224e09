"""A real server keeps its limits of connections: strangers cannot fill its memory or keep its connections."""

from __future__ import annotations

import contextlib
import socket

import httpx
import pytest

from tests.http.test_connection import ENDLESS, HALF_HEAD, problem
from tests.served import PATIENCE, Served, issue_keys
from vault.http.connection import LARGEST_HEAD

CONNECTIONS = 8
MOST_BUFFERED = 16 * 1024 * 1024
"""Bytes that the kernel's buffers of both ends may take before a closed connection is noticed."""


class Answer:
    def __init__(self, written):
        self.written = written


def _connect(served):
    return socket.create_connection(("127.0.0.1", served.port), PATIENCE)


def _answer(line):
    """Return what comes until the server closes; it waits for that for PATIENCE."""
    written = b""
    with contextlib.suppress(ConnectionError):
        while piece := line.recv(65536):
            written += piece
    return Answer(written)


@pytest.fixture
def patient(sqlite_place):
    with Served(sqlite_place, 1) as served:
        yield served


def test_heads_without_end_are_cut_off(patient):
    with _connect(patient) as line:
        line.sendall(HALF_HEAD + b"X-A: " + b"a" * (LARGEST_HEAD + 6000) + b"\r\n\r\n")
        written = _answer(line).written  # the rest of the head may reset the connection before its answer is read
        assert not written or written.startswith(b"HTTP/1.1 431")
    for start, more in ENDLESS.values():
        with _connect(patient) as line:
            sent = 0
            with contextlib.suppress(ConnectionError):
                line.sendall(start)
                while sent < 2 * MOST_BUFFERED:
                    line.sendall(more * 100)
                    sent += len(more) * 100
            assert sent < MOST_BUFFERED
    metrics = httpx.get(f"{patient.url}/metrics", timeout=PATIENCE).text
    assert 'cdv_problems_total{code="head-too-large"}' in metrics


async def test_half_heads_and_half_bodies_end_and_take_no_room_from_others(sqlite_place):
    bearer = (await issue_keys(sqlite_place, "support"))["support"]["Authorization"]
    with Served(sqlite_place, 1, receive_deadline=1.5, connections=CONNECTIONS) as served:
        head = f"Host: x\r\nAuthorization: {bearer}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{"
        for start in ("POST /v1/read HTTP/1.1\r\n", "POST /v1/subjects:search HTTP/1.1\r\n"):
            with _connect(served) as line:
                line.sendall((start + head).encode())
                assert problem(_answer(line)) == (408, "request-too-slow")
        with _connect(served) as line:
            line.sendall(HALF_HEAD)
            assert problem(_answer(line)) == (408, "request-too-slow")
        with contextlib.ExitStack() as held:
            for _ in range(5 * CONNECTIONS):
                held.enter_context(_connect(served)).sendall(HALF_HEAD)
            assert httpx.get(f"{served.url}/healthz", timeout=PATIENCE).status_code == 200
            metrics = httpx.get(f"{served.url}/metrics", timeout=PATIENCE).text
        assert 'cdv_problems_total{code="too-many-connections"}' in metrics
