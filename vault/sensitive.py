"""A wrapper for values that must never be printed by accident."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

REDACTED = "[sensitive]"


class Sensitive(Generic[T]):
    """Holds a secret or a personal value; shows ``[sensitive]`` wherever it is printed, formatted or logged.

    ``reveal()`` is the only access, so that every use of the value can be found by searching for that word.
    Two wrappers compare by identity only: a comparison by value would invite a timing side channel.
    """

    __slots__ = ("__value",)

    def __init__(self, value: T) -> None:
        self.__value = value

    def reveal(self) -> T:
        """Return the wrapped value."""
        return self.__value

    def __repr__(self) -> str:
        return REDACTED

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return REDACTED

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a sensitive value is not to be pickled")
