"""A real server process: it starts, answers, logs without a word about anybody, and stops in good order."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from vault.bootstrap import open_vault
from vault.clock import Clock
from vault.governance.tenants import add_app
from vault.ids import DEFAULT_TENANT

PATIENCE = 60.0
"""Seconds for anything that a process is waited for; a loaded machine is not a failing test."""
CANARY = "KanarienvogelXq7"


class Served:
    """``cdv serve`` over a vault, and all that it writes."""

    def __init__(self, place, workers):
        self._command = [sys.executable, "-m", "vault.cli", "serve", "--vault", str(place.folder)]
        self._command += ["--host", "127.0.0.1", "--port", "0", "--workers", str(workers)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CDV_")}
        kept.pop("PROMETHEUS_MULTIPROC_DIR", None)
        named = {f"CDV_{name.upper()}": value for name, value in place.urls.items()}
        self._environment = {**kept, **named, "CDV_LOG_LEVEL": "debug"}
        self.lines: list[str] = []
        self._ahead: queue.Queue[str | None] = queue.Queue()

    def __enter__(self):
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = self._wait_for("listening")["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.until(lambda: httpx.get(f"{self.url}/readyz", timeout=PATIENCE).status_code == 200)
        return self

    def __exit__(self, *_error):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            self._ahead.put(line)
        self._ahead.put(None)

    def _wait_for(self, event):
        while True:
            line = self._ahead.get(timeout=PATIENCE)
            assert line is not None, "".join(self.lines)
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if said.get("event") == event:
                return said

    def until(self, done):
        """Ask again and again until the answer is yes."""
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            assert self.process.poll() is None, "".join(self.lines)
            try:
                if done():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError("it did not come to pass in time: " + "".join(self.lines))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self._reader.join()
        return code


@pytest.fixture
async def keys(request):
    """Keys that are good by the real clock."""

    async def issue(place):
        found = {}
        async with open_vault(place.folder, clock=Clock(), **place.urls) as vault:
            for role in ("sales", "support", "dpo"):
                _, issued = await add_app(vault.services, DEFAULT_TENANT, f"real-{role}", [role])
                found[role] = {"Authorization": f"Bearer {issued.key.reveal()}"}
        return found

    return issue


def _new(client, keys, name):
    body = {"profile": {"name": name, "email": f"{CANARY}@example.org"}, "purpose": "order-fulfilment"}
    made = client.post("/v1/subjects", json=body, headers=keys["sales"])
    assert made.status_code == 201, made.text
    return made.json()["id"]


def _read(client, keys, subject, fields=("name",), purpose="customer-support"):
    body = {"subject": subject, "fields": list(fields), "purpose": purpose, "reason": CANARY}
    return client.post("/v1/read", json=body, headers=keys["support"])


async def test_a_request_under_way_is_answered_before_the_server_stops(sqlite_place, keys):
    bearers = await keys(sqlite_place)
    with Served(sqlite_place, 1) as served:
        with httpx.Client(base_url=served.url, timeout=PATIENCE) as client:
            subject = _new(client, bearers, CANARY)
            assert _read(client, bearers, subject).json()["fields"] == {"name": CANARY}
            assert _read(client, bearers, subject, [CANARY]).status_code == 422
            assert _read(client, bearers, subject, purpose=CANARY).status_code == 422
            assert client.get(f"/{CANARY}?{CANARY}={CANARY}").status_code == 404
            assert client.get("/v1/catalogue", headers={"Authorization": f"Bearer {CANARY}"}).status_code == 401
            assert client.post("/v1/read", content=CANARY.encode(), headers=bearers["support"]).status_code == 422
            assert CANARY not in client.get("/metrics").text
        body = json.dumps({"subject": subject, "fields": ["name"], "purpose": "customer-support"}).encode()
        with socket.create_connection(("127.0.0.1", served.port), PATIENCE) as line:
            head = f"POST /v1/read HTTP/1.1\r\nHost: x\r\nAuthorization: {bearers['support']['Authorization']}\r\n"
            line.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:20])
            # The server has begun with the request as soon as it answers another one that came later.
            assert httpx.get(f"{served.url}/healthz", timeout=PATIENCE).status_code == 200
            served.process.send_signal(signal.SIGTERM)
            served.until(lambda: _is_shut(served.port))
            line.sendall(body[20:])
            answer = b""
            while piece := line.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200")
        assert CANARY.encode() in answer
        code = served.process.wait(PATIENCE)
        served._reader.join()
    assert code in {0, -signal.SIGTERM}
    written = "".join(served.lines)
    for word in (CANARY, CANARY.lower(), subject, bearers["support"]["Authorization"][7:]):
        assert word not in written
    assert all(json.loads(line) for line in served.lines), written  # nothing but JSON lines
    assert "Traceback" not in written


def _is_shut(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False


async def test_two_workers_on_postgresql_are_one_vault(postgres_place, keys):
    bearers = await keys(postgres_place)
    with Served(postgres_place, 2) as served:
        workers = set()

        def met_both():
            # Every new connection is taken by one worker or the other; the request id begins with whose it is.
            body = {"subject": "0199aaaa-aaaa-7aaa-8aaa-aaaaaaaaaaaa", "fields": ["name"], "purpose": "x"}
            with httpx.Client(base_url=served.url, timeout=PATIENCE) as one:
                told = one.post("/v1/read", json=body, headers=bearers["support"]).json()
            workers.add(told["request_id"].rpartition("-")[0])
            return len(workers) == 2

        served.until(met_both)
        with httpx.Client(base_url=served.url, timeout=PATIENCE) as client:
            subject = _new(client, bearers, "Ada Lovelace")
            before = _counted(client)
        for _ in range(20):
            with httpx.Client(base_url=served.url, timeout=PATIENCE) as client:
                assert _read(client, bearers, subject).json()["fields"] == {"name": "Ada Lovelace"}
        for _ in range(6):  # whichever worker is asked, it shows the sum
            with httpx.Client(base_url=served.url, timeout=PATIENCE) as client:
                assert _counted(client) - before == 20
        assert served.stop() in {0, -signal.SIGTERM}
        assert _is_shut(served.port)
    assert "Traceback" not in "".join(served.lines)


def _counted(client):
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            if sample.name == "cdv_requests_total" and sample.labels == {"route": "/v1/read", "status": "200"}:
                return sample.value
    return 0
