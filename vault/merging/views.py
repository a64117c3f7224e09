"""Answers about merges and duplicates."""

from __future__ import annotations

from uuid import UUID

from pydantic import ConfigDict

from vault.views import View


class MergeResult(View):
    """The result of a merge: the surviving subject, and the numbers of records and consent events that moved to it."""

    model_config = ConfigDict(extra="ignore")

    id: UUID
    records: int
    same: int
    apart: int
    conflicts: list[str]
    consents: int


class DuplicateCandidate(View):
    """A subject that may be the same person: a score of 0 to 99, and the names of the matching fields."""

    id: UUID
    score: int
    matched: list[str]


class DuplicateCandidates(View):
    """Subjects that may be the same person, the likeliest first; ``more`` if there may be others."""

    results: list[DuplicateCandidate]
    more: bool
    audit: UUID
