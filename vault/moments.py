"""Times that come in from outside: how they are written, and which ones a vault takes. One module for all doors.

A time out of range is a placeholder (other systems write the year 1 or 9999 for "no date") or a slip. Stored, it would
overflow in a time zone, end a value before it began, or keep it for centuries. A mistyped year has the same effect, so
each door states how far ahead of the present a time may lie.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from vault.clock import to_microseconds
from vault.errors import Fault, InvalidInput

if TYPE_CHECKING:
    from datetime import tzinfo

EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""The first moment that is no longer taken; what is said to end later has no end."""
RANGE: Final = "a time zone, and the years 1900 to 2199 in UTC"
SKEW: Final = timedelta(seconds=60)
"""Tolerated error of the clocks of apps."""

_FIRST, _END = to_microseconds(EARLIEST), to_microseconds(LATEST)
_WRITTEN: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-5][0-9])?)?"
)


def is_in_range(moment: datetime) -> bool:
    """Return whether a moment has a time zone and lies in the years 1900 to 2199 in UTC."""
    try:
        return _FIRST <= to_microseconds(moment) < _END
    except ValueError:
        return False


def moment_fault(moment: datetime | None, *, at: str, latest: datetime | None = None) -> Fault | None:
    """Return what is wrong with a time; None if nothing is, or there is none.

    Args:
        at: JSON pointer of the time.
        latest: the last moment that is taken; later ones are ``event-in-future``.
    """
    if moment is None:
        return None
    if not is_in_range(moment):
        return Fault(at, "out-of-range", RANGE)
    if latest is not None and moment > latest:
        return Fault(at, "event-in-future", "the time lies ahead of the present by more than is tolerated")
    return None


def check_moment(moment: datetime | None, *, at: str, latest: datetime | None = None) -> None:
    """Check a time.

    Raises:
        InvalidInput: it is out of range (``invalid-value``), or after ``latest`` (``event-in-future``).
    """
    fault = moment_fault(moment, at=at, latest=latest)
    if fault is not None:
        general = "invalid-value" if fault.code == "out-of-range" else fault.code
        raise InvalidInput(fault.detail, faults=[fault], code=general)


def check_day(day: date | None, *, at: str) -> None:
    """Check a day in UTC.

    Raises:
        InvalidInput: it is out of range.
    """
    if day is not None and not EARLIEST.date() <= day < LATEST.date():
        detail = "a day of the years 1900 to 2199"
        raise InvalidInput(detail, faults=[Fault(at, "out-of-range", detail)], code="invalid-value")


def in_utc(moment: datetime, zone: tzinfo = UTC) -> datetime | None:
    """Return a moment in UTC; None if it is out of range. ``zone`` is the zone of a moment that has none."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
    return aware.astimezone(UTC) if is_in_range(aware) else None


def read_moment(text: str) -> datetime | None:
    """Read a time as RFC 3339 writes it, with or without its zone, or a day for its midnight; None if it is neither.

    Other forms of ISO 8601 are not read: ``+0530``, weeks, and times without seconds are as often a mistake.
    """
    if not _WRITTEN.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None
