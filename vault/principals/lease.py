"""The arithmetic of rate limits: windows, chunks and what is left of them. It knows no database and no time of its own.

All nodes share one budget a principal, kind and minute. Each node leases a chunk of it from the database and spends
that in memory. A lease is never more than what the budget still held, so all nodes together never spend more than the
limit.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, TypeAlias

WINDOW = 60
"""Length of a window in seconds; every window starts on a full minute of UTC."""

_SHARES = 20

RateKind = Literal["read", "search"]
LeaseKey: TypeAlias = tuple[str, int, RateKind]
"""Tenant, principal id as a number (it hashes ten times as fast as a UUID), kind."""


def window_start(now: datetime) -> int:
    """Return the start of the window that holds this moment, in seconds since 1970."""
    return int(now.timestamp()) // WINDOW * WINDOW


def chunk(limit: int, missing: int) -> int:
    """Return how much to lease when ``missing`` are wanted at once: a twentieth of the limit, or more if need be.

    A twentieth is at most 20 visits a minute to the database, and at most a twentieth that one node holds unused
    while another goes without.
    """
    return max(missing, limit // _SHARES, 1)


def granted(limit: int, asked: int, used: int) -> int:
    """Return how much of what was asked for the budget still held, ``used`` being the sum after this request."""
    return max(0, min(asked, limit - (used - asked)))


class Leases:
    """What this node may still spend in one window. A new window is a new object, so nothing is left to clear."""

    __slots__ = ("_exhausted", "_left", "_refused", "begins", "ends", "start", "swept")

    def __init__(self, start: int) -> None:
        self.start = start
        self.begins = datetime.fromtimestamp(start, UTC)
        self.ends = datetime.fromtimestamp(start + WINDOW, UTC)
        self.swept = False  # whether this node has deleted the windows before this one
        self._left: dict[LeaseKey, int] = {}
        self._exhausted: set[LeaseKey] = set()
        self._refused: set[LeaseKey] = set()

    def spend(self, key: LeaseKey, n: int) -> bool:
        """Spend ``n`` if that much is left here; else change nothing."""
        left = self._left.get(key, 0)
        if not 0 < n <= left:
            return False
        self._left[key] = left - n
        return True

    def left(self, key: LeaseKey) -> int:
        """Return what is left here."""
        return self._left.get(key, 0)

    def is_exhausted(self, key: LeaseKey) -> bool:
        """Tell whether the shared budget is known to be used up, so that asking for more is of no use."""
        return key in self._exhausted

    def add(self, key: LeaseKey, *, limit: int, asked: int, used: int) -> None:
        """Enter the database's answer to a request for ``asked``: ``used`` is the shared sum with it."""
        self._left[key] = self._left.get(key, 0) + granted(limit, asked, used)
        if used >= limit:
            self._exhausted.add(key)

    def refuse(self, key: LeaseKey) -> bool:
        """Enter a refusal; tell whether it is this key's first in the window."""
        first = key not in self._refused
        self._refused.add(key)
        return first
