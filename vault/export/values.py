"""Values as people read them, line by line. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vault.catalogue.types.places import ADDRESS_PARTS
from vault.export.translations import DASH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vault.export.translations import Texts

MOST_LINES: Final = 400
"""Of one value; a JSON value of the longest kind stays below."""


def lines(texts: Texts, kind: str, value: Any) -> list[str]:
    """Show a value.

    Args:
        texts: of the language.
        kind: the field's type.
        value: as it was read from JSON; a masked one may be of another shape.
    """
    if value is None:
        return []
    if kind == "date" and isinstance(value, str):
        return [texts.day(value)]
    if kind == "money" and isinstance(value, dict):
        return [" ".join(str(value[part]) for part in ("amount", "currency") if part in value)]
    if kind == "address" and isinstance(value, dict):
        return _address(value)
    return list(_each(texts, value))[:MOST_LINES]


def _address(value: dict[str, str]) -> list[str]:
    town = " ".join(value[part] for part in ("postal_code", "city") if part in value)
    told = {**value, "city": town}
    return [told[part] for part in ADDRESS_PARTS if part != "postal_code" and told.get(part)]


def _each(texts: Texts, value: Any, path: str = "") -> Iterator[str]:
    before = f"{path}: " if path else ""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _each(texts, inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and all(not isinstance(each, (dict, list)) for each in value):
        yield before + ", ".join(_word(texts, each) for each in value)
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from _each(texts, inner, f"{path}.{number}" if path else str(number))
    else:
        yield before + _word(texts, value)


def _word(texts: Texts, value: Any) -> str:
    if isinstance(value, bool):
        return texts.word("plain", "true" if value else "false")
    return DASH if value is None else str(value)
