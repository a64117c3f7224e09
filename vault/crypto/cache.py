"""A cache whose entries are few, young, and gone for good once they are evicted."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

Key = TypeVar("Key", bound="Hashable")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Mark:
    """The moment at which a load began: its age counts from here, and an eviction since then voids it."""

    evictions: int
    expires: float


class AgedCache(Generic[Key, Value]):
    """Keeps what was loaded, bounded in number and in age.

    An entry lives for ``max_age`` however often it is used, because another node may have destroyed the key: so the
    oldest entry is also the next to expire, and the order of arrival serves both bounds.

    Args:
        most: entries at the most.
        max_age: seconds that an entry may be used for.
        monotonic: a clock in seconds that never goes back.
    """

    def __init__(self, *, most: int, max_age: float, monotonic: Callable[[], float]) -> None:
        self._entries: OrderedDict[Key, tuple[Value, float]] = OrderedDict()
        self._most = most
        self._max_age = max_age
        self._monotonic = monotonic
        self._evictions = 0
        self.hits = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """Return the entry if it is there and young enough."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] <= self._monotonic():
            del self._entries[key]
            return None
        self.hits += 1
        return entry[0]

    def get_all(self, keys: Sequence[Key]) -> list[Value | None]:
        """Return the entries that are there and young enough, none in place of the others: :meth:`get` for many."""
        now = self._monotonic()
        entries = self._entries
        found = [None if (entry := entries.get(key)) is None or entry[1] <= now else entry[0] for key in keys]
        self.hits += len(found) - found.count(None)
        return found

    def mark(self) -> Mark:
        """Remember, before a load, when it began."""
        return Mark(self._evictions, self._monotonic() + self._max_age)

    def keep(self, loaded: Mapping[Key, Value], since: Mark) -> None:
        """Keep what a load brought, unless anything was evicted while it was on its way.

        Without this check a load that overtakes a destruction would bring the destroyed key back into memory.
        """
        if since.evictions != self._evictions:
            return
        for key, value in loaded.items():
            self._entries.pop(key, None)  # so that it queues at the end
            self._entries[key] = (value, since.expires)
        self._shrink()

    def evict(self, key: Key) -> None:
        """Drop an entry, and void every load that is on its way."""
        self._evictions += 1
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Drop all entries, and void every load that is on its way."""
        self._evictions += 1
        self._entries.clear()

    def _shrink(self) -> None:
        now = self._monotonic()
        while self._entries:
            _value, expires = next(iter(self._entries.values()))
            if len(self._entries) <= self._most and expires > now:
                return
            self._entries.popitem(last=False)
