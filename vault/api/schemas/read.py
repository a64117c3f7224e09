"""The bodies of ``POST /v1/read``, for the OpenAPI document. The route itself reads them with :mod:`msgspec`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.types import JsonValue  # noqa: TC002 - as above

from vault.api.schemas.subjects import Body, Purpose
from vault.records.read import LONGEST_REASON, MOST_FIELDS, MOST_SUBJECTS

EXAMPLE: JsonValue = {
    "subject": "0199aaaa-aaaa-7aaa-8aaa-aaaaaaaaaaaa",
    "fields": ["email", "birth_date.over_18"],
    "purpose": "order-fulfilment",
    "reason": "order 4711",
}

FieldsToRead = Annotated[
    list[Annotated[str, Field(max_length=200)]],
    Field(min_length=1, max_length=MOST_FIELDS, description="Names of fields and views, each once."),
]
Reason = Annotated[
    str | None, Field(max_length=LONGEST_REASON, description="Free text for the audit log; it is stored sealed.")
]


class ReadRequest(Body):
    """Fields of one subject to read for a purpose."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    subject: UUID
    fields: FieldsToRead
    purpose: Purpose
    reason: Reason = None


class BatchReadRequest(Body):
    """Fields of several subjects to read for a purpose."""

    subjects: Annotated[list[UUID], Field(min_length=1, max_length=MOST_SUBJECTS)]
    fields: FieldsToRead
    purpose: Purpose
    reason: Reason = None
