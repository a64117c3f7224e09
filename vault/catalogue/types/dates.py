"""Calendar dates."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from vault.catalogue.types.base import EVERY_TYPE, FieldType, Match, Option, ValueProblem, View
from vault.catalogue.types.text import folded

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.catalogue.types.base import Options

ADULT = 18
OLDEST_BAND = 90
"""Ages from here on are one band, as few people are that old (compare 45 CFR 164.514(b)(2)(i)(C))."""

FIRST_BIRTH = "1900-01-01"
"""No one alive was born before, and systems write 1899-12-30 or 0001-01-01 for a date that they do not know."""
TODAY = "today"
NO_SUCH_DAY = "the calendar has no such day"

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def day_of(value: object) -> date | None:
    """Read a date as ISO 8601 writes it in full (``1990-07-14``); None if the calendar has no such day."""
    text = value.strip() if isinstance(value, str) and len(value) <= 64 else ""
    if not _ISO.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def is_written_day(text: str) -> bool:
    """Return whether a text has the form of a day, such as 1991-02-29, which no calendar needs to have."""
    return _ISO.fullmatch(text) is not None


def calendar_date(value: object, options: Options) -> str:
    """Return a date as ``YYYY-MM-DD``, within ``earliest`` and ``latest`` if the field has them.

    Raises:
        ValueProblem: it is no date, or outside of the bounds.
    """
    if not isinstance(value, str):
        raise ValueProblem("wrong-type", "must be a text with a date such as 1990-07-14")
    day = day_of(value)
    if day is None:
        detail = NO_SUCH_DAY if is_written_day(value.strip()) else "must be a date, as YYYY-MM-DD"
        raise ValueProblem("bad-format", detail)
    text = day.isoformat()
    latest = options.get("latest", text)
    # Four-digit ISO dates sort as texts.
    if text < options.get("earliest", text) or (latest != TODAY and text > latest):
        raise _out_of_bounds(options)
    return text


def not_after_today(value: str, options: Options, today: date) -> None:
    """Check a date whose ``latest`` is today.

    Raises:
        ValueProblem: it is to come.
    """
    if options.get("latest") == TODAY and value > today.isoformat():
        raise _out_of_bounds(options)


def _out_of_bounds(options: Options) -> ValueProblem:
    bounds = (f"{word} {options[name]}" for name, word in (("earliest", "from"), ("latest", "to")) if name in options)
    return ValueProblem("out-of-range", f"must be {' '.join(bounds)}, unless the catalogue says otherwise")


def _bounds_of_births(category: str) -> Options:
    return {"earliest": FIRST_BIRTH, "latest": TODAY} if _is_birth(category) else {}


def _is_birth(category: str) -> bool:
    return category.endswith("date_of_birth")


def _is_date(setting: object) -> str | None:
    return (
        None
        if isinstance(setting, str) and _ISO.fullmatch(setting) and day_of(setting)
        else "must be a date in quotes, as YYYY-MM-DD"
    )


def _is_date_or_today(setting: object) -> str | None:
    return None if setting == TODAY or _is_date(setting) is None else 'must be a date as YYYY-MM-DD, or "today"'


def _in_order(options: Options) -> str | None:
    earliest, latest = options.get("earliest"), options.get("latest")
    wrong = earliest is not None and latest not in {None, TODAY} and earliest > latest
    return "the option 'earliest' must not be after the option 'latest'" if wrong else None


def age(value: str, today: date, _n: int = 0) -> int | None:
    """Count the completed years of life; null for a date that is still to come."""
    born = date.fromisoformat(value)
    if born > today:
        return None
    # A person born on 29 February completes a year on 1 March in a common year, in every country. In Germany the year
    # ends with 28 February (BGB § 187(2), § 188(2)), which is the same moment; where a law says 28 February, this is a
    # day later, so that no one comes of age here before they do elsewhere.
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def over(value: str, today: date, n: int) -> bool:
    """Show whether n years of life are completed: ``over_18`` is true from the 18th birthday on."""
    years = age(value, today)
    return years is not None and years >= n


def age_band(value: str, today: date, _n: int = 0) -> str | None:
    """Show the age as ``0-17``, ``18-29``, ``30-39`` and so on to ``80-89``, ``90+``; null for a date to come."""
    years = age(value, today)
    if years is None:
        return None
    if years < ADULT:  # one band, which must not reveal how old a child is
        return f"0-{ADULT - 1}"
    if years >= OLDEST_BAND:
        return f"{OLDEST_BAND}+"
    if years < 30:
        return f"{ADULT}-29"
    return f"{years // 10 * 10}-{years // 10 * 10 + 9}"


def _lines(value: object, write_day: Callable[[str], str]) -> list[str] | None:
    return [write_day(value)] if isinstance(value, str) else None


DATE = FieldType(
    name="date",
    title="a calendar date, as YYYY-MM-DD (ISO 8601)",
    normalise=calendar_date,
    views={
        **EVERY_TYPE,
        "year": View(lambda value, _today, _n: int(value[:4]), "the year, as a number"),
        "month": View(lambda value, _today, _n: value[:7], "year and month, such as 1990-07"),
        # for birthday greetings
        "month_day": View(lambda value, _today, _n: value[5:], "month and day without the year, such as 07-14"),
        "age": View(age, "completed years; 29 February completes them on 1 March; null for a date to come"),
        "age_band": View(age_band, "0-17, 18-29, 30-39 and so on to 80-89, 90+; null for a date to come"),
        "over_n": View(over, "whether n years are completed; 29 February completes them on 1 March"),
    },
    options={
        "earliest": Option("first date that is taken", _is_date),
        "latest": Option("last date that is taken, or `today`", _is_date_or_today),
    },
    agree=_in_order,
    indexes=frozenset({"exact"}),
    fold=folded,
    defaults=_bounds_of_births,
    check_today=not_after_today,
    match=Match(40, _is_birth, kind="born"),
    lines=_lines,
)
