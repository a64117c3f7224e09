"""Post to other systems by HTTP: to public addresses only unless allowed, without redirects, bounded in size and time.

An address that a caller names could be aimed at what only the vault can reach (server-side request forgery): a cloud's
metadata, a database, the vault itself. So the name is resolved here, every resolved address is checked, and the
connection goes to a checked address; a later change of the name has no effect. TLS is verified against the name.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpcore

from vault.errors import Fault, InvalidInput, VaultError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping


TIMEOUT: Final = 15.0
"""Seconds for a whole post, with its response."""
CONNECT_TIMEOUT: Final = 5.0
LARGEST_RESPONSE: Final = 4096
"""Bytes of a response body that are read and discarded; the rest is not read."""
AGENT: Final = "customer-data-vault"


class NotPosted(VaultError):
    """A post failed; ``code`` says why. The error contains nothing of what the receiver sent."""

    code = "no-answer"


@dataclass(frozen=True, slots=True)
class Posted:
    """The receiver's response: its status, and the seconds after which it asks to be called again."""

    status: int
    retry_after: int | None = None

    @property
    def taken(self) -> bool:
        """Return whether the receiver accepted the post (2xx)."""
        return 200 <= self.status < 300


class Post:
    """Posts to addresses that callers name.

    Args:
        private: also post to loopback and private networks, there without TLS; for tests, and for vaults behind a
            firewall. Link-local addresses, such as a cloud's metadata, are always refused.
    """

    def __init__(self, *, private: bool = False) -> None:
        self._private = private
        self._tls: ssl.SSLContext | None = None

    def check(self, url: str) -> None:
        """Check a URL.

        Raises:
            InvalidInput: it is invalid, or names an address that is not allowed.
        """
        checked_url(url, private=self._private)

    async def send(
        self,
        url: str,
        body: bytes | AsyncIterator[bytes],
        headers: Mapping[str, str],
        *,
        method: str = "POST",
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - it bounds more than one wait
    ) -> Posted:
        """Send a body to a URL; the response body is ignored.

        Args:
            url: https, or http if private addresses are allowed and it resolves to one.
            body: the whole body, or its pieces; pieces are sent chunked, with no limit on their total length.
            headers: such as ``Content-Type``.
            method: ``POST`` or ``PUT``.
            timeout: seconds for the whole post.

        Raises:
            InvalidInput: the URL is invalid.
            NotPosted: there is no response. The code says why: the name does not resolve (``name-not-found``), an
                address is not allowed (``address-refused``), TLS fails (``tls-failed``), the time is over
                (``timed-out``), or the connection fails (``no-answer``).
        """
        secure = checked_url(url, private=self._private) == "https"
        backend = Pinned(private=self._private, secure=secure)
        all_headers = {"User-Agent": AGENT, **headers}
        try:
            async with (
                asyncio.timeout(timeout),
                # A pool for this post alone: no connection of one receiver is reused for another.
                httpcore.AsyncConnectionPool(self._context() if secure else None, network_backend=backend) as pool,
                pool.stream(
                    method,
                    url,
                    headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in all_headers.items()],
                    content=body,
                    extensions={"timeout": {"connect": CONNECT_TIMEOUT, "read": timeout, "write": timeout}},
                ) as response,
            ):
                posted = Posted(response.status, _retry_after(response.headers))
                await _discard_body(response)
                return posted
        except Refused as error:
            raise NotPosted(error.detail, code=error.code) from None
        except (TimeoutError, httpcore.TimeoutException):
            raise NotPosted("the receiver took too long", code="timed-out") from None
        except httpcore.ConnectError as error:
            failed = isinstance(error.__cause__, ssl.SSLError) or isinstance(error.__context__, ssl.SSLError)
            code = "tls-failed" if failed else "no-answer"
            raise NotPosted("the receiver cannot be connected to", code=code) from None
        except (httpcore.NetworkError, httpcore.ProtocolError):
            raise NotPosted("the receiver sent no valid response") from None

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpcore.default_ssl_context()
        return self._tls


