"""Calendar periods, as the policies write them."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, TypeVar

from vault.catalogue.toml_document import Form

Day = TypeVar("Day", bound=date)


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar duration (ISO 8601 §5.5.2): months, which include years, and days on top."""

    months: int
    days: int

    def after(self, start: Day) -> Day:
        """Return when the period ends; in a month without that day, on its last (Reg. (EEC) 1182/71 Art. 3(2)(c)).

        A period that would end after the year 9999 ends on its last day.
        """
        years, month = divmod(start.month - 1 + self.months, 12)
        year, month = start.year + years, month + 1
        try:
            day = min(start.day, calendar.monthrange(year, month)[1])
            return start.replace(year=year, month=month, day=day) + timedelta(days=self.days)
        except (ValueError, OverflowError, calendar.IllegalMonthError):
            return start.replace(year=9999, month=12, day=31)

    @property
    def least_days(self) -> int:
        """Return a lower bound of the days of the period, for any start."""
        return self.months * 28 + self.days

    def __str__(self) -> str:
        years, months = divmod(self.months, 12)
        parts = ((years, "Y"), (months, "M"), (self.days, "D"))
        return "P" + ("".join(f"{count}{unit}" for count, unit in parts if count) or "0D")


_PERIOD: Final = re.compile(r"P(?=\d)(?:(\d{1,3})Y)?(?:(\d{1,4})M)?(?:(\d{1,5})D)?")


def read_period(text: str) -> Period | None:
    """Read a duration of ISO 8601 in years, months and days; None if it is none, or is empty."""
    match = _PERIOD.fullmatch(text)
    years, months, days = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    return Period(years * 12 + months, days) if years or months or days else None


DURATION: Final = Form(read_period, "is not a duration", "write P3Y, P6M, P30D or P1Y6M")
