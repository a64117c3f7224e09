"""A bounded memory of answers whose look-up is one dictionary's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

Answer = TypeVar("Answer")


class Kept(Generic[Answer]):
    """Keeps at most ``most`` answers and forgets those that nobody has asked for of late.

    Two generations instead of a list by use: a hit moves nothing, so it costs what a dictionary costs. When the young
    generation is full it becomes the old one, and what is asked for again there comes back. Threads may share it:
    at worst an answer is forgotten early.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._young: dict[Hashable, Answer] = {}
        self._old: dict[Hashable, Answer] = {}

    def get(self, key: Hashable) -> Answer | None:
        """Return the answer, or ``None``."""
        found = self._young.get(key)
        if found is None and key in self._old:
            found = self._old.pop(key, None)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: Hashable, answer: Answer) -> None:
        """Keep an answer."""
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}
        self._young[key] = answer

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
