"""The base of views: what an answer looks like, once, for the API, the command line and the pages.

A capability declares its answers as subclasses of :class:`View` in its ``views.py``, and its operations build them. A
route returns a view, the command line dumps it as JSON, a page renders it. A view is validated when it is built, so
an answer cannot differ from the OpenAPI document.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from vault.clock import rfc3339

Moment = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A point in time; written as RFC 3339 in UTC with microseconds."""

T = TypeVar("T")
OmitIfNone = Annotated[T | None, Field(exclude_if=lambda value: value is None)]
"""A value that is left out of the answer, key and all, if there is none; give the field the default ``None``."""


class View(BaseModel):
    """An answer, or a part of one: immutable, and without fields that its class does not declare."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True, defer_build=True)

    @classmethod
    def from_object(cls, source: object, **values: object) -> Self:
        """Return a view with the attributes of an object that have the names of its fields, and with these values."""
        names = cls.model_fields.keys() - values.keys()
        return cls.model_validate({name: getattr(source, name) for name in names} | values)

    def as_json(self) -> dict[str, Any]:
        """Return the view as JSON values: what a route sends and the command line prints."""
        return self.model_dump(mode="json")
