"""Posts to other systems by HTTP: to public addresses only unless allowed, no redirects, bounded in size and time.

Whoever may name an address could aim it at what only the vault can reach: a cloud's metadata, a database beside it, the
vault itself. So a name is resolved here, every address that it leads to is looked at, and the connection goes to that
very address: a name that leads elsewhere a moment later changes nothing. TLS is checked against the name all the same.

Which addresses are posted to: read from a URL, resolved, looked at, and connected to as they were looked at.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpcore

from vault.errors import Fault, InvalidInput, VaultError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping


TIMEOUT: Final = 15.0
"""Seconds for the whole of a post, the answer included."""
CONNECT_TIMEOUT: Final = 5.0
LARGEST_ANSWER: Final = 4096
"""Bytes of an answer's body that are read, and thrown away; what comes after them is not waited for."""
AGENT: Final = "customer-data-vault"


class NotPosted(VaultError):
    """A post did not get an answer; ``code`` says why, and no word of what the other side said."""

    code = "no-answer"


class Posted(NamedTuple):
    """What the other side answered: its status, and for how many seconds it asks to be left alone."""

    status: int
    retry_after: int | None = None

    @property
    def taken(self) -> bool:
        """Tell whether the other side took it (2xx)."""
        return 200 <= self.status < 300


class Post:
    """Posts to addresses that others named.

    Args:
        private: whether loopback and private networks may be posted to, and those without TLS; for tests, and for
            vaults behind a firewall. Link-local addresses, a cloud's metadata among them, are refused all the same.
    """

    def __init__(self, *, private: bool = False) -> None:
        self._private = private
        self._tls: ssl.SSLContext | None = None

    def check(self, url: str) -> None:
        """See whether an address has its form, and is none that is never posted to.

        Raises:
            InvalidInput: it has not.
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
        """Send a body to an address; the answer's body is not looked at.

        Args:
            url: https, or http where private addresses are allowed and it leads to one.
            body: the whole, or its pieces; then it is sent in chunks, of whatever length.
            headers: ``Content-Type`` above all.
            method: ``POST`` or ``PUT``.
            timeout: seconds for the whole.

        Raises:
            InvalidInput: the address does not have its form.
            NotPosted: no answer: the code says whether the name leads nowhere (``name-not-found``), to an address
                that is not posted to (``address-refused``), TLS fails (``tls-failed``), the time is over
                (``timed-out``) or the connection fails (``no-answer``).
        """
        secure = checked_url(url, private=self._private) == "https"
        backend = Pinned(private=self._private, secure=secure)
        try:
            async with (
                asyncio.timeout(timeout),
                # A pool for this one post: nothing of one receiver's is ever kept for another's.
                httpcore.AsyncConnectionPool(self._context() if secure else None, network_backend=backend) as pool,
                pool.stream(
                    method,
                    url,
                    headers=_encoded({"User-Agent": AGENT, **headers}),
                    content=body,
                    extensions={"timeout": {"connect": CONNECT_TIMEOUT, "read": timeout, "write": timeout}},
                ) as response,
            ):
                told = Posted(response.status, _retry_after(response.headers))
                await _skip(response)
                return told
        except Refused as error:
            raise NotPosted(error.detail, code=error.code) from None
        except (TimeoutError, httpcore.TimeoutException):
            raise NotPosted("the other side took too long", code="timed-out") from None
        except httpcore.ConnectError as error:
            failed = isinstance(error.__cause__, ssl.SSLError) or isinstance(error.__context__, ssl.SSLError)
            code = "tls-failed" if failed else "no-answer"
            raise NotPosted("the other side cannot be connected to", code=code) from None
        except (httpcore.NetworkError, httpcore.ProtocolError):
            raise NotPosted("the other side gave no proper answer") from None

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpcore.default_ssl_context()
        return self._tls


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


async def _skip(response: httpcore.Response) -> None:
    """Read a little of the body, so that a well-behaved server sees its answer taken; what it says is nobody's."""
    read = 0
    async for piece in response.aiter_stream():
        read += len(piece)
        if read > LARGEST_ANSWER:
            return


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Read ``Retry-After`` in seconds (RFC 9110 §10.2.3); its other form, a date, is not worth reading."""
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
"""Teredo and 6to4: an address of these is a way to an IPv4 address that stands inside of it."""
_SPECIAL: Final = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
"""Set aside by the IETF, without being private; a cloud has its metadata there."""
_NEVER: Final = frozenset(
    {
        IPv4Address("168.63.129.16"),
        IPv4Address("100.100.100.200"),
        IPv6Address("fd00:ec2::254"),
        IPv6Address("fd20:ce::254"),
    }
)
"""Addresses of clouds' own services that do not lie where metadata usually lies, in 169.254.0.0/16."""


