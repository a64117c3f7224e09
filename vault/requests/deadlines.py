"""Deadlines of requests, with the rule that produced each. Pure.

GDPR: Art. 12(3) gives one month from receipt, and two more if a request is complex. Regulation (EEC, Euratom) 1182/71
says how months are counted:

- Art. 3(1): the day of receipt does not count;
- Art. 3(2)(c): the period ends on the day of the last month with the number of the day of receipt, or on that month's
  last day if it has no such day;
- Art. 3(4): a last day that is a Saturday, a Sunday or a public holiday moves to the next working day.

A question about identity, asked promptly, suspends the period until it is answered (EDPB Guidelines 01/2022, no. 157 to
159): the days of the suspension are added to the end.

CCPA: 45 calendar days from receipt, and 45 more once (Cal. Civ. Code § 1798.130(a)(2); 11 CCR § 7021(b)). Verification
does not suspend the period, and no day moves.

Days are civil days of the place. The offset that the time of receipt states itself decides its day: it was written down
where the request arrived. A time in UTC states no place, so its day begins in the time zone of the country's capital,
unless a part of the country has its own.
"""

from __future__ import annotations

import calendar
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec

from vault.requests.model import OPEN, Due

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Regime, Request, Suspension


MONTHS: Final = 1
EXTENDED_MONTHS: Final = 3
CCPA_DAYS: Final = 45
_WEEKEND: Final = {5: "a Saturday", 6: "a Sunday"}
_ONE_DAY: Final = timedelta(days=1)


def due(
    regime: Regime,
    received_at: datetime,
    jurisdiction: str,
    *,
    extended: bool = False,
    suspensions: Sequence[Suspension] = (),
) -> Due:
    """Return the last day on which an answer is in time.

    Args:
        received_at: its day is :func:`day_of_receipt`.
        jurisdiction: a country, or a part of one, whose public holidays count: ``DE``, ``DE-BY``.
        extended: whether the period was extended (Art. 12(3), second sentence).
        suspensions: one that has not ended yet does not move the date yet.
    """
    received = day_of_receipt(received_at, jurisdiction)
    if regime == "ccpa":
        days = CCPA_DAYS * 2 if extended else CCPA_DAYS
        period = f"{days} calendar days" + (" (extended)" if extended else "")
        return Due(received + timedelta(days=days), f"11 CCR § 7021(b): {period} from receipt on {received}")
    months = EXTENDED_MONTHS if extended else MONTHS
    last = _months_later(received, months)
    rule = f"Art. 12(3) GDPR: {_MONTHS[months]} from receipt on {received}"
    if last.day != received.day:
        rule += f"; {last:%Y-%m} has no day {received.day} (Reg. 1182/71 Art. 3(2)(c))"
    suspended = sum(_days(span, jurisdiction) for span in suspensions)
    if suspended:
        last += timedelta(days=suspended)
        rule += f"; {suspended} days in which identity was in question"
    day, reasons = next_working_day(last, jurisdiction)
    if reasons:
        rule += (
            f"; moved from {last} to the next working day, for it is {', then '.join(reasons)} (Reg. 1182/71 Art. 3(4))"
        )
    return Due(day, rule)


def local_date(moment: datetime, jurisdiction: str) -> date:
    """Return the local day of a moment in a jurisdiction."""
    return moment.astimezone(zone_of(jurisdiction)).date()


def day_of_receipt(moment: datetime, jurisdiction: str) -> date:
    """Return the civil day of a receipt: by the offset that its time states, or else in the jurisdiction."""
    return moment.date() if moment.utcoffset() else local_date(moment, jurisdiction)


def next_working_day(day: date, jurisdiction: str) -> tuple[date, list[str]]:
    """Return a day or the first working day after it, and why each skipped day is no working day."""
    reasons = []
    while (reason := _closed(day, jurisdiction)) is not None:
        reasons.append(reason)
        day += _ONE_DAY
    return day, reasons


def earlier_working_day(day: date, jurisdiction: str) -> date:
    """Return a day, or the last working day before it."""
    while _closed(day, jurisdiction) is not None:
        day -= _ONE_DAY
    return day


_MONTHS: Final = {MONTHS: "one month", EXTENDED_MONTHS: "three months (extended)"}


def _months_later(day: date, months: int) -> date:
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return day.replace(year=year, month=month, day=min(day.day, calendar.monthrange(year, month)[1]))


