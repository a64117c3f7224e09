"""What is wrong with a body, in words: which key is unknown, which form a part has to have, where the JSON is broken.

The words come from the API's schema. Nothing of the request is repeated but typos of keys that it knows.
"""

from __future__ import annotations

import json
import re
import typing
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pydantic import BaseModel

from vault.errors import Fault, InvalidInput
from vault.names import REPEATED, called, parse_unique

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

SEND_JSON: Final = "Send a JSON object, with the header `Content-Type: application/json`."
_WHOLE: Final = "This part does not have the form that the API describes."
_MOMENT: Final = "a date and a time with its offset, such as 2026-11-01T09:00:00Z"
_UUID: Final = "a UUID, such as 0199aaaa-aaaa-7aaa-8aaa-aaaaaaaaaaaa"
_DAY: Final = "a day, such as 2026-11-01"
_FORMS: Final[Mapping[str, str]] = {
    "uuid_type": _UUID, "uuid_parsing": _UUID, "uuid_version": _UUID,
    "datetime_type": _MOMENT, "datetime_parsing": _MOMENT, "datetime_from_date_parsing": _MOMENT,
    "datetime_object_invalid": _MOMENT, "timezone_aware": _MOMENT, "timezone_naive": _MOMENT,
    "date_type": _DAY, "date_parsing": _DAY, "date_from_datetime_parsing": _DAY, "date_from_datetime_inexact": _DAY,
    "string_type": "a text in quotes", "bool_type": "true or false", "bool_parsing": "true or false",
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "float_parsing": "a number", "finite_number": "a finite number",
    "list_type": "a list", "dict_type": "an object", "model_type": "an object", "model_attributes_type": "an object",
    "none_required": "null", "string_unicode": "a text of Unicode characters",
}  # fmt: skip
"""The form that each type of error of pydantic asks for."""
_BOUNDS: Final[Mapping[str, tuple[str, str]]] = {
    "too_long": ("max_length", "at most {} items"), "too_short": ("min_length", "at least {} items"),
    "string_too_long": ("max_length", "at most {} characters"),
    "string_too_short": ("min_length", "at least {} characters"),
    "greater_than_equal": ("ge", "at least {}"), "less_than_equal": ("le", "at most {}"),
    "greater_than": ("gt", "more than {}"), "less_than": ("lt", "less than {}"),
    "literal_error": ("expected", "one of {}"), "enum": ("expected", "one of {}"),
    "string_pattern_mismatch": ("pattern", "a text that matches {}"),
}  # fmt: skip
"""The bound that a type of error states, from the schema: its name in the error's context, and the words."""
_KINDS: Final = {
    "str": "a text in quotes", "array": "a list", "object": "an object", "int": "a whole number",
    "bool": "true or false", "uuid": _UUID, "datetime": _MOMENT, "date": _DAY,
}  # fmt: skip
_PLACE: Final = re.compile(r" - at `\$((?:\.[a-z_]{1,40}|\[\d{1,6}\])*)`\Z")
_BYTE: Final = re.compile(r"\(byte (\d{1,9})\)\Z")


def faults_of(details: Sequence[Mapping[str, Any]], body: object, model: object) -> list[Fault]:
    """Describe the errors of FastAPI, each ``{"type": …, "loc": ("body", …), "ctx": …}``.

    Args:
        details: the errors.
        body: the decoded body, or its text if it is not valid JSON.
        model: the annotation of the body.
    """
    return [_fault(detail, body, model) for detail in details]


def _fault(detail: Mapping[str, Any], body: object, model: object) -> Fault:
    kind, location, context = detail["type"], tuple(detail["loc"]), detail.get("ctx") or {}
    place = location[1:]
    if kind == "json_invalid" and context.get("error") == REPEATED:
        (fault,) = repeated_name().faults
        return fault
    if kind == "json_invalid":
        return Fault("", "invalid-json", broken(body if isinstance(body, str) else "", place[0] if place else None))
    if kind == "extra_forbidden":  # the last step is a key of the request
        return unknown_key(place[-1], _pointer(place[:-1]), _inside(body, place[:-1]), _known(model, place[:-1]))
    if kind == "missing":
        return Fault(
            _pointer(place), "missing", "This part is missing." if place else f"The body is missing. {SEND_JSON}"
        )
    if not place and location[:1] == ("body",):
        return Fault("", "invalid-body", SEND_JSON)
    return Fault(_pointer(place), "invalid-body", _in_words(kind, context))


