"""Views of legal holds."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from vault.views import Moment, View


class Hold(View):
    """A legal hold."""

    id: UUID
    state: Literal["active", "lifted"]
    matter: Annotated[str, Field(description="What it is about, as a reference.")]
    owner: Annotated[str, Field(description="Who is responsible for it, as a reference.")]
    purpose: Annotated[str, Field(description="The purpose for which what it covers is used.")]
    also_for: Annotated[tuple[str, ...], Field(description="Purposes that may go on using what it covers.")]
    fields: Annotated[tuple[str, ...], Field(description="Fields and collections that it covers; `*` is everything.")]
    since: Annotated[date | None, Field(description="The first day of the records that it covers.")]
    until: Annotated[date | None, Field(description="The last such day.")]
    review_on: Annotated[date, Field(description="When to check whether it is still needed.")]
    people: Annotated[int, Field(description="How many subjects it covers, or covered when it was lifted.")]
    placed_at: Moment
    lifted_at: Moment | None
    reason: Annotated[str | None, Field(description="Why it was lifted.")]


class HoldDetails(Hold):
    """A legal hold and the subjects that it covers; a lifted hold covers none."""

    subjects: list[UUID]


class HoldPage(View):
    """Holds, the next due for review first."""

    holds: list[Hold]
    next: Annotated[UUID | None, Field(description="The cursor of the next page. Null: this is the last one.")]
