"""Normalised values as bytes, to be sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from vault.catalogue.types.base import JsonValue

_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder()


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
