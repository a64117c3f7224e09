"""Reads the moments that people type."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

import typer

_DAYS = re.compile(r"([1-9][0-9]{0,4})d")


def parse_expiry(typed: str | None, now: datetime) -> datetime | None:
    """Read when a key ends: ``90d`` from now, the start of a day (``2027-01-31``, UTC), or a moment of RFC 3339.

    Raises:
        BadParameter: it is none of these, or has no time zone.
    """
    if typed is None:
        return None
    days = _DAYS.fullmatch(typed)
    if days:
        return now + timedelta(days=int(days[1]))
    try:
        if len(typed) == len("2027-01-31"):
            return datetime.combine(date.fromisoformat(typed), time(), UTC)
        moment = datetime.fromisoformat(typed)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(
            "write days from now (90d), a day (2027-01-31) or a moment with its zone (2027-01-31T12:00:00Z)",
            param_hint="'--expires'",
        )
    return moment.astimezone(UTC)
