"""Apostrophes that keep a spreadsheet from taking a text for a formula, put in and taken out again."""

from __future__ import annotations

import re
from typing import Final

_NUMBER: Final = re.compile(r"-?\d{1,300}(?:\.\d{1,300})?", re.ASCII)
_STARTS: Final = frozenset("=+-@\uff1d\uff0b\uff0d\uff20\u2212\ufe62\ufe63\ufe66\ufe6b")
"""Characters that begin a formula: = + - @, and their full-width and small forms, which spreadsheets fold."""
_UNSEEN: Final = re.compile(r"[\s\x00-\x20\x7f-\xa0\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff'\"]")
"""Characters that spreadsheets ignore in front of a formula."""
_LINE_ENDS: Final = frozenset("\t\r\n")
_SEPARATORS: Final = frozenset(";|\t\r\n")
"""Characters that a reader may take for the end of a cell."""


def escape_formula(value: str) -> str:
    """Put an apostrophe before what a spreadsheet could interpret as a formula, except plain numbers.

    A formula is at the start of the value or after a separator.
    """
    if _NUMBER.fullmatch(value) or (_STARTS.isdisjoint(value) and not _begins_a_line(value)):
        return value
    parts: list[str] = []  # from the end, so that each character is looked at once, however many are unseen
    begins = False
    for position in range(len(value) - 1, -1, -1):
        character = value[position]
        if begins and character in _SEPARATORS:
            parts.append("'")
        parts.append(character)
        begins = character in _STARTS or (begins and _UNSEEN.match(character) is not None)
    if begins or _begins_a_line(value):
        parts.append("'")
    return "".join(reversed(parts))


def unescape_formula(value: str) -> str:
    """Take out the apostrophes that :func:`escape_formula` has put in: exactly one wherever a formula would begin.

    A text that had one of its own there got another.
    """
    if "'" not in value:
        return value
    parts: list[str] = []  # from the end, as above
    begins = False
    for position in range(len(value) - 1, -1, -1):
        character = value[position]
        is_first = position == 0 or value[position - 1] in _SEPARATORS
        formula = begins or (position == 0 and _begins_a_line(value[1:]))
        begins = character in _STARTS or (begins and _UNSEEN.match(character) is not None)
        if not (character == "'" and is_first and formula):
            parts.append(character)
    return "".join(reversed(parts))


def _begins_a_line(value: str) -> bool:
    """Return whether a text begins with a line end or tab, which a spreadsheet skips, behind apostrophes or not."""
    return value.lstrip("'")[:1] in _LINE_ENDS
