"""How much one process lets strangers do in a minute of the clock, and how much of it it writes down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.errors import TooMany

if TYPE_CHECKING:
    from vault.clock import Clock

MOST_ENTRIES = 60
"""Entries on the audit log for refusals; the next one says how many it stands for."""


class Minute:
    """Counts what callers do of whom nobody knows who they are, so that none floods the database or the audit log.

    Args:
        clock: whose minutes.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._minute = -1
        self._looks = self._written = self._uncounted = 0

    def look(self, most: int) -> None:
        """Count one attempt.

        Raises:
            TooMany: there were ``most`` within this minute.
        """
        self._roll()
        self._looks += 1
        if self._looks > most:
            raise TooMany("too many attempts at once", retry_after=60, first=False, hint="Try again in a minute.")

    def refused(self, most: int = MOST_ENTRIES) -> int | None:
        """Count one refusal.

        Returns:
            for how many refusals the entry stands that is to be written now; none where ``most`` were written within
            this minute, so that this one waits for the next entry.
        """
        self._roll()
        self._uncounted += 1
        if self._written >= most:
            return None
        self._written += 1
        count, self._uncounted = self._uncounted, 0
        return count

    def _roll(self) -> None:
        minute = int(self._clock.now().timestamp() // 60)
        if minute != self._minute:
            self._minute = minute
            self._looks = self._written = 0
