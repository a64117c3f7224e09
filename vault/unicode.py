"""Unicode normalisation of text from outside, in time that grows with the length of the text only.

To order the combining marks behind a letter takes time that grows with the square of their number, and a text may have
nothing but marks. Therefore no other module normalises, and a text with a longer run of marks than any language writes
is refused before (Unicode Standard Annex #15, section 13, "Stream-Safe Text Format").
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final, Literal

LONGEST_RUN: Final = 30
"""Combining marks in a row that a text may have, as in Annex #15. No language is known to need more than 18."""


class TooManyMarks(ValueError):
    """A text has more than :data:`LONGEST_RUN` combining marks in a row."""


def normalize(form: Literal["NFC", "NFKC", "NFKD"], text: str) -> str:
    """Return a text in a normalisation form of Unicode.

    Raises:
        TooManyMarks: the text is not stream-safe.
    """
    if text.isascii():
        return text
    if not is_stream_safe(text):
        raise TooManyMarks
    return unicodedata.normalize(form, text)


def is_stream_safe(text: str) -> bool:
    """Return whether a text has at most :data:`LONGEST_RUN` combining marks in a row.

    Marks are counted as they are after decomposition, so that normalisation and case folding change no answer. Format
    characters, such as the zero-width joiner, do not end a run, since folding removes them.
    """
    if text.isascii():
        return True
    run = 0
    for character in text:
        leading, trailing = _marks(character)
        if leading:
            run += leading
            if run > LONGEST_RUN:
                return False
        if trailing is not None:
            run = trailing
    return True


@lru_cache(maxsize=8192)
def _marks(character: str) -> tuple[int, int | None]:
    """Count the marks at the beginning of a decomposed character, and at its end if it has more than marks."""
    parts = unicodedata.normalize("NFKD", character)
    marks = [unicodedata.combining(part) != 0 for part in parts]
    if all(marks):
        return len(marks), None
    if unicodedata.category(character) == "Cf":
        return 0, None
    return marks.index(False), marks[::-1].index(False)
