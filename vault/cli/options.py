"""Options that several commands have, and the parsers of times and periods."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vault.clock import Clock
from vault.ids import DEFAULT_TENANT

if TYPE_CHECKING:
    from vault.catalogue.retention import Period


HERE = Path()
DEFAULT = str(DEFAULT_TENANT)

VaultFolder = Annotated[
    Path,
    typer.Option(
        "--vault", metavar="DIR", envvar="CDV_VAULT", help="The vault's folder.", show_default="the current folder"
    ),
]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="The tenant.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
App = Annotated[str, typer.Argument(metavar="APP", help="Name of the app.")]


_DAYS = re.compile(r"([1-9][0-9]{0,4})d")


def future_moment(typed: str) -> datetime:
    """Parse an end by :func:`parse_expiry`, relative to now."""
    return parse_expiry(typed, Clock().now())


def past_moment(typed: str) -> datetime:
    """Parse a start by :func:`parse_since`, relative to now."""
    return parse_since(typed, Clock().now())


def parse_expiry(typed: str, now: datetime) -> datetime:
    """Parse an end: ``90d`` from now, the start of a day (``2027-01-31``, UTC), or a moment of RFC 3339.

    Raises:
        BadParameter: invalid, or a time without a zone.
    """
    return _parse(typed, now, forward=True)


def parse_since(typed: str, now: datetime) -> datetime:
    """Parse the start of a period that ends now: ``90d`` ago, the start of a day in UTC, or a moment of RFC 3339.

    Raises:
        BadParameter: invalid, a time without a zone, or too long ago.
    """
    return _parse(typed, now, forward=False)


def parse_period(typed: str | Period) -> Period:
    """Parse a calendar period: ``P3Y``, ``P6M``, ``P30D`` or ``P1Y6M``.

    Raises:
        BadParameter: invalid, or zero.
    """
    from vault.catalogue.retention import PERIOD, Period

    if isinstance(typed, Period):  # an option's default, which goes through the parser too
        return typed
    match = PERIOD.fullmatch(typed)
    years, months, days = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    if years + months + days == 0:
        raise typer.BadParameter("write P3Y, P6M, P30D or P1Y6M")
    return Period(years * 12 + months, days)


def _parse(typed: str, now: datetime, *, forward: bool) -> datetime:
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
        f"write days {way} (90d), a day (2027-01-31) or a moment with its zone (2027-01-31T12:00:00Z)"
    )
