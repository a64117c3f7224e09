"""Bearers that were verified a moment ago, so that a read does not ask the database who calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from vault.principals.principal import Principal

# How long a changed principal or key stays off the cache, in seconds: longer than any transaction may take, so that
# what was read before the change was committed is never kept after it.
_SETTLING = 60.0


class KeptBearers:
    """A bounded map from a bearer's digest to its principal, each for at most ``max_age`` seconds.

    Args:
        monotonic: seconds from any start, never going back; not the wall clock, which may be set.
        max_age: seconds after which every bearer is verified anew: the longest that a revoked key lives on other nodes.
        most: number of bearers kept; beyond it the oldest goes.
    """

    def __init__(self, monotonic: Callable[[], float], *, max_age: float, most: int) -> None:
        self._monotonic = monotonic
        self._max_age = max_age
        self._most = most
        self._entries: dict[bytes, tuple[float, Principal, frozenset[UUID]]] = {}
        self._settling: dict[UUID, float] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, digest: bytes) -> Principal | None:
        """Return the principal of a bearer that is still good, or None."""
        entry = self._entries.get(digest)
        if entry is None or entry[0] <= self._monotonic():
            return None
        return entry[1]

    def put(
        self, digest: bytes, principal: Principal, *, since: float, lifetime: float, stands_on: frozenset[UUID]
    ) -> None:
        """Keep a verified bearer.

        Args:
            digest: the bearer's.
            principal: whom it speaks for.
            since: monotonic seconds from before the verification began, for what it found may have changed meanwhile.
            lifetime: seconds that the bearer itself is still good.
            stands_on: the ids of the key and principal whose change ends it.
        """
        now = self._monotonic()
        self._settling = {changed: until for changed, until in self._settling.items() if until > now}
        self._entries.pop(digest, None)
        until = since + min(lifetime, self._max_age)
        if until <= now or not stands_on.isdisjoint(self._settling):
            return
        while len(self._entries) >= self._most:
            del self._entries[next(iter(self._entries))]
        self._entries[digest] = (until, principal, stands_on)

    def forget(self, changed: UUID) -> None:
        """Drop every bearer that stands on this key or principal, and keep none until the change has settled.

        It is called inside the transaction that makes the change. Until that one is committed the database still says
        the old thing, so an answer read meanwhile may be given but not kept; from the commit on all calls find the new.
        """
        now = self._monotonic()
        self._settling[changed] = now + _SETTLING + self._max_age
        self._entries = {key: entry for key, entry in self._entries.items() if changed not in entry[2]}
