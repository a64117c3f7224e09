"""Answers about merges and duplicates."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from vault.views import Moment, View


class MergeResult(View):
    """The result of a merge: the surviving subject, and the numbers of records and consent events that moved to it."""

    model_config = ConfigDict(extra="ignore")

    id: UUID
    records: int  # without the profile
    same: int  # both had the record, with the same id in another system and the same values; one of each stays
    apart: int  # moved without their id in another system, which a record of the survivor has
    conflicts: list[str]  # fields of the profile of which both had a value; the survivor's stays
    consents: int
    created: Annotated[SkipJsonSchema[bool], Field(exclude=True)]
    """Whether the merge happened now, and not in an earlier call. The API tells it by the status."""


class DuplicateCandidate(View):
    """A subject that may be the same person: a score of 0 to 99, and the names of the matching fields."""

    id: UUID
    score: int
    matched: list[str]


class DuplicateCandidates(View):
    """Subjects that may be the same person, the likeliest first; ``more`` if there may be others."""

    results: list[DuplicateCandidate]
    more: bool
    too_wide: Annotated[
        list[str],
        Field(description="Fields whose value so many share that not all of those people could be compared."),
    ]
    audit: UUID


class LikelyPair(View):
    """How alike two people are who share an address: a score of 0 to 99, and the names of the matching fields."""

    one: UUID
    other: UUID
    score: int
    matched: list[str]


class SharedContactView(View):
    """An e-mail address that led a claim to several people. It proves none of them alone."""

    id: UUID
    since: Moment
    claimed_at: Annotated[Moment, Field(description="When someone claimed the address last.")]
    people: list[UUID]
    pairs: Annotated[
        list[LikelyPair], Field(description="The likeliest first; people with restricted data are not compared.")
    ]


class SharedContactList(View):
    """Addresses that several people share, the last claimed first; ``more`` if there are others."""

    results: list[SharedContactView]
    more: bool
    audit: UUID


class SettledContact(View):
    """A shared contact whose people are different ones."""

    id: UUID
    people: list[UUID]
    audit: UUID
