"""Normalised values as bytes, to be sealed, and as text, to be indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from vault.catalogue.types.text import folded

if TYPE_CHECKING:
    from vault.catalogue.types.base import JsonValue

_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder()
_DIGITS = "0123456789"


def encode(value: JsonValue) -> bytes:
    """Write a normalised value as canonical JSON: UTF-8, no white space, names sorted (in the manner of RFC 8785).

    Equal values have equal bytes. Two things differ from RFC 8785, for speed: names sort by code point, and numbers
    with a fraction (of which only the JSON type has any) are written as msgspec writes them.
    """
    return _ENCODER.encode(value)


def decode(data: bytes) -> JsonValue:
    """Read what :func:`encode` wrote; white space around it, such as padding, is skipped.

    Raises:
        msgspec.DecodeError: it is no JSON.
    """
    value: JsonValue = _DECODER.decode(data)
    return value


def index_text(field_type: str, value: JsonValue) -> str:
    """Return the text of a value over which blind indexes of its type are computed.

    Takes parts of values too (``ada@`` for a prefix, ``4567`` for last digits), so that what is searched for goes the
    same way as what is stored. Phones become digits, numbers of accounts and persons capitals and digits, all else is
    case folded in NFKC with its white space collapsed.

    Raises:
        ValueError: values of that type are not indexed.
    """
    if field_type not in {"text", "email", "phone", "date", "iban", "national_id"} or not isinstance(value, str):
        raise ValueError(f"values of the type {field_type} are not indexed")
    text = folded(value)
    if field_type == "phone":
        return "".join(letter for letter in text if letter in _DIGITS)
    if field_type in {"iban", "national_id"}:
        return "".join(letter for letter in text if letter.isalnum()).upper()
    return text