def _in_words(kind: str, context: Mapping[str, object]) -> str:
    name, words = _BOUNDS.get(kind, ("", ""))
    if name in context:
        bound = context[name]
        return f"This part has to be {words.format(f'{bound:,}' if isinstance(bound, int) else bound)}."
    return f"This part has to be {_FORMS[kind]}." if kind in _FORMS else _WHOLE


def unknown_key(key: object, at: str, siblings: object, known: Iterable[str]) -> Fault:
    """Return the fault of a key that the API does not know."""
    keys = list(siblings) if isinstance(siblings, dict) else []
    named, question = called(key, keys.index(key) + 1 if key in keys else None, known)
    return Fault(at, "unknown-key", f"{named} is not a key that the API knows here{question or '.'}")


def from_decoder(error: Exception, body: bytes = b"", known: Sequence[str] = ()) -> InvalidInput:
    """Turn a message of msgspec into a fault.

    Args:
        error: what the decoder raised. Its message may quote a key of the body.
        body: the bytes that it decoded.
        known: the keys of the object in the body.
    """
    if not isinstance(error, msgspec.ValidationError):
        byte = _BYTE.search(str(error))
        where = int(byte[1]) if byte else getattr(error, "start", len(body) if body else None)
        detail = broken(body.decode("utf-8", "replace"), where, unit="byte") if body else "The body is not valid JSON."
        return InvalidInput(
            "The body is not valid JSON.", faults=[Fault("", "invalid-json", detail)], code="invalid-json"
        )
    fault = _decoded(str(error), known)
    whole = "The body does not have the form that the API describes."
    return InvalidInput(whole, faults=[fault], code="invalid-body")


def _decoded(message: str, known: Sequence[str]) -> Fault:
    place = _PLACE.search(message)
    at = "" if place is None else re.sub(r"\[(\d+)\]", r".\1", place[1]).replace(".", "/")
    said = message if place is None else message[: place.start()]
    if key := re.fullmatch(r"Object contains unknown field `(.*)`", said, re.DOTALL):
        return unknown_key(key[1], at, None, known if not at else ())
    if key := re.fullmatch(r"Object missing required field `([a-z_]+)`", said):
        return Fault(f"{at}/{key[1]}", "missing", "This part is missing.")
    if said == "Invalid UUID":
        return Fault(at, "invalid-body", f"This part has to be {_UUID}.")
    if (expected := re.match(r"Expected `([a-z]+)(?: \| null)?`", said)) and expected[1] in _KINDS:
        return Fault(at, "invalid-body", f"{'This part' if at else 'The body'} has to be {_KINDS[expected[1]]}.")
    return Fault(at, "invalid-body", _WHOLE)


def broken(text: str, position: object, *, unit: str = "character") -> str:
    """Say where JSON is broken: by line and column, and by the position from the beginning."""
    if not isinstance(position, int):
        return "The body is not valid JSON."
    before = text.encode()[:position].decode("utf-8", "replace") if unit == "byte" else text[:position]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    return f"The body is not valid JSON: look at line {line}, column {column} ({unit} {position})."


def _inside(body: object, place: Sequence[object]) -> object:
    for step in place:
        if isinstance(body, dict):
            body = body.get(step)
        elif isinstance(body, list) and isinstance(step, int) and step < len(body):
            body = body[step]
    return body


def _known(annotation: object, place: Sequence[object]) -> list[str]:
    """Return the keys that the schema has at a place of a body."""
    models = list(_models(annotation))
    for step in (step for step in place if isinstance(step, str)):
        fields = [model.model_fields[step].annotation for model in models if step in model.model_fields]
        if fields:
            models = [inner for each in fields for inner in _models(each)]
    return sorted({name for model in models for name in model.model_fields})


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models(inner)


def _pointer(place: Sequence[object]) -> str:
    """Return a JSON pointer with only positions and keys of the API's schema."""
    return "".join(f"/{step}" for step in place if isinstance(step, int) or re.fullmatch(r"[a-z_]{1,40}", str(step)))


def require_unique(text: bytes) -> None:
    """Refuse JSON in which an object gives a name twice: one of the two values would be lost unnoticed.

    What is no JSON at all passes: the decoder that follows says where it is broken.

    Raises:
        InvalidInput: a name is given twice.
    """
    try:
        parse_unique(text)
    except json.JSONDecodeError as error:
        if error.msg == REPEATED:
            raise repeated_name() from None
    except (ValueError, RecursionError):
        return


def repeated_name() -> InvalidInput:
    """Return the error for a body in which a name is given twice."""
    fault = Fault("", "invalid-json", "An object in the body gives the same name twice. Give each name once.")
    return InvalidInput("The body gives a name twice.", faults=[fault], code="invalid-json")
