"""Options that many commands share, and the groups that hold commands.

Reads the moments that people type.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="The tenant that is meant.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def examples(*lines: str) -> str:
    """Make the end of a command's help: every command shows how it is used."""
    return "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *lines])


def make_group(help_text: str, *lines: str) -> typer.Typer:
    """Make a group of commands that shows its help where none of them is named."""
    group = typer.Typer(help=help_text, epilog=examples(*lines), invoke_without_command=True)

    @group.callback()
    def start(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    return group


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


def parse_period(typed: str, *, option: str) -> Period:
    """Read a span by the calendar: ``P3Y``, ``P6M``, ``P30D`` or ``P1Y6M``.

    Raises:
        BadParameter: it is none, or no time at all.
    """
    from vault.catalogue.retention import PERIOD
    from vault.catalogue.retention import Period as Span

    match = PERIOD.fullmatch(typed)
    years, months, days = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    if years + months + days == 0:
        raise typer.BadParameter("write P3Y, P6M, P30D or P1Y6M", param_hint=f"'{option}'")
    return Span(years * 12 + months, days)


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
