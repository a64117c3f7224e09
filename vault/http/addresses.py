"""Calls without a sign-in, counted by the address of the client: one address does not use up what all share."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from vault.errors import TooMany

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv4Network

    from starlette.types import Scope

    from vault.clock import Clock

MOST_ADDRESSES: Final = 10_000
"""Addresses that are counted apart within a minute; later ones share one count, so that the memory is bounded."""
_HOUSEHOLD: Final = 64
"""Bits of an IPv6 address that name a network: who has one address has all of its network (RFC 6177)."""
_FORWARDED: Final = b"x-forwarded-for"


class Addresses:
    """Counts calls in each minute of the clock, in one process.

    Args:
        most: calls a minute from one address.
        proxies: networks of trusted proxies, whose ``X-Forwarded-For`` names the client.
    """

    def __init__(self, clock: Clock, *, most: int, proxies: Iterable[str] = ()) -> None:
        self._clock = clock
        self._most = most
        self._proxies = tuple(ip_network(proxy) for proxy in proxies)
        self._minute = -1
        self._calls: dict[str, int] = {}

    def count(self, scope: Scope) -> None:
        """Count a call.

        Raises:
            TooMany: its address has used up this minute.
        """
        minute = int(self._clock.now().timestamp() // 60)
        if minute != self._minute:
            self._minute, self._calls = minute, {}
        client = client_of(scope, self._proxies)
        if client not in self._calls and len(self._calls) >= MOST_ADDRESSES:
            client = ""
        calls = self._calls[client] = self._calls.get(client, 0) + 1
        if calls > self._most:
            raise TooMany("too many calls from this address", retry_after=60, hint="Try again in a minute.")


def client_of(scope: Scope, proxies: Iterable[IPv4Network | IPv6Network]) -> str:
    """Return the address of the client, of IPv6 its network; empty if it is unknown.

    ``X-Forwarded-For`` is read from the right: each trusted proxy has appended the address that called it. What is
    left of the last address that is not a proxy's is the client's own claim.
    """
    named = scope.get("client")
    address = _address(named[0] if named else "")
    if address is None:
        return ""
    proxies = tuple(proxies)
    for hop in reversed(_forwarded(scope) if proxies else []):
        if not any(address in proxy for proxy in proxies):
            break
        further = _address(hop)
        if further is None:
            break
        address = further
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _HOUSEHOLD), strict=False))
    return str(address)


def _forwarded(scope: Scope) -> list[str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == _FORWARDED]
    return [hop.strip() for value in values for hop in value.split(",")]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)  # an IPv4 client of a socket for both
    return mapped or address
