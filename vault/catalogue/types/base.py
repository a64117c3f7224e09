"""What a field type is, the error that an invalid value raises, and how normalised values are encoded.

A type says everything about its values in one place: how they are validated and normalised, which views they have, how
they are indexed, read from files, compared between people and written in a package for a person. The rest of the
vault asks the type and knows no type by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from datetime import date
from operator import methodcaller
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
Options: TypeAlias = Mapping[str, Any]
Normaliser: TypeAlias = Callable[[object, Options], JsonValue]
Show: TypeAlias = Callable[[Any, date, int], JsonValue]

PARAMETERS = {"over_n": range(1, 121), "last_n": range(1, 17), "first_n": range(1, 17)}
"""Views that take a number in their name (``over_18``, ``last_4``), and the numbers that each takes."""

_PARAMETRIC = re.compile(r"(over|last|first)_([1-9][0-9]{0,2})")


class ValueProblem(ValueError):
    """A value does not fit its type.

    Args:
        code: a stable word for machines: ``wrong-type``, ``empty``, ``too-long``, ``bad-character``, ``bad-format``,
            ``bad-checksum``, ``out-of-range``, ``too-precise``, ``unknown-code``, ``missing-part``, ``unknown-part``,
            ``too-deep``, ``ambiguous``.
        detail: one sentence for people, without the value or any part of it.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Option:
    """One setting that a field of a type may carry in the catalogue.

    Args:
        title: what the option does, for the docs.
        check: says in one sentence what is wrong with a setting, or None.
        required: the type is of no use without it.
    """

    title: str
    check: Callable[[object], str | None]
    required: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """One way to show the values of a type.

    Args:
        show: ``(normalised value, today, n) -> what is shown``. ``n`` is the number in the name of a parametric view,
            such as 18 of ``over_18``, and 0 otherwise.
        description: what is shown, for the docs.
    """

    show: Show
    description: str


EVERY_TYPE: Mapping[str, View] = MappingProxyType(
    {
        "clear": View(lambda value, _today, _n: value, "the value itself"),
        "present": View(lambda _value, _today, _n: True, "true: that there is a value, not what it is"),
    }
)
"""The views that every type has."""


@dataclass(frozen=True, slots=True)
class Match:
    """How much it says about two people that they share a value, for the search for duplicates.

    Args:
        weight: how likely two people who share a value are the same person, in percent.
        applies: tells by the data category of a field whether its values count; by default all do.
        kind: if set, such as ``name``, each field is compared with itself only, and several shared values of one kind
            count once. Otherwise all fields of the type are compared with each other, and each shared value counts.
    """

    weight: int
    applies: Callable[[str], bool] = lambda _category: True
    kind: str = ""