class Refused(VaultError):
    """This address is not connected to."""

    code = "address-refused"


def checked_url(url: str, *, private: bool) -> str:
    """See whether an address has its form: https (http where private addresses are allowed), a host, no user, no #.

    Returns:
        its scheme.

    Raises:
        InvalidInput: it has not, or names an address outright that is not posted to.
    """
    wrong = _spelling_fault(url) or _fault(url, private=private)
    if wrong is not None:
        fault = Fault("/url", "invalid-url", wrong)
        raise InvalidInput("the address does not have its form", faults=[fault], code="invalid-url")
    return urlsplit(url).scheme


def _spelling_fault(url: str) -> str | None:
    """Refuse what one reader of addresses takes for one thing and another for another."""
    if not 1 <= len(url) <= LONGEST_URL or not url.isascii() or not url.isprintable() or set(url) & set(' \\#<>"^`{|}'):
        return f"An address has 1 to {LONGEST_URL:,} printable ASCII characters; of other names write the punycode."
    try:
        parts = urlsplit(url)
        named = parts.hostname and parts.port != 0
    except ValueError:
        return "This is not an address."
    return None if named else "An address names a host."


def _fault(url: str, *, private: bool) -> str | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ({"https", "http"} if private else {"https"}):
        return "An address begins with https://."
    if "@" in parts.netloc:
        return "An address here has no user and no password."
    literal = _literal(host)
    if literal is not None:
        return None if may_connect(literal, private=private) else "This address is not posted to."
    written = len(host) <= LONGEST_HOST and all(map(_LABEL.fullmatch, host.removesuffix(".").split(".")))
    return None if written else "The host is not written as hosts are."


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def may_connect(address: IPv4Address | IPv6Address, *, private: bool) -> bool:
    """Tell whether an address is one to connect to.

    Args:
        address: resolved already.
        private: whether loopback and private networks are.
    """
    inner = _inside(address) if isinstance(address, IPv6Address) else None
    if inner is not None:
        return may_connect(inner, private=private)
    if address in _NEVER or address.is_unspecified or address.is_multicast or address.is_link_local:
        return False
    if any(address in each for each in (*_SPECIAL, *_TUNNELS)):
        return False
    if address.is_global and (isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST):
        return True
    return private and address.is_private and (address.is_loopback or not address.is_reserved)


def is_private(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address lies on this machine or in a private network: there, TLS may be done without."""
    inner = _inside(address) if isinstance(address, IPv6Address) else None
    return not (inner or address).is_global


def _inside(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for: mapped (RFC 4291), or translated (RFC 6052)."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


class Pinned(httpcore.AsyncNetworkBackend):
    """Connects to the very addresses that it has looked at.

    Args:
        private: whether loopback and private networks may be connected to.
        secure: whether TLS follows; without, a public address is refused.
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
        """Resolve, look at every address, and connect to the first that answers.

        Raises:
            Refused: a single one of the addresses is none to connect to, or there is none.
        """
        found = await self._resolve(host, port)
        for address in found[:-1]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(found[-1], port, timeout, local_address, socket_options)

    async def _resolve(self, host: str, port: int) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise Refused("the name leads nowhere", code="name-not-found") from None
        addresses = list(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))
        for each in map(ip_address, addresses):
            # One bad address spoils the name: who mixes them is trying something.
            if not may_connect(each, private=self._private) or not (self._secure or is_private(each)):
                raise Refused("the name leads to an address that is not posted to")
        if not addresses:
            raise Refused("the name leads nowhere", code="name-not-found")
        return addresses