def _days(span: Suspension, jurisdiction: str) -> int:
    if span.until is None:
        return 0
    return max(0, (local_date(span.until, jurisdiction) - local_date(span.since, jurisdiction)).days)


def _closed(day: date, jurisdiction: str) -> str | None:
    """Return why a day is no working day (Reg. 1182/71 Art. 2(2)); None if it is one."""
    name = _holidays(jurisdiction, day.year).get(day)
    if name is not None:
        return f"{name} ({jurisdiction})"
    return _WEEKEND.get(day.weekday())


@lru_cache(maxsize=512)
def _holidays(jurisdiction: str, year: int) -> Mapping[date, str]:
    """Return a year's public holidays by day; empty for a country of which none are known."""
    import holidays  # a twentieth of the server's start

    country, _, part = jurisdiction.partition("-")
    for subdivision in (part or None, None):
        try:
            calendar_of_year = holidays.country_holidays(country, subdiv=subdivision, years=year, language="en_US")
        except NotImplementedError:
            continue
        return dict(calendar_of_year.items())
    return {}


ZONES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AT": "Europe/Vienna", "BE": "Europe/Brussels", "BG": "Europe/Sofia", "CH": "Europe/Zurich",
        "CY": "Asia/Nicosia", "CZ": "Europe/Prague", "DE": "Europe/Berlin", "DK": "Europe/Copenhagen",
        "EE": "Europe/Tallinn", "ES": "Europe/Madrid", "ES-CN": "Atlantic/Canary", "FI": "Europe/Helsinki",
        "FR": "Europe/Paris", "GB": "Europe/London", "GR": "Europe/Athens", "HR": "Europe/Zagreb",
        "HU": "Europe/Budapest", "IE": "Europe/Dublin", "IS": "Atlantic/Reykjavik", "IT": "Europe/Rome",
        "LI": "Europe/Vaduz", "LT": "Europe/Vilnius", "LU": "Europe/Luxembourg", "LV": "Europe/Riga",
        "MT": "Europe/Malta", "NL": "Europe/Amsterdam", "NO": "Europe/Oslo", "PL": "Europe/Warsaw",
        "PT": "Europe/Lisbon", "PT-20": "Atlantic/Azores", "RO": "Europe/Bucharest", "SE": "Europe/Stockholm",
        "SI": "Europe/Ljubljana", "SK": "Europe/Bratislava", "US": "America/New_York", "US-CA": "America/Los_Angeles",
    }
)  # fmt: skip
"""Time zones by country, or part of one (ISO 3166); other jurisdictions use UTC."""


def zone_of(jurisdiction: str) -> ZoneInfo:
    """Return the time zone of a country or a part of one."""
    return ZoneInfo(ZONES.get(jurisdiction) or ZONES.get(jurisdiction.partition("-")[0]) or "UTC")


NOWHERE = "XX"
"""The jurisdiction if neither the request nor the policies name one: it has no public holidays."""


def default_jurisdiction(policy_set: PolicySet) -> str:
    """Return the jurisdiction of requests that name none."""
    return policy_set.requests.default_jurisdiction or policy_set.controller.country or NOWHERE


def internal_due(policy_set: PolicySet, legal: Due, received_at: datetime, jurisdiction: str) -> Due:
    """Return the controller's own deadline, earlier than the legal one; not before the day of receipt."""
    days = policy_set.requests.internal_days
    day = earlier_working_day(legal.on - timedelta(days=days), jurisdiction)
    day = max(day, day_of_receipt(received_at, jurisdiction))
    return Due(day, f"{days} days before the legal deadline, on a working day")


def days_left(request: Request, now: datetime) -> int | None:
    """Return the days until the deadline, negative if it has passed; None if the request is closed or suspended."""
    if request.state not in OPEN or is_suspended(request):
        return None
    return (request.due.on - local_date(now, request.jurisdiction)).days


def is_suspended(request: Request) -> bool:
    """Return whether the deadline is suspended, because proof of identity was requested."""
    return bool(request.suspensions) and request.suspensions[-1].until is None and request.state in OPEN


def with_deadlines(policy_set: PolicySet, request: Request) -> Request:
    """Return a request with the deadlines that follow from its receipt, extension and suspensions."""
    received_at, jurisdiction = request.received_at, request.jurisdiction
    is_extended = request.extension is not None
    legal = due(request.regime, received_at, jurisdiction, extended=is_extended, suspensions=request.suspensions)
    own = internal_due(policy_set, legal, received_at, jurisdiction)
    return msgspec.structs.replace(request, due=legal, internal_due=own)
