"""A server process starts, answers, logs no personal data and shuts down cleanly."""

from __future__ import annotations

import json
import signal
import socket

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.served import PATIENCE, Served, issue_keys

CANARY = "KanarienvogelXq7"
ROLES = ("sales", "support", "dpo")


def _new(client, keys, name):
    body = {"profile": {"name": name, "email": f"{CANARY}@example.org"}, "purpose": "order-fulfilment"}
    created = client.post("/v1/subjects", json=body, headers=keys["sales"])
    assert created.status_code == 201, created.text
    return created.json()["id"]


def _read(client, keys, subject, fields=("name",), purpose="customer-support"):
    body = {"subject": subject, "fields": list(fields), "purpose": purpose, "reason": CANARY}
    return client.post("/v1/read", json=body, headers=keys["support"])


async def test_a_request_in_progress_is_answered_before_the_server_stops(sqlite_place):
    bearers = await issue_keys(sqlite_place, *ROLES)
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
            # The server has read the start of the request as soon as it answers a later one.
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


async def test_two_workers_on_postgresql_share_one_vault(postgres_place):
    bearers = await issue_keys(postgres_place, *ROLES)
    with Served(postgres_place, 2) as served:
        workers = set()

        def met_both():
            # Each new connection goes to one of the workers; the request id begins with the process id of that worker.
            body = {"subject": "0199aaaa-aaaa-7aaa-8aaa-aaaaaaaaaaaa", "fields": ["name"], "purpose": "x"}
            with httpx.Client(base_url=served.url, timeout=PATIENCE) as one:
                answer = one.post("/v1/read", json=body, headers=bearers["support"]).json()
            workers.add(answer["request_id"].rpartition("-")[0])
            return len(workers) == 2

        served.until(met_both)
        with httpx.Client(base_url=served.url, timeout=PATIENCE) as client:
            subject = _new(client, bearers, "Ada Lovelace")
            before = _counted(client)
        for _ in range(20):
            with httpx.Client(base_url=served.url, timeout=PATIENCE) as client:
                assert _read(client, bearers, subject).json()["fields"] == {"name": "Ada Lovelace"}
        for _ in range(6):  # each worker shows the sum
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
