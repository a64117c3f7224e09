"""Options and arguments that several commands have, and the parsers of times and periods."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

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
Subject = Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The person's id.")]
Request = Annotated[UUID, typer.Argument(metavar="REQUEST", help="The request's id.")]
Names = list[str] | None
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, in one line; sealed.")]

SUBJECT = "0199aabb-0000-7000-8000-000000000001"
"""The id of a person in the examples."""

_DAYS = re.compile(r"([1-9][0-9]{0,4})d")


def parse_moment(typed: str, now: datetime, *, forward: bool) -> datetime:
    """Parse a time: ``90d`` from now or ago, the start of a day (``2027-01-31``, UTC), or a moment of RFC 3339.

    Raises:
        BadParameter: invalid, a time without a zone, or too many days.
    """
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


def parse_period(typed: str | Period) -> Period:
    """Parse a calendar period: ``P3Y``, ``P6M``, ``P30D`` or ``P1Y6M``.

    Raises:
        BadParameter: invalid, or zero.
    """
    from vault.catalogue.retention import Period, read_period

    if isinstance(typed, Period):  # an option's default, which goes through the parser too
        return typed
    period = read_period(typed)
    if period is None:
        raise typer.BadParameter("write P3Y, P6M, P30D or P1Y6M")
    return period


past = partial(typer.Option, metavar="WHEN", parser=lambda typed: parse_moment(typed, Clock().now(), forward=False))
"""An option for a time in the past."""
future = partial(typer.Option, metavar="WHEN", parser=lambda typed: parse_moment(typed, Clock().now(), forward=True))
"""An option for a time in the future."""
day = partial(typer.Option, metavar="DAY", formats=["%Y-%m-%d"])
"""An option for a day."""
