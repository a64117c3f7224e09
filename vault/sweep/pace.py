"""Never more people a minute than the policies allow: a sweep must not take the databases from those who work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MOST: Final = 200
"""People in one batch."""
_MINUTE: Final = 60.0


class Pace:
    """Spreads batches evenly.

    In any minute there are at most ``per_minute`` people, also where a sweep was cut off and goes on at once: room for
    two batches is left in it. Of a limit below ten one person is let through at a time, at least one a minute.

    Args:
        per_minute: people.
        monotonic: a clock in seconds that never goes back.
        sleep: waits for so many seconds.
    """

    def __init__(
        self, per_minute: int, monotonic: Callable[[], float], sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self.batch = max(1, min(MOST, per_minute // 10))
        self._seconds = _MINUTE / max(1, per_minute - 2 * self.batch)
        self._monotonic = monotonic
        self._sleep = sleep
        self._free_at: float | None = None

    async def wait(self, people: int) -> None:
        """Wait until so many people may be looked at."""
        now = self._monotonic()
        if self._free_at is not None and self._free_at > now:
            await self._sleep(self._free_at - now)
            now = self._free_at
        self._free_at = now + people * self._seconds
