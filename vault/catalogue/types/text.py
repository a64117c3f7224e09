"""Text: one line or many, in Unicode NFC, without characters that act on their surroundings; and masks of texts.

A mask shows whole characters and has a fixed length, which hides the length of the value. A character is what a reader
takes for one, so that no view cuts a letter from its accents. This is a simplification of the extended grapheme
clusters of Unicode UAX #29, on the standard library's tables: marks, jamo, variation selectors, skin tones, keycaps,
flags, emoji joined by ZWJ, and consonants joined by a virama stay together. Where it differs from UAX #29 it joins
more, so that views show whole characters or none.
"""

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
from vault.unicode import LONGEST_RUN, TooManyMarks, normalize

if TYPE_CHECKING:
    from collections.abc import Iterator
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
        text = composed(text).strip()
    if not (text if text.isascii() else _shows(text)):
        raise ValueProblem("empty", "must not be empty: leave the field out instead")
    if len(text) > limit:
        raise _too_long(limit)
    return text


def composed(text: str) -> str:
    """Return a text in NFC.

    Raises:
        ValueProblem: it has more combining marks in a row than any language writes.
    """
    try:
        return normalize("NFC", text)
    except TooManyMarks:
        raise ValueProblem("bad-character", f"must have at most {LONGEST_RUN} combining marks in a row") from None


def storable(text: str) -> bool:
    """Return whether a text has none of the forbidden characters: NUL, controls, lone surrogates."""
    return text.isprintable() or _REFUSED_IN_LINES.search(_LINE_BREAK.sub("\n", text)) is None


def folded(text: str) -> str:
    """Return a text folded for an index: NFKC, case folded, invisible format characters gone, white space collapsed."""
    if not text.isascii():
        text = normalize("NFKC", normalize("NFKC", text).casefold())
        text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
        text = normalize("NFKC", text)
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


MASK = "\u2022" * 5

LONGEST = 32
"""Code points of a character; longer sequences of marks (UAX #15 allows 30 in stream-safe text) are never shown."""

_ZWJ, _ZWNJ = "\u200d", "\u200c"
_EXTENDING = frozenset("\u0e33\u0eb3\uff9e\uff9f") | {_ZWJ, _ZWNJ}
"""Letters that are written on the one before them: Thai and Lao AM, half-width voicing marks; and the joiners."""
_VIRAMA = 9  # canonical combining class


def masked_text(value: str, _today: date, _n: int = 0) -> str:
    """Show the first letter and a mask; a value of a single letter is only a mask."""
    first = list(islice(readable(value), 2))
    return first[0] + MASK if len(first) == 2 else MASK


def last(value: str, _today: date, n: int) -> str:
    """Show the last n letters and digits if at least as many stay hidden, else nothing."""
    # The tail is enough, and bounds the work on a long text; a cluster cut at its start is not among the last n.
    tail = list(readable(value[-(2 * n + 1) * LONGEST :]))
    return "".join(tail[-n:]) if len(tail) >= 2 * n else ""


def first(value: str, _today: date, n: int) -> str:
    """Show the first n letters and digits if at least as many stay hidden, else nothing."""
    head = list(islice(readable(value), 2 * n))
    return "".join(head[:n]) if len(head) == 2 * n else ""


def masked_tail(value: str, today: date, _n: int = 0) -> str:
    """Show a mask and the last two digits or letters."""
    return MASK + last(value, today, 2)


LAST = View(last, "the last n letters and digits, or an empty text unless at least n more stay hidden")
FIRST = View(first, "the first n letters and digits, or an empty text unless at least n more stay hidden")


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
    """Return whether the code point at ``index`` belongs to the character that began at ``start``."""
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


_WORD_BREAK = re.compile(r"[\s\-\u2010-\u2015]+")
_MOST_INITIALS = 4


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
        "first_letter": View(
            lambda value, _today, _n: next(readable(value), ""), "the first letter, digit or symbol, with its accents"
        ),
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
