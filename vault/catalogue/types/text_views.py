"""Views of texts, contacts and identifiers. Each mask has a fixed length, so that it does not tell the value's.

Text by what a reader takes for one character, so that no view cuts a letter from its accents.

A simplification of the extended grapheme clusters of Unicode UAX #29, on the standard library's tables: marks, jamo,
variation selectors, skin tones, keycaps, flags, emoji joined by ZWJ, and consonants joined by a virama stay together.
Where it differs from UAX #29 it joins more, so that views show whole characters or none.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import islice
from typing import TYPE_CHECKING

import phonenumbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date


MASK = "\u2022" * 5

_WORD_BREAK = re.compile(r"[\s\-\u2010-\u2015]+")
_MOST_INITIALS = 4


def masked_text(value: str, _today: date, _n: int = 0) -> str:
    """Show the first letter and a mask; a value of a single letter is only a mask."""
    first = list(islice(readable(value), 2))
    return first[0] + MASK if len(first) == 2 else MASK


def first_letter(value: str, _today: date, _n: int = 0) -> str:
    """Show the first letter, digit or symbol with all its accents; empty if there is none."""
    return next(readable(value), "")


def initials(value: str, _today: date, _n: int = 0) -> str:
    """Show the first letters of the first four words."""
    found = (next(readable(word), "") for word in _WORD_BREAK.split(value, maxsplit=64))
    return "".join(islice(filter(None, found), _MOST_INITIALS))


def last(value: str, _today: date, n: int) -> str:
    """Show the last n letters and digits if at least as many stay hidden, else nothing."""
    # The tail is enough, and bounds the work on a long text; a cluster cut at its start is not among the last n.
    tail = list(readable(value[-(2 * n + 1) * LONGEST :]))
    return "".join(tail[-n:]) if len(tail) >= 2 * n else ""


def first(value: str, _today: date, n: int) -> str:
    """Show the first n letters and digits if at least as many stay hidden, else nothing."""
    head = list(islice(readable(value), 2 * n))
    return "".join(head[:n]) if len(head) == 2 * n else ""


def masked_email(value: str, today: date, _n: int = 0) -> str:
    """Show the first letter of the local part, a mask and the domain."""
    local, at, domain = value.rpartition("@")
    return f"{masked_text(local, today)}@{domain}" if at and domain else MASK


def email_domain(value: str, _today: date, _n: int = 0) -> str:
    """Show what follows the last @; nothing if there is none."""
    _, at, domain = value.rpartition("@")
    return domain if at else ""


def masked_tail(value: str, today: date, _n: int = 0) -> str:
    """Show a mask and the last two digits or letters."""
    return MASK + last(value, today, 2)


def masked_phone(value: str, today: date, _n: int = 0) -> str:
    """Show a mask and the last two digits."""
    return MASK + last_digits(value, today, 2)


def last_digits(value: str, today: date, n: int) -> str:
    """Show the last n digits if at least as many of the national number stay hidden, else nothing."""
    # The calling code does not count as hidden: it is the one thing about a number that everybody guesses.
    return last(value.removeprefix(calling_code(value, today) or value[:4]), today, n)


def calling_code(value: str, _today: date, _n: int = 0) -> str:
    """Show the country's calling code with its plus sign."""
    for end in (2, 3, 4):
        digits = value[1:end]
        if digits.isascii() and digits.isdigit() and int(digits) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            return value[:end]
    return ""


def phone_country(value: str, _today: date, _n: int = 0) -> str | None:
    """Show the country whose numbering plan has the number; null where that is none or not known."""
    try:
        region = phonenumbers.region_code_for_number(phonenumbers.parse(value))
    except phonenumbers.NumberParseException:
        return None
    return region if isinstance(region, str) and region.isalpha() else None


def masked_iban(value: str, today: date, _n: int = 0) -> str:
    """Show the country, a mask and the last four characters."""
    return value[:2] + MASK + last_of_account(value, today, 4)


def last_of_account(value: str, today: date, n: int) -> str:
    """Show the last n characters of an IBAN if at least as many after its check digits stay hidden, else nothing."""
    return last(value[4:], today, n)


def two_letters(value: str, _today: date, _n: int = 0) -> str:
    """Show the first two characters: the country of an IBAN."""
    return value[:2]


def language_base(value: str, _today: date, _n: int = 0) -> str:
    """Show the language without its script, region and variants."""
    return value.partition("-")[0]


def masked_address(value: Mapping[str, str], _today: date, _n: int = 0) -> dict[str, str | None]:
    """Show the country, with masks for street, postal code and city whether they are there or not."""
    return {"street": MASK, "postal_code": MASK, "city": MASK, "country": value.get("country")}


def postal_area(value: Mapping[str, str], _today: date, _n: int = 0) -> str | None:
    """Show the first half of the postal code, at most three characters."""
    code = re.sub("[^A-Z0-9]", "", value.get("postal_code", ""))
    return code[: min(3, len(code) // 2)] or None


LONGEST = 32
"""Code points of a character: longer heaps of marks (past the 30 of UAX #15's stream-safe text) are never shown."""

_ZWJ, _ZWNJ = "\u200d", "\u200c"
_EXTENDING = frozenset("\u0e33\u0eb3\uff9e\uff9f") | {_ZWJ, _ZWNJ}
"""Letters that are written on the one before them: Thai and Lao AM, half-width voicing marks; and the joiners."""
_VIRAMA = 9  # canonical combining class


def readable(text: str) -> Iterator[str]:
    """Yield the characters of a text that are letters, digits or symbols, in order; white space, punctuation, stray
    marks and format characters (those that set the direction of text among them) are left out.
    """  # noqa: D205 - one sentence
    for cluster in clusters(text):
        if unicodedata.category(cluster[0])[0] not in "CMPZ" or unicodedata.category(cluster[0]) in {"Cn", "Co"}:
            yield cluster.rstrip(_ZWJ + _ZWNJ)


def clusters(text: str) -> Iterator[str]:
    """Yield the characters of a text; those of more than :data:`LONGEST` code points are left out."""
    start = 0
    for index in range(1, len(text) + 1):
        if index == len(text) or not _joins(text, start, index):
            if index - start <= LONGEST:
                yield text[start:index]
            start = index


def _joins(text: str, start: int, index: int) -> bool:
    """Tell whether the code point at ``index`` belongs to the character that began at ``start``."""
    letter, before = text[index], text[index - 1]
    if _extends(letter):
        return unicodedata.category(text[start])[0] not in "CZ" or unicodedata.category(text[start]) in {"Cn", "Co"}
    if before == _ZWJ:
        pictures = _pictures(text[start]) and _pictures(letter)
        return pictures or (index - start > 1 and _conjoins(text[index - 2], letter))
    if _is_flag_half(letter):
        return _is_flag_half(before) and index - start == 1
    return _conjoins(before, letter)


def _conjoins(mark: str, letter: str) -> bool:
    return unicodedata.combining(mark) == _VIRAMA and unicodedata.category(letter) == "Lo"


def _extends(letter: str) -> bool:
    return (
        unicodedata.category(letter)[0] == "M"
        or letter in _EXTENDING
        or "\u1160" <= letter <= "\u11ff"  # vowels and finals of conjoining Hangul
        or "\U0001f3fb" <= letter <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= letter <= "\U000e007f"  # tags, of which subdivision flags consist
    )


def _pictures(letter: str) -> bool:
    return unicodedata.category(letter) in {"So", "Cn"}


def _is_flag_half(letter: str) -> bool:
    return "\U0001f1e6" <= letter <= "\U0001f1ff"