async def _discard_body(response: httpcore.Response) -> None:
    """Read a little of the body, so that a well-behaved server sees its response received."""
    read = 0
    async for piece in response.aiter_stream():
        read += len(piece)
        if read > LARGEST_RESPONSE:
            return


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return ``Retry-After`` in seconds (RFC 9110 §10.2.3); its other form, a date, is ignored."""
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 7:
            return int(value)
    return None


LONGEST_URL: Final = 2000
LONGEST_HOST: Final = 253
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_TUNNELS: Final = (IPv6Network("2001::/32"), IPv6Network("2002::/16"))
"""Teredo and 6to4: their addresses lead to an IPv4 address that they contain."""
_SPECIAL: Final = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
"""Reserved by the IETF, but not private; one cloud has its metadata there."""
_NEVER: Final = frozenset(
    {
        IPv4Address("168.63.129.16"),
        IPv4Address("100.100.100.200"),
        IPv6Address("fd00:ec2::254"),
        IPv6Address("fd20:ce::254"),
    }
)
"""Addresses of clouds' own services outside 169.254.0.0/16, where metadata usually is."""


class Refused(VaultError):
    """The address is not allowed."""

    code = "address-refused"


def checked_url(url: str, *, private: bool) -> str:
    """Check a URL: https (http if private addresses are allowed), a host, no user, no fragment.

    Returns:
        the scheme.

    Raises:
        InvalidInput: it is invalid, or its host is an address that is not allowed.
    """
    detail = _spelling_fault(url) or _fault(url, private=private)
    if detail is not None:
        fault = Fault("/url", "invalid-url", detail)
        raise InvalidInput("invalid URL", faults=[fault], code="invalid-url")
    return urlsplit(url).scheme


def _spelling_fault(url: str) -> str | None:
    """Refuse URLs that two parsers may read differently."""
    if not 1 <= len(url) <= LONGEST_URL or not url.isascii() or not url.isprintable() or set(url) & set(' \\#<>"^`{|}'):
        return f"A URL has 1 to {LONGEST_URL:,} printable ASCII characters; write other host names in punycode."
    try:
        parts = urlsplit(url)
        named = parts.hostname and parts.port != 0
    except ValueError:
        return "Not a URL."
    return None if named else "The URL has no host."


def _fault(url: str, *, private: bool) -> str | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ({"https", "http"} if private else {"https"}):
        return "The URL must begin with https://."
    if "@" in parts.netloc:
        return "The URL must have no user and no password."
    with suppress(ValueError):
        return None if may_connect(ip_address(host), private=private) else "This address is not allowed."
    valid = len(host) <= LONGEST_HOST and all(map(_LABEL.fullmatch, host.removesuffix(".").split(".")))
    return None if valid else "The host name is invalid."


def may_connect(address: IPv4Address | IPv6Address, *, private: bool) -> bool:
    """Return whether a connection to an address is allowed.

    Args:
        address: the resolved address.
        private: allow loopback and private networks.
    """
    inner = _inside(address) if isinstance(address, IPv6Address) else None
    if inner is not None:
        return may_connect(inner, private=private)
    if address in _NEVER or address.is_unspecified or address.is_multicast or address.is_link_local:
        return False
    if any(address in network for network in (*_SPECIAL, *_TUNNELS)):
        return False
    if address.is_global and (isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST):
        return True
    return private and address.is_private and (address.is_loopback or not address.is_reserved)


def is_private(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is on this machine or in a private network, where TLS is not required."""
    inner = _inside(address) if isinstance(address, IPv6Address) else None
    return not (inner or address).is_global


def _inside(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address in an IPv6 address: mapped (RFC 4291), or translated (RFC 6052)."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


class Pinned(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that it has checked.

    Args:
        private: allow loopback and private networks.
        secure: whether TLS follows; without it, a public address is refused.
    """

    def __init__(self, *, private: bool, secure: bool) -> None:
        self._private = private
        self._secure = secure
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve the host, check every address, and connect to the first that answers.

        Raises:
            Refused: one of the addresses is not allowed, or the host does not resolve.
        """
        addresses = await self._resolve(host, port)
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def _resolve(self, host: str, port: int) -> list[str]:
        try:
            resolved = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise Refused("the host name does not resolve", code="name-not-found") from None
        addresses = list(dict.fromkeys(str(info[4][0]).partition("%")[0] for info in resolved))
        for address in map(ip_address, addresses):
            # One disallowed address refuses the whole name: a mix of allowed and disallowed ones is an attack.
            if not may_connect(address, private=self._private) or not (self._secure or is_private(address)):
                raise Refused("the host name resolves to an address that is not allowed")
        if not addresses:
            raise Refused("the host name does not resolve", code="name-not-found")
        return addresses
