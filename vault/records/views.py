"""Answers about records: values that are shown, and the reasons why others are not.

The answers of read, list and search hold values as they were sealed, so :mod:`msgspec` writes them from the structs
that the operations return. Their views here describe them in the OpenAPI document; a test compares the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from pydantic import Field

from vault.errors import Refusal
from vault.views import Moment, View

if TYPE_CHECKING:
    from vault.policy.decision import Verdict

Values = Annotated[dict[str, object], Field(description="Values by the name that was asked for.")]
Denied = Annotated[dict[str, Refusal], Field(description="Why the other fields are not shown, by name.")]
Audit = Annotated[UUID, Field(description="The id of the audit entry.")]


class SubjectFields(View):
    """What is shown of one of several subjects."""

    subject: UUID
    fields: Values
    denied: Denied


class ReadResult(View):
    """What is shown of one subject."""

    subject: UUID
    fields: Values
    denied: Denied
    audit: Audit


class BatchReadResult(View):
    """What is shown of several subjects, in the order of the request."""

    results: list[SubjectFields]
    audit: Audit


class SearchResult(View):
    """The subjects that match all criteria."""

    results: list[SubjectFields]
    more: Annotated[bool, Field(description="Whether there may be others, on a next page.")]
    next: Annotated[str | None, Field(description="The cursor of the next page; null on the last one.")]
    audit: Audit


class RecordFields(View):
    """What is shown of one record."""

    id: UUID
    revision: int
    occurred_at: Moment | None
    created_at: Moment
    fields: Values
    denied: Denied


class RecordPage(View):
    """Records of one collection, newest first."""

    results: list[RecordFields]
    denied: Annotated[dict[str, Refusal], Field(description="Why fields are shown of no record, by name.")]
    next: Annotated[str | None, Field(description="The cursor of the next page; null on the last one.")]
    audit: Audit


class SubjectState(View):
    """A subject's state and the revision of its profile, without a value."""

    id: UUID
    state: str
    revision: int


class FieldDecision(View):
    """The decision for one field: at which step of a read it fell, by which rule, and how to change it."""

    allowed: bool
    step: int
    code: str
    detail: str
    rule: str

    @classmethod
    def of_verdict(cls, verdict: Verdict) -> FieldDecision:
        """Build the decision of the policies."""
        return cls(
            allowed=verdict.granted, step=verdict.step, code=verdict.code, detail=verdict.detail, rule=verdict.rule
        )

    @classmethod
    def of_refusal(cls, refusal: Refusal, step: int) -> FieldDecision:
        """Build a denial for a reason that no policy decides."""
        return cls(allowed=False, step=step, code=refusal.code, detail=refusal.detail, rule=refusal.rule)


class DecisionExplanation(View):
    """The decision for each field under one version of the policies."""

    fields: dict[str, FieldDecision]
    policy_version: str
    audit: Audit
