"""Posting to addresses that others name: over real sockets, and to no place where the vault alone could go."""

from __future__ import annotations

import asyncio
import socket
import time
from ipaddress import ip_address

import pytest

from tests.certificates import make_certificate
from tests.recipients.receiver import Receiver, status
from vault.errors import InvalidInput
from vault.messaging.http import LARGEST_RESPONSE, NotPosted, Post, Posted, checked_url, may_connect

JSON = {"content-type": "application/json"}


async def _refused(post, url, code, **how):
    with pytest.raises(NotPosted) as caught:
        await post.send(url, b"{}", JSON, **how)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254",  # noqa: S104
        "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "100.100.100.200",
        "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1", "2002:7f00:1::1", "2001:0:7f00:1::1", "::127.0.0.1", "100::1",
    ],
)  # fmt: skip
def test_private_addresses_are_refused(address):
    assert not may_connect(ip_address(address), private=False)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public_addresses_are_accepted(address):
    assert may_connect(ip_address(address), private=False)


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("127.0.0.1", True), ("::1", True), ("10.1.2.3", True), ("fd12::1", True), ("1.1.1.1", True),
        ("169.254.169.254", False), ("::ffff:169.254.169.254", False), ("fe80::1", False), ("0.0.0.0", False),  # noqa: S104
        ("fd00:ec2::254", False), ("168.63.129.16", False), ("224.0.0.1", False), ("240.0.0.1", False),
        ("2002:7f00:1::1", False), ("fd20:ce::254", False),
    ],
)  # fmt: skip
def test_metadata_addresses_are_refused_even_where_private_ones_are_allowed(address, may):
    assert may_connect(ip_address(address), private=True) is may


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/", "ftp://example.org/", "file:///etc/passwd", "gopher://example.org", "example.org/hook",
        "https://", "https:///path", "https://user:secret@example.org/", "https://example.org@127.0.0.1/",
        "https://example.org/#part", "https://exa mple.org/", "https://example.org\\@127.0.0.1/",
        "https://example.org/\r\nX-Injected: 1", "https://ex\u00e4mple.org/", "https://[::1", "https://example.org:99999/",
        "https://example.org:0/", "https://127.0.0.1/", "https://[::1]/", "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/", "https://exam%70le.org/", "https://a..b/", "https://-a.org/", "", "https://" + "a" * 2000,
    ],
)  # fmt: skip
def test_an_address_has_its_form(url):
    with pytest.raises(InvalidInput) as caught:
        checked_url(url, private=False)
    assert caught.value.code == "invalid-url"
    assert "example" not in caught.value.detail + caught.value.faults[0].detail


def test_a_private_address_is_accepted_where_allowed():
    for url in (
        "http://127.0.0.1:8080/hook",
        "http://crm_api:9000/",
        "https://[fd12::1]/x",
        "https://crm.internal./?a=b",
    ):
        assert checked_url(url, private=True) == url.partition(":")[0]


async def test_a_post_arrives_unchanged(receiver):
    posted = await Post(private=True).send(receiver.url + "?to=crm", b'{"a":1}', {**JSON, "webhook-id": "msg_1"})
    assert posted == Posted(204, None)
    assert posted.taken
    (got,) = receiver.got
    assert (got.method, got.path, got.body) == ("POST", "/hook?to=crm", b'{"a":1}')
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["webhook-id"] == "msg_1"
    assert got.headers["content-length"] == "7"
    assert got.headers["user-agent"] == "customer-data-vault"
    assert not got.headers.keys() & {"cookie", "authorization", "accept-encoding"}


async def test_a_streamed_body_arrives_unchanged(receiver):
    async def pieces():
        for number in range(100):
            yield str(number).encode() * 100

    posted = await Post(private=True).send(receiver.url, pieces(), {"content-type": "application/zip"}, method="PUT")
    assert posted.taken
    assert receiver.got[0].method == "PUT"
    assert receiver.got[0].body == b"".join([str(number).encode() * 100 for number in range(100)])


async def test_a_redirect_is_not_followed(receiver):
    receiver.answers = [status(307, f"Location: {receiver.url}/elsewhere")]
    posted = await Post(private=True).send(receiver.url, b"{}", JSON)
    assert (posted.status, posted.taken) == (307, False)
    assert len(receiver.got) == 1


async def test_a_long_answer_is_read_in_part(receiver):
    receiver.answers = [status(200, body=b"x" * 10_000_000)]
    started = time.monotonic()
    assert (await Post(private=True).send(receiver.url, b"{}", JSON)).taken
    assert time.monotonic() - started < 2
    assert LARGEST_RESPONSE < 10_000


