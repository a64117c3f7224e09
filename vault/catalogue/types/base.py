"""What a field type is, and the one error that a value can raise."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
Options: TypeAlias = Mapping[str, Any]
Normaliser: TypeAlias = Callable[[object, Options], JsonValue]

EVERY_TYPE = frozenset({"clear", "present"})
"""Views that every type has: the value itself, and whether there is one."""

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


def _agree(_options: Options) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class FieldType:
    """A kind of value: how it is checked and written, how it may be shown, and how it may be found.

    Args:
        name: the word that the catalogue uses.
        title: what a value looks like once it is normalised, for the docs.
        normalise: ``(value, options) -> normalised value``. Total over JSON values: it returns, or raises
            :class:`ValueProblem` and nothing else; and normalising twice is normalising once. ``options`` have passed
            :meth:`check_options`.
        views: names of the views, parametric ones as ``over_n``, ``last_n``, ``first_n``; see :func:`has_view`.
        indexes: which blind indexes the type may carry, of ``exact``, ``prefix``, ``last_n``. Types with few possible
            values have none: equal digests would give them away by counting.
        options: the options that a field of the type may carry.
        agree: says in one sentence in what way two options contradict each other, or None.
    """

    name: str
    title: str
    normalise: Normaliser
    views: frozenset[str]
    indexes: frozenset[str] = frozenset()
    options: Mapping[str, Option] = field(default_factory=dict)
    agree: Callable[[Options], str | None] = _agree

    def check_options(self, options: Options) -> list[str]:
        """Say in one sentence each what is wrong with a field's options; nothing if they are right."""
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
    """Split ``last_4`` into ``("last_n", 4)``. A name without a number in range comes back as it is, with 0."""
    found = _PARAMETRIC.fullmatch(view)
    if found is None:
        return view, 0
    generic, number = f"{found[1]}_n", int(found[2])
    return (generic, number) if number in PARAMETERS[generic] else (view, 0)


def has_view(field_type: FieldType, view: str) -> bool:
    """Tell whether a type has a view by this name, ``over_18`` and the like included (``over_n`` itself is no view)."""
    generic, number = parameter(view)
    return generic in field_type.views and (number > 0) == (generic in PARAMETERS)


def whole_number(low: int, high: int) -> Callable[[object], str | None]:
    """Make the check of an option that is a whole number within bounds, both included."""

    def check(setting: object) -> str | None:
        fits = isinstance(setting, int) and not isinstance(setting, bool) and low <= setting <= high
        return None if fits else f"must be a whole number from {low} to {high}"

    return check


def flag(setting: object) -> str | None:
    """Check an option that is true or false."""
    return None if isinstance(setting, bool) else "must be true or false"
