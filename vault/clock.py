"""Time: the clock that operations use, and moments as RFC 3339 and as microseconds. Always aware, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
FIRST: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
"""The first moment that can be stored, in microseconds since 1970; ``LAST`` is the last one."""
LAST: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND


class Clock:
    """Returns the present moment. Tests use a subclass that is fixed or set by hand."""

    def now(self) -> datetime:
        """Return the present moment as an aware datetime in UTC."""
        return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Format an aware moment as RFC 3339 in UTC with microseconds: the only format in which times leave the vault.

    Raises:
        ValueError: the moment is naive, so it is not known which instant it means.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def to_microseconds(moment: datetime) -> int:
    """Return the microseconds from 1970 to an aware moment; exact, unlike ``timestamp()``.

    Raises:
        ValueError: the moment is naive, or is outside the years 1 to 9999 in UTC, so it could be written and never
            read again.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    count = (moment - EPOCH) // MICROSECOND
    if not FIRST <= count <= LAST:
        raise ValueError("a moment must be between the years 1 and 9999 in UTC")
    return count


def from_microseconds(count: int) -> datetime:
    """Return the aware moment (UTC) at a number of microseconds after 1970."""
    return EPOCH + timedelta(microseconds=count)