async def test_a_receiver_that_does_not_finish_its_answer_times_out(receiver):
    receiver.answers = [b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\n"]
    never = asyncio.Event()
    receiver.on_request = lambda _got: never.wait()
    await _refused(Post(private=True), receiver.url, "timed-out", timeout=0.2)
    never.set()


@pytest.mark.parametrize("nonsense", [None, b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 2"])
async def test_an_invalid_http_answer_is_a_failure(receiver, nonsense):
    receiver.answers = [nonsense]
    await _refused(Post(private=True), receiver.url, "no-answer")


async def test_a_closed_port_is_a_failure(receiver):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    await _refused(Post(private=True), f"http://127.0.0.1:{free}/", "no-answer")


async def test_retry_after_is_read_in_seconds_only(receiver):
    receiver.answers = [status(503, "Retry-After: 120"), status(503, "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT")]
    post = Post(private=True)
    assert [(await post.send(receiver.url, b"{}", JSON)).retry_after for _ in range(2)] == [120, None]


@pytest.mark.parametrize(
    ("trusted", "host", "code"),
    [
        (True, "crm.example.org", None),
        (False, "crm.example.org", "tls-failed"),
        (True, "erp.example.org", "tls-failed"),
    ],
)
async def test_tls_is_checked_against_the_name(tmp_path, monkeypatch, trusted, host, code):
    """The certificate is asked for the name, although the connection goes to an address."""
    certificate, tls = make_certificate(tmp_path, "crm.example.org")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    Names(monkeypatch, ["127.0.0.1"])
    async with Receiver(tls=tls) as receiver:
        url = f"https://{host}:{receiver.port}/"
        if code is None:
            assert (await Post(private=True).send(url, b"{}", JSON)).taken
        else:
            await _refused(Post(private=True), url, code)
    assert len(receiver.got) == (code is None)


# ---- Names that lead where they should not ---------------------------------------------------------------------------


class Names:
    """Stands for the name service: answers by turns."""

    def __init__(self, monkeypatch, *answers):
        self.asked = []
        self._answers = list(answers)
        monkeypatch.setattr(
            asyncio.base_events.BaseEventLoop, "getaddrinfo", lambda _loop, *args, **how: self._tell(*args, **how)
        )

    async def _tell(self, host, port, **_how):
        await asyncio.sleep(0)
        self.asked.append(host)
        addresses = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]


async def test_a_name_that_leads_to_a_private_address_is_refused(receiver, monkeypatch):
    Names(monkeypatch, ["127.0.0.1"])
    await _refused(Post(), f"https://crm.example.org:{receiver.port}/", "address-refused")
    assert receiver.got == []


async def test_a_name_with_one_private_address_is_refused(monkeypatch):
    Names(monkeypatch, ["1.1.1.1", "::ffff:10.0.0.1"])
    await _refused(Post(), "https://crm.example.org/", "address-refused")


async def test_a_numeric_host_is_checked_as_its_address(receiver):
    for host in ("2130706433", "0x7f000001", "127.1", "localhost"):
        await _refused(Post(), f"https://{host}:{receiver.port}/", "address-refused")


async def test_without_tls_nothing_goes_to_a_public_address(monkeypatch):
    Names(monkeypatch, ["1.1.1.1"])
    await _refused(Post(private=True), "http://crm.example.org/", "address-refused")


async def test_the_connection_uses_the_checked_address(receiver, monkeypatch):
    """A name that leads elsewhere at a second look (DNS rebinding): there is no second look."""
    names = Names(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    posted = await Post(private=True).send(f"http://crm.example.org:{receiver.port}/", b"{}", JSON)
    assert posted.taken
    assert names.asked.count("crm.example.org") == 1
    assert receiver.got[0].headers["host"] == f"crm.example.org:{receiver.port}"


async def test_the_next_address_is_tried_where_the_first_does_not_answer(receiver, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
    Names(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    assert (await Post(private=True).send(f"http://crm.example.org:{receiver.port}/", b"{}", JSON)).taken


async def test_an_unknown_name_is_a_failure(monkeypatch):
    async def nobody(*_args, **_how):
        raise socket.gaierror

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", nobody)
    await _refused(Post(), "https://nowhere.example.org/", "name-not-found")


async def test_proxies_of_the_environment_are_ignored(receiver, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await Post(private=True).send(receiver.url, b"{}", JSON)).taken
