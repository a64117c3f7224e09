"""Booleans, enumerations and JSON of any shape."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from vault.catalogue.types.base import FieldType, Option, ValueProblem, digits_as_text, encode, whole_number
from vault.catalogue.types.numeric import MOST_INTEGER
from vault.catalogue.types.text import composed, line_of, storable

if TYPE_CHECKING:
    from vault.catalogue.types.base import JsonValue, Options

MAX_BYTES = 16_384
MAX_DEPTH = 8
MEMBER_LENGTH = 200
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def boolean(value: object, _options: Options) -> bool:
    """Return true or false; the words true, yes, 1, false, no and 0 are accepted, for files that contain only text.

    Raises:
        ValueProblem: it is neither.
    """
    known = _WORDS.get(value.strip().casefold()) if isinstance(value, str) and len(value) <= 64 else value
    if not isinstance(known, bool):
        raise ValueProblem("wrong-type", "must be true or false")
    return known


def enumeration(value: object, options: Options) -> str:
    """Return one of the field's ``values``, as it is written there; case counts only if values differ by it.

    Raises:
        ValueProblem: it is none of them.
    """
    values: list[str] = options["values"]
    if isinstance(value, str) and value in values:
        return value
    text = line_of(value, MEMBER_LENGTH)
    if text in values:
        return text
    alike = [known for known in values if known.casefold() == text.casefold()]
    if len(alike) != 1:
        raise ValueProblem("unknown-code", "must be one of the values that its field lists")
    return alike[0]


def json(value: object, options: Options) -> JsonValue:
    """Return JSON with its texts in NFC and numbers that every reader reads exactly (RFC 7493).

    Raises:
        ValueProblem: it is null, too large, too deep, or contains a value that JSON does not have.
    """
    limit = options.get("max_bytes", MAX_BYTES)
    if value is None:
        raise ValueProblem("wrong-type", "must not be null: leave the field out instead")
    tidied = _Tidy(limit).tidy(value, options.get("max_depth", MAX_DEPTH))
    if len(encode(tidied)) > limit:
        raise _too_large(limit)
    return tidied


class _Tidy:
    """Copies JSON. Stops once it has seen more than could be written in ``limit`` bytes, so that work is bounded."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = 4 * limit  # texts may shrink by becoming NFC, but not to less than a third

    def tidy(self, value: object, depth: int) -> JsonValue:
        self.spend(1)
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, float | int) and not isinstance(value, bool):
            return _number(value)
        if value is None or isinstance(value, bool):
            return value
        if not isinstance(value, dict | list):
            raise ValueProblem("wrong-type", "must be JSON")
        if depth <= 0:
            raise ValueProblem("too-deep", "must not nest lists and objects so deep")
        if isinstance(value, list):
            return [self.tidy(item, depth - 1) for item in value]
        return self.members(value, depth)

    def members(self, value: dict[object, object], depth: int) -> JsonValue:
        members = {self.text(name): self.tidy(item, depth - 1) for name, item in value.items()}
        if len(members) != len(value):
            raise ValueProblem("ambiguous", "must not have two names in one object that are one in Unicode NFC")
        return members

    def text(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueProblem("wrong-type", "must have texts as names in its objects")
        self.spend(len(value))
        if not storable(value):
            raise ValueProblem("bad-character", "must not have control characters or broken Unicode")
        return composed(value)

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise _too_large(self.limit)


def _number(value: float) -> int | float:
    if not abs(value) <= MOST_INTEGER:  # NaN and infinity too
        raise ValueProblem("out-of-range", "must have numbers up to 2^53 - 1 only; write longer ones as texts")
    # One number has one form: 2.0 is 2, and -0.0 is 0.
    return int(value) if isinstance(value, int) or value.is_integer() else value


def _too_large(limit: int) -> ValueProblem:
    return ValueProblem("too-long", f"must have at most {limit} bytes as JSON")


def _are_members(setting: object) -> str | None:
    fine = (
        isinstance(setting, list | tuple)
        and 0 < len(setting) <= 1000
        and all(isinstance(member, str) and _is_member(member) for member in setting)
        and len(set(setting)) == len(setting)
    )
    return None if fine else f"must list 1 to 1000 different texts of one line and up to {MEMBER_LENGTH} characters"


def _is_member(member: str) -> bool:
    try:
        return line_of(member, MEMBER_LENGTH) == member
    except ValueProblem:
        return False


def _from_file(value: object, options: Options) -> JsonValue:
    """Read JSON of a file; an object or a list may be written in a cell, as packages write it."""
    text = value.strip() if isinstance(value, str) else ""
    if (text[:1], text[-1:]) in {("{", "}"), ("[", "]")}:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return json(msgspec.json.decode(text), options)
    return json(value, options)


BOOLEAN = FieldType("boolean", "true or false", boolean)
ENUMERATION = FieldType(
    name="enumeration",
    title="one of the values that the field lists",
    normalise=enumeration,
    options={"values": Option("all values that the field may have", _are_members, required=True)},
    from_file=digits_as_text(enumeration),
)
JSON = FieldType(
    name="json",
    title="JSON of any shape but null; at most 16 KiB and 8 levels unless the field says otherwise",
    normalise=json,
    options={
        "max_bytes": Option("most bytes of the value as JSON", whole_number(2, 262_144)),
        "max_depth": Option("most levels of lists and objects", whole_number(0, 32)),
    },
    from_file=_from_file,
    wide=True,
)
