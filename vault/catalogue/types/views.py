"""How a value is shown: each view of each type tells what it says and no more.

A view is computed from the normalised value at the moment of the read; nothing of it is stored. :func:`describe` lists
all of them for the docs.

Views of dates and amounts.
"""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from operator import methodcaller
from typing import TYPE_CHECKING, Any, NamedTuple

from vault.catalogue.types import TYPES, has_view, parameter
from vault.catalogue.types import text_views as texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vault.catalogue.types import JsonValue


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


__all__ = ["VIEWS", "View", "describe", "show"]


class View(NamedTuple):
    """One way to show values of a type: ``(value, today, n) -> shown``, ``n`` being the number in a view's name."""

    shows: Callable[[Any, date, int], Any]
    describe: str


def _clear(value: JsonValue, _today: date, _n: int) -> JsonValue:
    return value


def _present(_value: JsonValue, _today: date, _n: int) -> bool:
    return True


def _part(name: str) -> Callable[[Any, date, int], JsonValue]:
    found = methodcaller("get", name)
    return lambda value, _today, _n: found(value)


_EVERY = {
    "clear": View(_clear, "the value itself"),
    "present": View(_present, "true: that there is a value, not what it is"),
}
_LAST = View(texts.last, "the last n letters and digits, or an empty text unless at least n more stay hidden")
_OWN: dict[str, dict[str, View]] = {
    "text": {
        "masked": View(texts.masked_text, "the first letter and five dots; of a single letter only the dots"),
        "first_letter": View(texts.first_letter, "the first letter, digit or symbol, with its accents"),
        "initials": View(texts.initials, "the first letter of each of the first four words"),
        "first_n": View(
            texts.first, "the first n letters and digits, or an empty text unless at least n more stay hidden"
        ),
        "last_n": _LAST,
    },
    "email": {
        "masked": View(
            texts.masked_email, "the first letter of the local part (if it has more), five dots and the domain"
        ),
        "domain": View(texts.email_domain, "what follows the @"),
    },
    "phone": {
        "masked": View(texts.masked_phone, "five dots and the last two digits"),
        "country": View(texts.phone_country, "ISO 3166-1 code of the country of the number; null if that is not known"),
        "calling_code": View(texts.calling_code, "the country's calling code, such as +33"),
        "last_n": View(
            texts.last_digits,
            "the last n digits, or an empty text unless at least n more of the national number stay hidden",
        ),
    },
    "date": {
        "year": View(year, "the year, as a number"),
        "month": View(month, "year and month, such as 1990-07"),
        "month_day": View(month_day, "month and day without the year, such as 07-14"),
        "age": View(age, "completed years; 29 February completes them on 1 March; null for a date to come"),
        "age_band": View(age_band, "0-17, 18-29, 30-39 and so on to 80-89, 90+; null for a date to come"),
        "over_n": View(over, "whether n years are completed; 29 February completes them on 1 March"),
    },
    "language": {"base": View(texts.language_base, "the language without script, region and variants")},
    "address": {
        "masked": View(texts.masked_address, "the country; street, postal code and city as five dots, there or not"),
        "city": View(_part("city"), "the city; null if there is none"),
        "region": View(_part("region"), "the region; null if there is none"),
        "country": View(_part("country"), "ISO 3166-1 code of the country; null if there is none"),
        "postal_code": View(_part("postal_code"), "the whole postal code; null if there is none"),
        "postal_area": View(
            texts.postal_area, "the first half of the postal code, at most three characters; else null"
        ),
    },
    "integer": {"rounded": View(rounded_integer, "one significant digit: 1234 is 1000")},
    "decimal": {"rounded": View(rounded, "one significant digit of the whole part: 1234.50 is 1000, 0.40 is 0")},
    "money": {
        "rounded": View(rounded_money, "the amount by one significant digit of its whole part, and the currency"),
        "currency": View(_part("currency"), "ISO 4217 code of the currency"),
    },
    "iban": {
        "masked": View(texts.masked_iban, "the country, five dots and the last four characters"),
        "country": View(texts.two_letters, "ISO 3166-1 code of the account's country"),
        "last_n": View(
            texts.last_of_account,
            "the last n characters, or an empty text unless at least n more stay hidden after country and check digits",
        ),
    },
    "national_id": {
        "masked": View(texts.masked_tail, "five dots and the last two characters"),
        "last_n": _LAST,
    },
}

VIEWS: dict[str, dict[str, View]] = {name: _EVERY | _OWN.get(name, {}) for name in TYPES}
"""Every view by its type and name; those with a number under ``last_n`` and the like."""


def show(field_type: str, view: str, value: JsonValue, today: date) -> JsonValue:
    """Show a normalised value by a view of its type.

    Args:
        field_type: name of the type.
        view: name of the view, such as ``masked``, ``last_4`` or ``over_18``.
        value: the value as its type normalised it.
        today: the day for ages: the caller's day, as a vault knows no time zone of its own.

    Raises:
        ValueError: the type has no such view.
    """
    if view == "clear":
        return value
    shows, number = _resolve(field_type, view)
    return shows(value, today, number)


def describe() -> Iterator[tuple[str, str, str]]:
    """Yield (type, view, what it shows), in the order of the docs."""
    for field_type, views in VIEWS.items():
        for name, view in views.items():
            yield field_type, name, view.describe


@lru_cache(maxsize=4096)
def _resolve(field_type: str, view: str) -> tuple[Callable[[Any, date, int], JsonValue], int]:
    if field_type not in TYPES or not has_view(TYPES[field_type], view):
        raise ValueError("the type has no such view")
    generic, number = parameter(view)
    return VIEWS[field_type][generic].shows, number
