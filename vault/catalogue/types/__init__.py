"""The types that fields may have: validation, one normalised form, views, indexes and options of each."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from vault.catalogue.types.base import PARAMETERS, FieldType, JsonValue, Option, ValueProblem, has_view, parameter
from vault.catalogue.types.contact import EMAIL, PHONE
from vault.catalogue.types.dates import DATE
from vault.catalogue.types.encoding import decode, encode, index_text
from vault.catalogue.types.identifiers import IBAN, NATIONAL_ID
from vault.catalogue.types.numeric import CURRENCY, DECIMAL, INTEGER, MONEY
from vault.catalogue.types.places import ADDRESS, COUNTRY, LANGUAGE
from vault.catalogue.types.plain import BOOLEAN, ENUMERATION, JSON
from vault.catalogue.types.text import TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "PARAMETERS",
    "TYPES",
    "FieldType",
    "JsonValue",
    "Option",
    "ValueProblem",
    "decode",
    "encode",
    "has_view",
    "index_text",
    "parameter",
]

_ALL = (
    TEXT, EMAIL, PHONE, DATE, COUNTRY, ADDRESS, LANGUAGE, INTEGER, DECIMAL, MONEY, CURRENCY, BOOLEAN, ENUMERATION,
    IBAN, NATIONAL_ID, JSON,
)  # fmt: skip

TYPES: Mapping[str, FieldType] = MappingProxyType({field_type.name: field_type for field_type in _ALL})
"""Every type by its name."""
