"""A cache of opened keys, bounded in number and age, from which evicted entries never come back."""

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
    """The start of a load. The age of its entries counts from here, and an eviction since then voids it."""

    evictions: int
    expires: float


class AgedCache(Generic[Key, Value]):
    """A cache bounded in number and in age.

    An entry lives for ``max_age`` even if it is used often, because another node may have destroyed the key. So the
    oldest entry is also the next to expire, and the order of insertion serves both bounds.

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
        """Return an entry that has not expired, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] <= self._monotonic():
            del self._entries[key]
            return None
        self.hits += 1
        return entry[0]

    def get_all(self, keys: Sequence[Key]) -> list[Value | None]:
        """Return many entries like :meth:`get`, with None for missing ones."""
        now = self._monotonic()
        entries = self._entries
        values = [None if (entry := entries.get(key)) is None or entry[1] <= now else entry[0] for key in keys]
        self.hits += len(values) - values.count(None)
        return values

    def mark(self) -> Mark:
        """Return the mark for a load that begins now."""
        return Mark(self._evictions, self._monotonic() + self._max_age)

    def keep(self, loaded: Mapping[Key, Value], since: Mark) -> None:
        """Add the result of a load, unless an entry was evicted since it began."""
        # Without this check, a load that overlaps with a destruction would bring the destroyed key back into memory.
        if since.evictions != self._evictions:
            return
        for key, value in loaded.items():
            self._entries.pop(key, None)  # so that it is added at the end
            self._entries[key] = (value, since.expires)
        self._shrink()

    def evict(self, key: Key) -> None:
        """Drop an entry, and void every load in progress."""
        self._evictions += 1
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Drop all entries, and void every load in progress."""
        self._evictions += 1
        self._entries.clear()

    def _shrink(self) -> None:
        now = self._monotonic()
        while self._entries:
            _value, expires = next(iter(self._entries.values()))
            if len(self._entries) <= self._most and expires > now:
                return
            self._entries.popitem(last=False)
