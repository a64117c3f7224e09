"""Transfer of a portability package to another controller, but not to private addresses."""

from __future__ import annotations

import hashlib
import io
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.export.made_up import approved, built, change, made_up_entries
from tests.vaults import problem
from vault.export import build
from vault.export.verify import check_archive


@pytest.fixture(autouse=True)
def content(monkeypatch):
    monkeypatch.setattr(build, "package_entries", made_up_entries)


class Receiver(ThreadingHTTPServer):
    """Another controller: accepts everything, or answers with another status."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = 201
        self.got = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/inbox"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(self.server.answers)
        self.send_header("Content-Length", "0")
        if self.server.answers == 302:
            self.send_header("Location", self.server.url)
        self.end_headers()

    def log_message(self, *_args):
        """Log nothing."""


@pytest.fixture
def receiver():
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def open_node(sqlite_place, clock):
    """A vault that may send to private addresses."""
    async with sqlite_place.node(clock, webhooks_to_private_addresses=True) as node:
        yield node


def at(request):
    return f"/v1/requests/{request}/package:send"


async def test_the_other_controller_receives_the_package_with_its_digest(open_node, receiver):
    subject, request = await built(open_node, "portability")
    async with open_node.new_entries() as new_entries:
        answer = await open_node.post("dpo", at(request), {"url": receiver.url})
    assert answer.status_code == 200, answer.text
    ((path, headers, body),) = receiver.got
    assert path == "/inbox"
    assert check_archive(io.BytesIO(body)).document["kind"] == "portability"
    digest = hashlib.sha256(body).digest()
    assert headers["Content-Digest"] == f"sha-256=:{b64encode(digest).decode()}:"
    assert headers["Content-Type"] == "application/zip"
    assert headers["Content-Disposition"] == f'attachment; filename="portability-{request}.zip"'
    (entry,) = new_entries
    assert answer.json() == {"size": len(body), "sha256": digest.hex(), "status": 201, "audit": str(entry.id)}
    assert (entry.action, entry.decision, entry.target) == ("send-package", "allowed", request)
    assert entry.subjects == (await open_node.pseudonym(subject),)


async def test_a_refused_transfer_is_recorded(open_node, receiver):
    _subject, request = await built(open_node, "portability")
    for status in (302, 404, 500):
        receiver.answers = status
        async with open_node.new_entries() as new_entries:
            problem(await open_node.post("dpo", at(request), {"url": receiver.url}), 409, "transfer-failed")
        said = [(item.action, item.decision, item.code) for item in new_entries]
        assert said == [("send-package", "allowed", None), ("send-package", "failed", "transfer-failed")]
    assert len(receiver.got) == 3  # a redirect is not followed


async def test_an_unreachable_receiver_is_reported(open_node, receiver):
    _subject, request = await built(open_node, "portability")
    port = receiver.server_port
    receiver.server_close()
    answer = await open_node.post("dpo", at(request), {"url": f"http://127.0.0.1:{port}/inbox"})
    problem(answer, 409, "transfer-failed")


async def test_only_verified_portability_requests_are_sent(open_node, receiver):
    _subject, access = await built(open_node)
    _other, unverified = await built(open_node, "portability", profile={"name": "Somebody else"})
    await change(open_node, unverified, verification=None)
    pending = await approved(open_node, await open_node.create({"name": "A third"}), "portability")
    for request, code in ((access, "not-portable"), (unverified, "not-portable"), (pending, "package-not-ready")):
        problem(await open_node.post("dpo", at(request), {"url": receiver.url}), 409, code)
    assert receiver.got == []


async def test_nothing_is_sent_to_private_addresses(sqlite_node, receiver):
    _subject, request = await built(sqlite_node, "portability")
    for url in (
        receiver.url,
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest",
        "https://[::1]/x",
        "ftp://x/y",
        "",
    ):
        async with sqlite_node.new_entries() as new_entries:
            refused = await sqlite_node.post("dpo", at(request), {"url": url})
        problem(refused, 422, "invalid-url")
        assert [(item.action, item.decision, item.code) for item in new_entries] == [
            ("send-package", "failed", "invalid-url")
        ]
    refused = await sqlite_node.post("dpo", at(request), {"url": "https://localhost/x"})
    problem(refused, 409, "transfer-failed")
    assert receiver.got == []


async def test_other_roles_cannot_send(open_node, receiver):
    _subject, request = await built(open_node, "portability")
    problem(await open_node.post("support", at(request), {"url": receiver.url}), 403, "not-granted")
    assert receiver.got == []
