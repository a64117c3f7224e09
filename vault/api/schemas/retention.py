"""Request bodies of retention."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from vault.api.schemas.subjects import Body
from vault.retention.clocks import Event
from vault.retention.reviews import Decision, Reason


class ReviewDecision(Body):
    """A decision about a value whose retention has ended."""

    decision: Decision
    until: Annotated[
        date | None, Field(description="With `keep`: the last day, in UTC; it is reviewed again then.")
    ] = None
    reason: Annotated[Reason | None, Field(description="With `keep`: why.")] = None


class NewRetentionEvent(Body):
    """An event: something began or ended."""

    event: Annotated[Event, Field(description="What began or ended.", examples=["contract-ended"])]
    on: Annotated[date | None, Field(description="The day, in UTC, and not in the future; today by default.")] = None
