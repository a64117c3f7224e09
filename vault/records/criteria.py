"""The criteria of a search: by which index of which field, for which normalised text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vault.catalogue.types import ValueProblem, index_text
from vault.catalogue.types.text import MAX_LENGTH
from vault.errors import Fault, InvalidInput
from vault.subjects.leads import MOST_DIGESTS as MOST_CRITERIA
from vault.subjects.rows import PREFIXES, tail_length
from vault.subjects.validation import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.catalogue.model import Catalogue, Field, Index
    from vault.catalogue.types import JsonValue


@dataclass(frozen=True, slots=True)
class Criterion:
    """One condition of a search: an index of a field, and the normalised text to match."""

    asked: str
    field: Field
    by: Index
    text: str


def parse_criteria(catalogue: Catalogue, match: Mapping[str, JsonValue]) -> list[Criterion]:
    """Parse the criteria of a search, by the indexes that the catalogue declares.

    Raises:
        InvalidInput: no criterion or too many, a field without such an index, or an invalid value.
    """
    if not 1 <= len(match) <= MOST_CRITERIA:
        raise InvalidInput(f"a search has 1 to {MOST_CRITERIA} criteria", code="invalid-search")
    return [_criterion(catalogue.field(name), name, condition) for name, condition in match.items()]


def _criterion(field: Field, asked: str, condition: JsonValue) -> Criterion:
    kind, value = "exact", condition
    if isinstance(condition, dict) and len(condition) == 1:
        ((kind, value),) = condition.items()
    index = next((index for index in field.indexes if index.kind == kind), None)
    at = f"/match/{asked}"
    if index is None:
        raise InvalidInput(
            "the field has no such index",
            faults=[Fault(at, "not-searchable", "the catalogue declares no such search on this field")],
            code="not-searchable",
            hint="GET /v1/catalogue says how each field can be searched",
        )
    return Criterion(asked, field, index, _text(field, kind, value, at))


def _bounded(field: Field, value: JsonValue) -> JsonValue:
    """Return a value that is no longer than one of the field can be; folding a longer one would be work for nothing."""
    if isinstance(value, str) and len(value) > field.options.get("max_length", MAX_LENGTH):
        raise ValueError
    return value


def _invalid(fault: Fault) -> InvalidInput:
    return InvalidInput("the value to search for is invalid for its field", faults=[fault], code="invalid-value")


def _text(field: Field, kind: str, value: JsonValue, at: str) -> str:
    try:
        if kind == "exact":
            return index_text(field.type, normalise(field, value))
        text = index_text(field.type, _bounded(field, value))
    except ValueProblem as problem:
        raise _invalid(Fault(at, problem.code, problem.detail)) from None
    except ValueError:
        raise _invalid(
            Fault(at, "invalid-value", "a text that is no longer than a value of the field can be")
        ) from None
    if (kind == "prefix" and len(text) < PREFIXES.start) or (kind != "prefix" and len(text) != tail_length(kind)):
        raise InvalidInput(
            "the value to search for is too short or too long for this index",
            faults=[Fault(at, "invalid-value", "a prefix has 2 letters or more; last_4 has exactly 4")],
            code="invalid-value",
        )
    return text
