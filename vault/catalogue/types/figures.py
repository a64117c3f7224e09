"""Views of dates and amounts."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ADULT = 18
OLDEST_BAND = 90
"""Ages from here on are one band, as few people are that old (compare 45 CFR 164.514(b)(2)(i)(C))."""


def age(value: str, today: date, _n: int = 0) -> int | None:
    """Count the completed years of life; null for a date that is still to come.

    A year is completed on the birthday itself. Whoever is born on 29 February completes it on 1 March in a common
    year: the later of the two days that laws know, so that nobody comes of age here before they do anywhere.
    """
    born = date.fromisoformat(value)
    if born > today:
        return None
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def over(value: str, today: date, n: int) -> bool:
    """Tell whether n years of life are completed: ``over_18`` is true from the 18th birthday on."""
    years = age(value, today)
    return years is not None and years >= n


def age_band(value: str, today: date, _n: int = 0) -> str | None:
    """Show the age as ``0-17``, ``18-29``, ``30-39`` and so on to ``80-89``, ``90+``; null for a date to come.

    Minors are one band: how old a child is, is more than a band should tell.
    """
    years = age(value, today)
    if years is None:
        return None
    if years < ADULT:
        return f"0-{ADULT - 1}"
    if years >= OLDEST_BAND:
        return f"{OLDEST_BAND}+"
    if years < 30:
        return f"{ADULT}-29"
    return f"{years // 10 * 10}-{years // 10 * 10 + 9}"


def year(value: str, _today: date, _n: int = 0) -> int:
    """Show the year."""
    return int(value[:4])


def month(value: str, _today: date, _n: int = 0) -> str:
    """Show year and month, as ``1990-07``."""
    return value[:7]


def month_day(value: str, _today: date, _n: int = 0) -> str:
    """Show month and day without the year, as ``07-14``: for birthday greetings."""
    return value[5:]


def rounded(value: str, _today: date, _n: int = 0) -> str:
    """Show one significant digit of the whole part: 1234.50 is 1000, 12.90 is 10, 0.40 is 0."""
    number = Decimal(value)
    step = Decimal(1).scaleb(max(number.adjusted(), 0))
    shown = (number / step).to_integral_value(ROUND_HALF_EVEN) * step
    return format(abs(shown) if shown == 0 else shown, ".0f")


def rounded_integer(value: int, today: date, _n: int = 0) -> int:
    """Show one significant digit: 1234 is 1000."""
    return int(rounded(str(value), today))


def rounded_money(value: Mapping[str, str], today: date, _n: int = 0) -> dict[str, str]:
    """Show the amount by one significant digit of its whole part, and the currency."""
    return {"amount": rounded(value["amount"], today), "currency": value["currency"]}
