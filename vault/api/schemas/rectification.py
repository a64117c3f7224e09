"""Bodies of calls about corrected, disputed and verified values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vault.api.schemas.consent import Reason
from vault.api.schemas.subjects import Body, Purpose

Fields = Annotated[
    list[Annotated[str, Field(max_length=200)]],
    Field(min_length=1, max_length=100, description="Fields of the profile.", examples=[["email"]]),
]


class NewDispute(Body):
    """The values that the person disputes."""

    fields: Fields
    statement: Annotated[
        str, Field(max_length=500, description="What the person says: one line, sealed under their own key.")
    ]
    restrict: Annotated[bool, Field(description="Restrict the person's data until it is decided (Art. 18(1)(a)).")] = (
        False
    )


class Verdict(Body):
    """The decision of a dispute: upheld if the value is wrong, refused if it is right."""

    decision: Literal["upheld", "refused"]
    reason: Reason


class VerifiedFields(Body):
    """Values that were checked now and are accurate."""

    fields: Fields
    purpose: Purpose
