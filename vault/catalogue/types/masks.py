"""Masks: how much of a text is shown, in whole characters. A mask has a fixed length and hides the value's length.

A character is what a reader takes for one, so that no view cuts a letter from its accents. This is a simplification
of the extended grapheme clusters of Unicode UAX #29, on the standard library's tables: marks, jamo, variation
selectors, skin tones, keycaps, flags, emoji joined by ZWJ, and consonants joined by a virama stay together. Where it
differs from UAX #29 it joins more, so that views show whole characters or none.
"""

from __future__ import annotations

import unicodedata
from itertools import islice
from typing import TYPE_CHECKING

from vault.catalogue.types.base import View

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date


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
