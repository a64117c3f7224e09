"""Validate and normalise input by the catalogue. An error has all faults, and none of the values."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from vault.catalogue.types import TYPES, ValueProblem
from vault.errors import Fault, InvalidInput
from vault.names import called
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.model import Catalogue, Field
    from vault.catalogue.types import JsonValue

LONGEST_SOURCE = 64
DEEPEST = 64
"""Levels of a merge patch; the deepest type has 32."""


def fields_of(
    catalogue: Catalogue, collection: str, given: Mapping[str, object], *, at: str, whole: bool = False
) -> dict[str, Field]:
    """Look up the fields that a body names, by their names within the collection.

    Args:
        catalogue: the catalogue.
        collection: in which the fields are.
        given: the values by field.
        at: the place of the values in the body.
        whole: the values are whole, and no patches: then an error names those that are invalid too.

    Raises:
        InvalidInput: a key is not a field, or only the vault itself writes it.
    """
    declared = catalogue.collections[collection].fields if collection in catalogue.collections else None
    if declared is None or not given:
        raise InvalidInput(
            "the body names no fields of a collection",
            faults=[Fault(at, "no-fields", "name at least one field of a collection of the catalogue")],
            code="no-fields",
        )
    writable = {name: field for name, field in declared.items() if not field.system}
    faults = [
        Fault(at, "unknown-field", _unknown_field(name, position, writable))
        for position, name in enumerate(given, 1)
        if name not in writable
    ]
    if not faults:
        return {name: declared[name] for name in given}
    if whole:
        known = {name: value for name, value in given.items() if name in writable}
        faults += _normalised(writable, known, at, date.max)[1]
    raise InvalidInput("unknown fields", faults=faults, code="unknown-field")


def _unknown_field(name: str, position: int, known: Mapping[str, Field]) -> str:
    named, question = called(name, position, known)
    return f"{named} is not a field of this collection that callers may write{question}"


def normalised(
    fields: Mapping[str, Field], given: Mapping[str, object], *, at: str, today: date
) -> dict[str, JsonValue]:
    """Normalise values to store, each by its field's type.

    Args:
        at: JSON pointer of the values.
        today: the day (UTC) after which no one is born.

    Raises:
        InvalidInput: with a fault for every value that is invalid for its type.
    """
    values, faults = _normalised(fields, given, at, today)
    if faults:
        raise InvalidInput("some values are invalid for their fields", faults=faults, code="invalid-value")
    return values


def _normalised(
    fields: Mapping[str, Field], given: Mapping[str, object], at: str, today: date
) -> tuple[dict[str, JsonValue], list[Fault]]:
    values, faults = {}, []
    for name, value in given.items():
        try:
            values[name] = checked(fields[name], value, today)
        except ValueProblem as problem:
            faults.append(Fault(f"{at}/{name}", problem.code, problem.detail))
    return values, faults


def normalise(field: Field, value: object) -> JsonValue:
    """Normalise one value.

    Raises:
        ValueProblem: it is invalid for the field's type.
    """
    return TYPES[field.type].normalise(value, field.options)


def checked(field: Field, value: object, today: date) -> JsonValue:
    """Normalise a value to store.

    Raises:
        ValueProblem: it is invalid for the field's type, or not possible yet.
    """
    normal = normalise(field, value)
    TYPES[field.type].check_today(normal, field.options, today)
    return normal


def policy_names(collection: str, fields: Mapping[str, Field]) -> list[str]:
    """Return the names of fields in the policies: ``email`` for the profile, else ``purchase.amount``."""
    return list(fields) if collection == PROFILE else [field.whole for field in fields.values()]


def merged(old: object, patch: object, *, depth: int = DEEPEST) -> object:
    """Apply a JSON merge patch (RFC 7396 §2).

    Raises:
        InvalidInput: it nests deeper than any type allows.
    """
    if not isinstance(patch, dict):
        return patch
    if depth == 0:
        raise InvalidInput("a value is nested too deeply", code="invalid-value")
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value, depth=depth - 1)
    return result


def checked_source(source: str | None, *, fallback: str) -> str:
    """Validate the name of a source (a system or form, never a person).

    Raises:
        InvalidInput: it is not 1 to 64 printable ASCII characters.
    """
    if source is None:
        return fallback
    if not 1 <= len(source) <= LONGEST_SOURCE or not (source.isascii() and source.isprintable()):
        raise InvalidInput(
            "the name of a source has 1 to 64 printable ASCII characters",
            faults=[Fault("/source", "invalid-source", "1 to 64 printable ASCII characters")],
            code="invalid-source",
        )
    return source
