"""Bank accounts and national identity numbers, checked by python-stdnum."""

from __future__ import annotations

import importlib
import re
from functools import cache
from typing import TYPE_CHECKING

from vault.catalogue.types.base import EVERY_TYPE, FieldType, Match, Option, ValueProblem, View, digits_as_text
from vault.catalogue.types.masks import LAST, MASK, last, masked_tail
from vault.catalogue.types.text import folded, line_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from vault.catalogue.types.base import Options

NATIONAL_IDS = {
    "AR": "dni", "AT": "vnr", "AU": "tfn", "BE": "nn", "BG": "egn", "BR": "cpf", "CA": "sin", "CH": "ssn", "CL": "rut",
    "CN": "ric", "CZ": "rc", "DE": "idnr", "DK": "cpr", "EE": "ik", "ES": "nif", "FI": "hetu", "FR": "nir", "GB": "nhs",
    "GR": "amka", "HR": "oib", "IE": "pps", "IL": "idnr", "IN": "aadhaar", "IS": "kennitala", "IT": "codicefiscale",
    "KR": "rrn", "LT": "asmens", "LV": "pvn", "MX": "curp", "MY": "nric", "NL": "bsn", "NO": "fodselsnummer",
    "PE": "cui", "PL": "pesel", "PT": "nif", "RO": "cnp", "SE": "personnummer", "SI": "emso", "SK": "rc", "TH": "pin",
    "TR": "tckimlik", "US": "ssn", "ZA": "idnr",
}  # fmt: skip
"""Each country's number of a natural person, by the name of its module in python-stdnum."""

_WRITTEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .\-/+]*")
_KEYWORDS = {"in", "is"}


def iban(value: object, _options: Options) -> str:
    """Return an IBAN in capitals without blanks (ISO 13616), with the right check digits and form for its country.

    Raises:
        ValueProblem: it is not an IBAN.
    """
    return _checked(value, _validator("iban"), "must be an IBAN with the right length and check digits")


def national_id(value: object, options: Options) -> str:
    """Return a person's national number as its ``country`` writes it compactly.

    A field without the option ``country`` takes the numbers of all countries, in capitals and without blanks. Their
    check digits are not verified then.

    Raises:
        ValueProblem: it is not a number of that country, or has a form that no country uses.
    """
    country = options.get("country")
    if country is None:
        return _checked(value, _any_number, "must be a national identity number: 4 to 32 letters A-Z, digits, . - / +")
    place = f"{country.lower()}_" if country.lower() in _KEYWORDS else country.lower()
    validator = _validator(f"{place}.{NATIONAL_IDS[country]}")
    return _checked(value, validator, f"must be a national identity number of {country} with the right check digits")


def _any_number(text: str) -> str:
    number = text.replace(" ", "").upper()
    return number if 4 <= len(number) <= 32 and any(letter.isdigit() for letter in number) else ""


def _checked(value: object, validate: Callable[[str], str], detail: str) -> str:
    text = line_of(value, 64)
    number = ""
    if _WRITTEN.fullmatch(text):
        try:
            number = validate(text)
        except (ValueError, LookupError):  # stdnum's own errors, and what its modules let through on odd input
            number = ""
    if not number:  # raised out here, so that no error that repeats the number is in its context
        raise ValueProblem("bad-format", detail)
    return number


@cache
def _validator(module: str) -> Callable[[str], str]:
    # Names come from the table above, never from outside.
    validate: Callable[[str], str] = importlib.import_module(f"stdnum.{module}").validate
    return validate


def _has_numbers(setting: object) -> str | None:
    known = isinstance(setting, str) and setting in NATIONAL_IDS
    return None if known else f"must be one of the countries whose numbers are known: {', '.join(NATIONAL_IDS)}"


def masked_iban(value: str, today: date, _n: int = 0) -> str:
    """Show the country, a mask and the last four characters."""
    return value[:2] + MASK + last_of_account(value, today, 4)


def last_of_account(value: str, today: date, n: int) -> str:
    """Show the last n characters of an IBAN if at least as many after its check digits stay hidden, else nothing."""
    return last(value[4:], today, n)


def two_letters(value: str, _today: date, _n: int = 0) -> str:
    """Show the first two characters: the country of an IBAN."""
    return value[:2]


def _capitals(text: str) -> str:
    return "".join(letter for letter in folded(text) if letter.isalnum()).upper()


IBAN = FieldType(
    name="iban",
    title="an international bank account number, in capitals without blanks (ISO 13616)",
    normalise=iban,
    views={
        **EVERY_TYPE,
        "masked": View(masked_iban, "the country, five dots and the last four characters"),
        "country": View(two_letters, "ISO 3166-1 code of the account's country"),
        "last_n": View(
            last_of_account,
            "the last n characters, or an empty text unless at least n more stay hidden after country and check digits",
        ),
    },
    indexes=frozenset({"exact", "last_n"}),
    fold=_capitals,
    match=Match(85),
)
NATIONAL_ID = FieldType(
    name="national_id",
    title="a person's national identity number, compact; with its check digits verified if `country` is set",
    normalise=national_id,
    views={
        **EVERY_TYPE,
        "masked": View(masked_tail, "five dots and the last two characters"),
        "last_n": LAST,
    },
    options={
        "country": Option("country that gives the numbers, so that their check digits are verified", _has_numbers)
    },
    indexes=frozenset({"exact", "last_n"}),
    fold=_capitals,
    from_file=digits_as_text(national_id),
    match=Match(95),
)
