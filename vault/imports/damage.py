"""Cells that a spreadsheet has changed before they were written to a file, and cells that stand for nothing.

A spreadsheet shows a long number in scientific form, drops leading zeros, turns dates into numbers of days, and writes
its own errors into cells. What it has dropped cannot be told from the cell, so such a line is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NoReturn

from vault.catalogue.types import ValueProblem
from vault.subjects.rows import DAMAGED, is_scientific

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_VALUES: Final = frozenset(
    {
        "null",
        "(null)",
        "<null>",
        "none",
        "nil",
        "nan",
        "n/a",
        "na",
        "n.a.",
        "k.a.",
        "-",
        "--",
        "---",
        "?",
        ".",
        "undefined",
    }
)
"""Texts, in lower case, that other systems write for no value. They are also names, so they are taken and counted."""
_SUSPECT: Final = frozenset("#E+-0123456789")
_ERROR: Final = re.compile(r"#(?:[A-Z\u00c0-\u00dc\u00a1/0]{2,14}[!?]|N/A|NV|N/D|GETTING_DATA|#+)|Err:[0-9]{3}")
"""``#REF!``, ``#N/A``, ``#DIV/0!`` and their translations, ``Err:502``, and the fence of a narrow column."""
_ROUND: Final = re.compile(r"[1-9][Ee]\+[0-9]{2,3}")
"""A number with one digit that counts, as spreadsheets write it: ``1E+05``."""
_SERIAL: Final = re.compile(r"[1-9][0-9]{4}(?:[.,][0-9]{1,12})?")
"""Days since 1899-12-30, from the year 1927 on."""
DIGITS_OF_POSTAL_CODES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("DE", "ES", "FI", "FR", "IT", "KR", "MX", "MY", "SK", "TR", "UA", "US"), 5),
    **dict.fromkeys(("AU", "GE", "NO", "PH", "ZA"), 4),
    **dict.fromkeys(("CN", "KZ", "RO", "SG"), 6),
    **dict.fromkeys(("BR",), 8),
    **dict.fromkeys(("JP",), 7),
}
"""Digits of postal codes in the countries where some begin with a zero (UPU, addressing systems by country)."""


def require_undamaged(cell: str) -> None:
    """Check the text of a cell.

    Raises:
        ValueProblem: a spreadsheet has put an error, or the scientific form of a number, in its place.
    """
    text = cell.strip()
    if text[:1] in _SUSPECT and (is_scientific(text) or _ROUND.fullmatch(text) or _ERROR.fullmatch(text)):
        refuse()


def is_serial_date(raw: object) -> bool:
    """Return whether a cell looks like the number by which spreadsheets store a day."""
    text = raw if isinstance(raw, str) else "" if isinstance(raw, bool) else str(raw) if isinstance(raw, int) else ""
    return _SERIAL.fullmatch(text.strip()) is not None


def require_whole_postal_code(value: object) -> None:
    """Check the normalised postal address of a line; other values pass.

    Raises:
        ValueProblem: its postal code has fewer digits than those of its country, some of which begin with a zero.
    """
    if not isinstance(value, dict) or not isinstance(code := value.get("postal_code"), str):
        return
    digits = code.replace(" ", "").replace("-", "")
    if digits.isdecimal() and len(digits) < DIGITS_OF_POSTAL_CODES.get(str(value.get("country")), 0):
        refuse("its postal_code has fewer digits than the country's: a spreadsheet drops leading zeros")


def refuse(
    detail: str = "a spreadsheet has changed this cell: export the file again, with its columns as text",
) -> NoReturn:
    """Refuse a cell; the detail never contains its value."""
    raise ValueProblem(DAMAGED, detail)


def stands_for_nothing(raw: object) -> bool:
    """Return whether a value, or a part of one, is a text that other systems write for no value."""
    if isinstance(raw, dict):
        return any(stands_for_nothing(part) for part in raw.values())
    return isinstance(raw, str) and len(raw) <= 12 and raw.strip().lower() in NO_VALUES
