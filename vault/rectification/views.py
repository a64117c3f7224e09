"""Answers about corrected and disputed values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from pydantic import Field

from vault.rectification.store import State
from vault.views import Moment, View

if TYPE_CHECKING:
    from vault.rectification.store import Rectification


class Disputes(View):
    """The dispute of each field, and whether the person's data is restricted."""

    disputes: Annotated[dict[str, UUID], Field(description="The id of the dispute, by field.")]
    state: Literal["active", "restricted"]


class DecidedDispute(View):
    """A dispute that was decided."""

    id: UUID
    state: State


class RectificationItem(View):
    """A value that was corrected or is disputed, or a statement of the person; without the values."""

    id: UUID
    request: UUID | None
    collection: str
    record: UUID
    field: Annotated[str, Field(description="`*` for a statement about no field in particular.")]
    state: State
    at: Moment
    closed_at: Annotated[Moment | None, Field(description="When a dispute was decided.")]
    statement: str | None
    reason: str | None

    @classmethod
    def of(cls, row: Rectification, statement: str | None, reason: str | None) -> RectificationItem:
        """Return the view of a rectification, with the opened words."""
        return cls(
            id=row.id,
            request=row.request,
            collection=row.collection,
            record=row.record,
            field=row.field,
            state=row.state,
            at=row.at,
            closed_at=row.closed_at,
            statement=statement,
            reason=reason,
        )


class RectificationPage(View):
    """Some rectifications, the oldest first."""

    results: list[RectificationItem]
    next: Annotated[str | None, Field(description="The `cursor` of the next page.")]
    audit: UUID
