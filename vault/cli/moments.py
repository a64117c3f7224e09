"""Reads the moments that people type."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

import typer

_DAYS = re.compile(r"([1-9][0-9]{0,4})d")


def parse_expiry(typed: str | None, now: datetime, *, option: str = "--expires") -> datetime | None:
    """Read when a key ends: ``90d`` from now, the start of a day (``2027-01-31``, UTC), or a moment of RFC 3339.

    Raises:
        BadParameter: it is none of these, or has no time zone.
    """
    return None if typed is None else _parse(typed, now, forward=True, option=option)


def parse_since(typed: str | None, now: datetime, *, option: str = "--since") -> datetime | None:
    """Read when a period begins that ends now: ``90d`` ago, the start of a day in UTC, or a moment of RFC 3339.

    Raises:
        BadParameter: it is none of these, or has no time zone, or lies too far back for a calendar.
    """
    return None if typed is None else _parse(typed, now, forward=False, option=option)


def _parse(typed: str, now: datetime, *, forward: bool, option: str) -> datetime:
    days = _DAYS.fullmatch(typed)
    try:
        if days:
            return now + timedelta(days=int(days[1])) * (1 if forward else -1)
        if len(typed) == len("2027-01-31"):
            return datetime.combine(date.fromisoformat(typed), time(), UTC)
        moment = datetime.fromisoformat(typed)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    way = "from now" if forward else "back"
    raise typer.BadParameter(
        f"write days {way} (90d), a day (2027-01-31) or a moment with its zone (2027-01-31T12:00:00Z)",
        param_hint=f"'{option}'",
    )
