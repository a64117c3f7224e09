"""What many tests lean on: a clock that is moved by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vault.clock import Clock


class FixedClock(Clock):
    """Stands still until it is moved."""

    def __init__(self, moment: datetime = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)) -> None:
        self._moment = moment

    def now(self) -> datetime:
        return self._moment

    def advance(self, **by: float) -> None:
        self._moment += timedelta(**by)
