"""Two entries of one person: who might be one, and making them one."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from vault.access.recording import Keep
from vault.api.answers import answer
from vault.api.dependencies import REPLAYED, Told, once
from vault.api.doors import Rooms, SignedIn
from vault.api.responses import refusals
from vault.api.routes.subjects import IdempotencyKey
from vault.api.schemas.common import Body
from vault.ids import SubjectId
from vault.merging.duplicates import find_duplicates
from vault.merging.merge import Merged, finish_merges, merge_subjects

router = APIRouter(prefix="/v1", tags=["customers"])


class MergeAsk(Body):
    """Which two are one, and how that is known."""

    survivor: Annotated[UUID, Field(description="The id that stays.")]
    duplicate: Annotated[UUID, Field(description="The id that will lead to the other.")]
    evidence: Annotated[
        str,
        Field(
            max_length=500,
            description="Why they are the same person; kept sealed on the audit log.",
            examples=["ticket 4711: the customer confirmed both accounts by telephone"],
        ),
    ]


class MergeTold(BaseModel):
    """What became of a merge."""

    id: UUID
    records: int
    same: int
    apart: int
    conflicts: list[str]
    consents: int


class Candidate(BaseModel):
    """Somebody who might be the same person, and which fields say so."""

    id: UUID
    score: int
    matched: list[str]


class Candidates(BaseModel):
    """Who might be the same person, the likeliest first."""

    results: list[Candidate]
    more: bool
    audit: UUID


@router.post(
    "/subjects:merge",
    status_code=201,
    response_model=MergeTold,
    responses={200: {"model": MergeTold}, **refusals(409)},
)
async def merge(
    request: Request, body: MergeAsk, house: Rooms, caller: SignedIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Merge two entries of one person. The same call again ends a merge that was interrupted (200)."""

    async def run(keep: Keep | None) -> Merged:
        return await merge_subjects(
            house,
            caller,
            survivor=SubjectId(body.survivor),
            duplicate=SubjectId(body.duplicate),
            evidence=body.evidence,
            keep=keep,
        )

    told = await once(house, caller, request, idempotency_key, "merge", run, _told)
    if REPLAYED in told.headers:  # what was kept was kept before the keys went
        await finish_merges(house, caller.tenant)
    return told


@router.post("/subjects/{subject}:duplicates", response_model=Candidates)
async def duplicates(subject: UUID, house: Rooms, caller: SignedIn) -> Response:
    """Propose who might be the same person: names of fields that match and a score, and never a value."""
    found = await find_duplicates(house, caller, SubjectId(subject))
    results = [{"id": each.id, "score": each.score, "matched": list(each.matched)} for each in found.candidates]
    return answer({"results": results, "more": found.more, "audit": found.audit})


def _told(merged: Merged) -> Told:
    told = {name: value for name, value in merged._asdict().items() if name != "created"}
    return Told(201 if merged.created else 200, told)
