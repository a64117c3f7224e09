"""Text: one line or many, in Unicode NFC, without characters that act on their surroundings."""

from __future__ import annotations

import re
import unicodedata
from itertools import islice
from typing import TYPE_CHECKING

from vault.catalogue.types.base import (
    EVERY_TYPE,
    FieldType,
    Match,
    Option,
    ValueProblem,
    View,
    digits_as_text,
    flag,
    whole_number,
)
from vault.catalogue.types.masks import FIRST, LAST, masked_text, readable

if TYPE_CHECKING:
    from datetime import date

    from vault.catalogue.types.base import Options

MAX_LENGTH = 10_000
"""Code points of a text, unless its field sets another limit."""
MOST_LENGTH = 100_000

# Embeddings, overrides and isolates turn around the text that is printed next to them; a byte order mark is debris.
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069\ufeff]")
_LINE_BREAK = re.compile("\r\n|[\r\x85\u2028\u2029]")
_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
_REFUSED_IN_LINES = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff{_NONCHARACTERS}]")
_LINE_END = re.compile("[\t\n\r\x85\u2028\u2029]")
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that show nothing (Hangul fillers, the empty Braille cell)."""


def line_of(value: object, limit: int, *, multiline: bool = False) -> str:
    """Return a text in NFC, stripped of white space around it and of direction controls inside it.

    Args:
        value: the value from outside.
        limit: the most code points that the text may have.
        multiline: keep tabs and line breaks, the latter as line feeds; a one-line text refuses them.

    Raises:
        ValueProblem: it is no text, shows nothing, is too long, or has a character that texts do not have.
    """
    if not isinstance(value, str):
        raise ValueProblem("wrong-type", "must be a text")
    if len(value) > 4 * limit:  # bounds the work below; normalising shortens by less than that
        raise _too_long(limit)
    text = value.strip()
    if not text.isprintable():
        text = _scrubbed(text, multiline=multiline)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).strip()
    if not (text if text.isascii() else _shows(text)):
        raise ValueProblem("empty", "must not be empty: leave the field out instead")
    if len(text) > limit:
        raise _too_long(limit)
    return text


def storable(text: str) -> bool:
    """Return whether a text has none of the forbidden characters: NUL, controls, lone surrogates."""
    return text.isprintable() or _REFUSED_IN_LINES.search(_LINE_BREAK.sub("\n", text)) is None


def folded(text: str) -> str:
    """Return a text folded for an index: NFKC, case folded, invisible format characters gone, white space collapsed."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def _scrubbed(text: str, *, multiline: bool) -> str:
    text = _DIRECTION.sub("", text).strip()
    if multiline:
        text = _LINE_BREAK.sub("\n", text)
    elif _LINE_END.search(text):
        raise ValueProblem("bad-character", "must be one line, without tabs (a field may allow more: multiline = true)")
    if _REFUSED_IN_LINES.search(text):
        raise ValueProblem("bad-character", "must not have control characters or broken Unicode")
    return text


def _shows(text: str) -> bool:
    return any(
        unicodedata.category(letter) not in {"Cc", "Cf"}
        and unicodedata.category(letter)[0] not in "MZ"
        and letter not in _BLANKS
        for letter in text
    )


def _too_long(limit: int) -> ValueProblem:
    return ValueProblem("too-long", f"must have at most {limit} characters")


def _text(value: object, options: Options) -> str:
    return line_of(value, options.get("max_length", MAX_LENGTH), multiline=options.get("multiline", False))


_WORD_BREAK = re.compile(r"[\s\-\u2010-\u2015]+")
_MOST_INITIALS = 4


def first_letter(value: str, _today: date, _n: int = 0) -> str:
    """Show the first letter, digit or symbol with all its accents; empty if there is none."""
    return next(readable(value), "")


def initials(value: str, _today: date, _n: int = 0) -> str:
    """Show the first letters of the first four words."""
    letters = (next(readable(word), "") for word in _WORD_BREAK.split(value, maxsplit=64))
    return "".join(islice(filter(None, letters), _MOST_INITIALS))


TEXT = FieldType(
    name="text",
    title="a text in Unicode NFC: one line, up to 10,000 code points, unless its options say otherwise",
    normalise=_text,
    views={
        **EVERY_TYPE,
        "masked": View(masked_text, "the first letter and five dots; of a single letter only the dots"),
        "first_letter": View(first_letter, "the first letter, digit or symbol, with its accents"),
        "initials": View(initials, "the first letter of each of the first four words"),
        "first_n": FIRST,
        "last_n": LAST,
    },
    options={
        "max_length": Option("most code points of the text", whole_number(1, MOST_LENGTH)),
        "multiline": Option("true: the text may have line breaks and tabs", flag),
    },
    indexes=frozenset({"exact", "prefix", "last_n"}),
    fold=folded,
    from_file=digits_as_text(_text),
    match=Match(40, lambda category: category.startswith("user.name"), kind="name"),
    wide=True,
)
