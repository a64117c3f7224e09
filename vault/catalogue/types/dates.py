"""Calendar dates."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from vault.catalogue.types.base import EVERY_TYPE, FieldType, Option, ValueProblem

if TYPE_CHECKING:
    from vault.catalogue.types.base import Options

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def day_of(value: object) -> date | None:
    """Read a date as ISO 8601 writes it in full (``1990-07-14``); None where it is none that the calendar has."""
    text = value.strip() if isinstance(value, str) and len(value) <= 64 else ""
    if not _ISO.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def calendar_date(value: object, options: Options) -> str:
    """Return a date as ``YYYY-MM-DD``, within ``earliest`` and ``latest`` where the field has them.

    Raises:
        ValueProblem: it is no date, or outside of the bounds.
    """
    if not isinstance(value, str):
        raise ValueProblem("wrong-type", "must be a text with a date such as 1990-07-14")
    day = day_of(value)
    if day is None:
        raise ValueProblem("bad-format", "must be a date that the calendar has, as YYYY-MM-DD")
    text = day.isoformat()
    # Four-digit ISO dates sort as texts.
    if text < options.get("earliest", text) or text > options.get("latest", text):
        raise ValueProblem("out-of-range", "must not be before the earliest or after the latest date of its field")
    return text


def _is_date(setting: object) -> str | None:
    return (
        None
        if isinstance(setting, str) and _ISO.fullmatch(setting) and day_of(setting)
        else "must be a date in quotes, as YYYY-MM-DD"
    )


def _in_order(options: Options) -> str | None:
    earliest, latest = options.get("earliest"), options.get("latest")
    wrong = earliest is not None and latest is not None and earliest > latest
    return "the option 'earliest' must not be after the option 'latest'" if wrong else None


DATE = FieldType(
    name="date",
    title="a calendar date, as YYYY-MM-DD (ISO 8601)",
    normalise=calendar_date,
    views=EVERY_TYPE | {"year", "month", "month_day", "age", "age_band", "over_n"},
    indexes=frozenset({"exact"}),
    options={
        "earliest": Option("first date that is taken", _is_date),
        "latest": Option("last date that is taken", _is_date),
    },
    agree=_in_order,
)
