"""The time, as something that is handed in: UTC and aware, always."""

from __future__ import annotations

from datetime import UTC, datetime


class Clock:
    """Tells the present moment. Tests hand in a subclass that stands still or is moved by hand."""

    def now(self) -> datetime:
        """Return the present moment as an aware datetime in UTC."""
        return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Write an aware moment as RFC 3339 in UTC with microseconds: the one form in which times leave the vault.

    Raises:
        ValueError: the moment is naive, so that nobody can say which instant it means.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
