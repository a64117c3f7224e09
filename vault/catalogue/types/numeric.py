"""Integers, decimals, money and currencies: exact, bounded, and never in floating point once they are in."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from vault.catalogue.types.base import EVERY_TYPE, FieldType, Option, ValueProblem, View, part, whole_number
from vault.catalogue.types.text import line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from vault.catalogue.types.base import JsonValue, Options

MOST_INTEGER = 2**53 - 1
"""Every JSON reader reads integers up to here exactly (RFC 7493 §2.2)."""
WHOLE_DIGITS = 18
FRACTION_DIGITS = 12
MONEY_PARTS = ("amount", "currency")

_PLAIN = re.compile(r"(?P<sign>[+-]?)(?P<whole>[0-9]{1,64})(?:\.(?P<fraction>[0-9]{1,400}))?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_WITH_CURRENCY = re.compile(r"(?:(?P<before>[A-Za-z]{3}) *)?(?P<amount>[^A-Za-z ]+)(?: *(?P<after>[A-Za-z]{3}))?")

_MINOR_UNITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
"""Currencies with another number of digits after the point than two (ISO 4217, list one)."""


@cache
def currencies() -> Mapping[str, int]:
    """Map each currency to the digits after the point of its minor unit (ISO 4217), by pycountry."""
    digits = {code: count for count, codes in _MINOR_UNITS.items() for code in codes.split()}
    return MappingProxyType(
        {code: digits.get(code, 2) for code in (unit.alpha_3 for unit in import_module("pycountry").currencies)}
    )


def integer(value: object, options: Options) -> int:
    """Return an integer; a decimal text or a number without fraction will do as well.

    Raises:
        ValueProblem: it is no whole number, or outside of ``min`` and ``max``, or beyond 2^53 - 1.
    """
    number = _whole(value)
    if number is None:
        raise ValueProblem("wrong-type", "must be a whole number")
    low, high = options.get("min", -MOST_INTEGER), options.get("max", MOST_INTEGER)
    if not low <= number <= high:
        raise ValueProblem("out-of-range", f"must be from {low} to {high}")
    return number


def decimal(value: object, options: Options) -> str:
    """Return a decimal number as a text without exponent, plus sign or leading zeros: ``12.90``.

    With ``scale`` it has exactly that many digits after the point, and further digits that are not zero are
    refused, not rounded. Without ``scale`` the digits are kept as they are. Texts are exact; a JSON number is read by
    its shortest form.

    Raises:
        ValueProblem: it is no plain number, too large, too precise, or outside of ``min`` and ``max``.
    """
    text = _written(value, options.get("scale"))
    for name, wrong in (("min", Decimal.__lt__), ("max", Decimal.__gt__)):
        if name in options and wrong(Decimal(text), Decimal(str(options[name]))):
            raise ValueProblem("out-of-range", f"must not be beyond its {name}, {options[name]}")
    return text


def currency(value: object, _options: Options) -> str:
    """Return a currency's ISO 4217 code in capitals.

    Raises:
        ValueProblem: no currency has that code.
    """
    code = line_of(value, 16).upper()
    if code not in currencies():
        raise ValueProblem("unknown-code", "must be a currency's ISO 4217 code, such as EUR")
    return code


def money(value: object, options: Options) -> JsonValue:
    """Return ``{"amount": "12.90", "currency": "EUR"}``, complete even if the field declares a currency.

    ``"12.90 EUR"`` and ``"EUR 12.90"`` are understood, and a bare amount where the field has the option ``currency``.
    The amount has at least the digits of the currency's minor unit, and more only if they are not zero (a litre at
    1.799).

    Raises:
        ValueProblem: the amount or the currency is missing or wrong, or not the currency of the field.
    """
    amount, code = _amount_and_currency(value)
    if code is None and "currency" not in options:
        raise ValueProblem("missing-part", "must have a currency, as its field declares none")
    unit = options["currency"] if code is None else currency(code, {})
    if unit != options.get("currency", unit):
        raise ValueProblem("out-of-range", "must be in the currency of its field")
    text = _written(amount, None)
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0").ljust(currencies()[unit], "0")
    return {"amount": f"{whole}.{fraction}" if fraction else whole, "currency": unit}


def _whole(value: object) -> int | None:
    if isinstance(value, str) and len(value) <= 64 and _INTEGER.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _amount_and_currency(value: object) -> tuple[object, object]:
    if isinstance(value, dict):
        if not value.keys() <= set(MONEY_PARTS):
            raise ValueProblem("unknown-part", f"must have no other parts than: {', '.join(MONEY_PARTS)}")
        if value.get("amount") is None:
            raise ValueProblem("missing-part", "must have an amount")
        return value["amount"], value.get("currency")
    if not isinstance(value, str):
        return value, None
    match = _WITH_CURRENCY.fullmatch(value.strip()) if len(value) <= 128 else None
    if match is None or (match["before"] and match["after"]):
        raise ValueProblem("bad-format", "must be an amount such as 12.90, with its currency where the field has none")
    return match["amount"], match["before"] or match["after"]


def _written(value: object, scale: int | None) -> str:
    match = _PLAIN.fullmatch(_digits(value))
    if match is None:
        raise ValueProblem(
            "bad-format", "must be a plain number such as 12.90: no exponent, no separators of thousands"
        )
    whole, fraction = match["whole"].lstrip("0") or "0", match["fraction"] or ""
    if scale is not None:
        fraction = fraction.rstrip("0").ljust(scale, "0")
    if len(whole) > WHOLE_DIGITS:
        raise ValueProblem("out-of-range", f"must have at most {WHOLE_DIGITS} digits before the point")
    if len(fraction) > (FRACTION_DIGITS if scale is None else scale):
        raise ValueProblem("too-precise", "must have fewer digits after the point")
    negative = match["sign"] == "-" and (whole != "0" or fraction.strip("0") != "")
    return ("-" if negative else "") + (f"{whole}.{fraction}" if fraction else whole)


def _digits(value: object) -> str:
    if isinstance(value, str):
        return value.strip() if len(value) <= 256 else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueProblem("wrong-type", "must be a number, as a text if its digits matter")
    if not abs(value) < 10**WHOLE_DIGITS:  # NaN and infinity too; and no long integer is ever turned into digits
        raise ValueProblem("out-of-range", f"must have at most {WHOLE_DIGITS} digits before the point")
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


def _is_number(setting: object) -> str | None:
    text = str(setting) if isinstance(setting, int | str) and not isinstance(setting, bool) else ""
    return None if _PLAIN.fullmatch(text) else "must be a whole number, or a decimal one in quotes"


def _is_currency(setting: object) -> str | None:
    known = isinstance(setting, str) and setting in currencies()
    return None if known else "must be a currency's ISO 4217 code, such as EUR"


def _in_order(options: Options) -> str | None:
    wrong = "min" in options and "max" in options and Decimal(str(options["min"])) > Decimal(str(options["max"]))
    return "the option 'min' must not be above the option 'max'" if wrong else None


def rounded(value: str, _today: date, _n: int = 0) -> str:
    """Show one significant digit of the whole part: 1234.50 is 1000, 12.90 is 10, 0.40 is 0."""
    number = Decimal(value)
    step = Decimal(1).scaleb(max(number.adjusted(), 0))
    shown = (number / step).to_integral_value(ROUND_HALF_EVEN) * step
    return format(abs(shown) if shown == 0 else shown, ".0f")


def _money_lines(value: object, _write_day: Callable[[str], str]) -> list[str] | None:
    if not isinstance(value, dict):
        return None
    return [" ".join(str(value[name]) for name in MONEY_PARTS if name in value)]


INTEGER = FieldType(
    name="integer",
    title="a whole number, at most 2^53 - 1 either way",
    normalise=integer,
    views={
        **EVERY_TYPE,
        "rounded": View(
            lambda value, today, _n: int(rounded(str(value), today)), "one significant digit: 1234 is 1000"
        ),
    },
    options={
        "min": Option("least number that is taken", whole_number(-MOST_INTEGER, MOST_INTEGER)),
        "max": Option("greatest number that is taken", whole_number(-MOST_INTEGER, MOST_INTEGER)),
    },
    agree=_in_order,
)
DECIMAL = FieldType(
    name="decimal",
    title="a decimal number as a text, such as 12.90",
    normalise=decimal,
    views={
        **EVERY_TYPE,
        "rounded": View(rounded, "one significant digit of the whole part: 1234.50 is 1000, 0.40 is 0"),
    },
    options={
        "scale": Option("digits after the point, exactly", whole_number(0, FRACTION_DIGITS)),
        "min": Option("least number that is taken", _is_number),
        "max": Option("greatest number that is taken", _is_number),
    },
    agree=_in_order,
)
MONEY = FieldType(
    name="money",
    title='an amount with its currency: {"amount": "12.90", "currency": "EUR"}',
    normalise=money,
    views={
        **EVERY_TYPE,
        "rounded": View(
            lambda value, today, _n: {**value, "amount": rounded(value["amount"], today)},
            "the amount by one significant digit of its whole part, and the currency",
        ),
        "currency": View(part("currency"), "ISO 4217 code of the currency"),
    },
    options={"currency": Option("the one currency of the field, by its ISO 4217 code", _is_currency)},
    parts=MONEY_PARTS,
    lines=_money_lines,
)
CURRENCY = FieldType("currency", "a currency, by its ISO 4217 code", currency)