@dataclass(frozen=True, slots=True)
class FieldType:
    """A kind of value.

    Args:
        name: the word that the catalogue uses.
        title: what a normalised value looks like, for the docs.
        normalise: ``(value, options) -> normalised value``. Total over JSON values: it returns, or raises
            :class:`ValueProblem` and nothing else; and normalising twice is normalising once. ``options`` have passed
            :meth:`check_options`.
        views: how values may be shown, by name; parametric views as ``over_n``, ``last_n``, ``first_n``. They start
            with :data:`EVERY_TYPE`.
        options: the options that a field of the type may carry.
        agree: says in one sentence how two options contradict each other, or None.
        indexes: which blind indexes the type may carry, of ``exact``, ``prefix``, ``last_n``. Types with few possible
            values have none: equal digests would give them away by counting.
        defaults: ``category -> options`` that a field of this data category has unless it declares them.
        check_today: checks a normalised value against the present day; raises :class:`ValueProblem`.
        fold: ``text -> the text that is indexed``; idempotent. A type has it if and only if it may be indexed.
        from_file: like ``normalise``, for a value that was read from an import file. By default ``normalise`` itself.
        parts: names of the parts of a value that is an object, in the order of columns in a table.
        match: what a shared value says about two people; None if nothing.
        lines: ``(value, write_day) -> lines of text``, for a package that a person reads; None where the value is
            written as any JSON. ``write_day`` writes an ISO date in the reader's language. The value may be masked.
        wide: values may be long, so that they need a wide column.
    """

    name: str
    title: str
    normalise: Normaliser
    views: Mapping[str, View] = field(default_factory=lambda: EVERY_TYPE)
    options: Mapping[str, Option] = field(default_factory=dict)
    agree: Callable[[Options], str | None] = lambda _options: None
    indexes: frozenset[str] = frozenset()
    defaults: Callable[[str], Options] = lambda _category: MappingProxyType({})
    check_today: Callable[[Any, Options, date], None] = lambda _value, _options, _today: None
    fold: Callable[[str], str] | None = None
    from_file: Normaliser | None = None
    parts: tuple[str, ...] = ()
    match: Match | None = None
    lines: Callable[[Any, Callable[[str], str]], list[str] | None] = lambda _value, _write_day: None
    wide: bool = False

    def __post_init__(self) -> None:
        if bool(self.indexes) != (self.fold is not None):
            raise TypeError(f"the type {self.name} needs both `indexes` and `fold`, or neither")

    @property
    def read_cell(self) -> Normaliser:
        """Return the function that makes a normalised value of what a file has: ``from_file``, or ``normalise``."""
        return self.from_file or self.normalise

    def index_text(self, value: JsonValue) -> str:
        """Return the text over which blind indexes of a value are computed.

        Takes parts of values too (``ada@`` for a prefix, ``4567`` for last digits), so that a search term is folded
        the same way as a stored value.

        Raises:
            ValueError: values of this type are not indexed, or the value is no text.
        """
        if self.fold is None or not isinstance(value, str):
            raise ValueError(f"values of the type {self.name} are not indexed")
        return self.fold(value)

    def check_options(self, options: Options) -> list[str]:
        """Return what is wrong with a field's options, one sentence for each fault."""
        known = ", ".join(sorted(self.options)) or "none"
        faults = [
            f"the type {self.name} has no option {name!r}; it has: {known}"
            for name in options
            if name not in self.options
        ]
        for name, option in self.options.items():
            if name in options:
                fault = option.check(options[name])
                if fault is not None:
                    faults.append(f"the option {name!r} {fault}")
            elif option.required:
                faults.append(f"the type {self.name} needs the option {name!r}: {option.title}")
        if not faults:
            fault = self.agree(options)
            faults += [fault] if fault is not None else []
        return faults


def parameter(view: str) -> tuple[str, int]:
    """Split ``last_4`` into ``("last_n", 4)``. A name without a number in range is returned as it is, with 0."""
    match = _PARAMETRIC.fullmatch(view)
    if match is None:
        return view, 0
    generic, number = f"{match[1]}_n", int(match[2])
    return (generic, number) if number in PARAMETERS[generic] else (view, 0)


def is_one_of(name: str, names: Container[str]) -> bool:
    """Return whether a name is among a type's views or indexes. ``over_18`` may be, ``over_n`` itself is not."""
    generic, number = parameter(name)
    return generic in names and (number > 0) == (generic in PARAMETERS)


def digits_as_text(normalise: Normaliser) -> Normaliser:
    """Make a ``from_file`` that takes a whole number for its digits: files know numbers where the type knows texts."""

    def from_file(value: object, options: Options) -> JsonValue:
        return normalise(str(value) if value.__class__ is int else value, options)

    return from_file


def part(name: str) -> Show:
    """Make the view that shows one part of an object, or null."""
    get = methodcaller("get", name)
    return lambda value, _today, _n: get(value)


def whole_number(low: int, high: int) -> Callable[[object], str | None]:
    """Make the check of an option that is a whole number within bounds, both included."""

    def check(setting: object) -> str | None:
        fits = isinstance(setting, int) and not isinstance(setting, bool) and low <= setting <= high
        return None if fits else f"must be a whole number from {low} to {high}"

    return check


def flag(setting: object) -> str | None:
    """Check an option that is true or false."""
    return None if isinstance(setting, bool) else "must be true or false"


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
