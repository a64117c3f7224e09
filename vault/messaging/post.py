"""Posts to other systems by HTTP: to public addresses only unless allowed, no redirects, bounded in size and time.

Whoever may name an address could aim it at what only the vault can reach: a cloud's metadata, a database beside it, the
vault itself. So a name is resolved here, every address that it leads to is looked at, and the connection goes to that
very address: a name that leads elsewhere a moment later changes nothing. TLS is checked against the name all the same.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final, NamedTuple

import httpcore

from vault.errors import VaultError
from vault.messaging.http import Pinned, Refused, checked_url

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
