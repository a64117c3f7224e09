"""The types that fields may have, each with its validation, views, indexes and options; see :class:`FieldType`."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from vault.catalogue.types.base import (
    PARAMETERS,
    FieldType,
    JsonValue,
    Match,
    Option,
    ValueProblem,
    decode,
    encode,
    is_one_of,
    parameter,
)
from vault.catalogue.types.dates import DATE
from vault.catalogue.types.identifiers import EMAIL, IBAN, NATIONAL_ID, PHONE
from vault.catalogue.types.numeric import CURRENCY, DECIMAL, INTEGER, MONEY
from vault.catalogue.types.places import ADDRESS, COUNTRY, LANGUAGE
from vault.catalogue.types.plain import BOOLEAN, ENUMERATION, JSON
from vault.catalogue.types.text import TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from vault.catalogue.types.base import Show

__all__ = [
    "PARAMETERS",
    "TYPES",
    "FieldType",
    "JsonValue",
    "Match",
    "Option",
    "ValueProblem",
    "decode",
    "encode",
    "index_text",
    "is_one_of",
    "parameter",
    "show",
]

_ALL = (
    TEXT, EMAIL, PHONE, DATE, COUNTRY, ADDRESS, LANGUAGE, INTEGER, DECIMAL, MONEY, CURRENCY, BOOLEAN, ENUMERATION,
    IBAN, NATIONAL_ID, JSON,
)  # fmt: skip

TYPES: Mapping[str, FieldType] = MappingProxyType({field_type.name: field_type for field_type in _ALL})
"""Every type by its name."""


def index_text(field_type: str, value: JsonValue) -> str:
    """Return the text over which blind indexes of a value are computed; see :meth:`FieldType.index_text`.

    Raises:
        ValueError: values of that type are not indexed.
    """
    return TYPES[field_type].index_text(value)


def show(field_type: str, view: str, value: JsonValue, today: date) -> JsonValue:
    """Show a normalised value by a view. Views are computed at the moment of the read; nothing of them is stored.

    Args:
        field_type: name of the type.
        view: name of the view, such as ``masked``, ``last_4`` or ``over_18``.
        value: the value as its type normalised it.
        today: the day for ages: the caller's day, as a vault knows no time zone of its own.

    Raises:
        ValueError: the type has no such view.
    """
    if view == "clear":
        return value
    shows, number = _resolve(field_type, view)
    return shows(value, today, number)


@lru_cache(maxsize=4096)
def _resolve(field_type: str, view: str) -> tuple[Show, int]:
    if field_type not in TYPES or not is_one_of(view, TYPES[field_type].views):
        raise ValueError("the type has no such view")
    generic, number = parameter(view)
    return TYPES[field_type].views[generic].show, number
