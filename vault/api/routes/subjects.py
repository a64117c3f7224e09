"""Customers: create, bring up to date, correct, find.

The records of a customer: interactions, purchases, complaints and whatever else the catalogue declares.

Two entries of one person: who might be one, and making them one.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field

from vault.access.recording import SaveResponse, Written
from vault.api.dependencies import REPLAYED, CallerDep, ServicesDep, StoredResponse, respond_once, revision_of
from vault.api.responses import error_responses, json_response, moment
from vault.api.schemas import subjects as bodies
from vault.api.schemas.subjects import Body
from vault.errors import Fault, InvalidInput
from vault.http.metrics import count_shown
from vault.ids import RecordId, SubjectId
from vault.merging.duplicates import find_duplicates
from vault.merging.merge import Merged, finish_merges, merge_subjects
from vault.records.append import append_record
from vault.records.create import create_subject, upsert_subject
from vault.records.list import list_records
from vault.records.search import find_subjects
from vault.records.subject_state import subject_state
from vault.records.update import patch_profile

router = APIRouter(prefix="/v1", tags=["customers"])

IdempotencyKey = Annotated[
    str | None, Header(max_length=200, description="Makes the call happen once, however often it is sent.")
]


@router.post("/subjects", status_code=201, response_model=bodies.Written, responses=error_responses(409))
async def create(
    request: Request,
    body: bodies.NewSubject,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a customer."""

    async def run(on_commit: SaveResponse | None) -> Written:
        return await create_subject(
            services,
            caller,
            profile=body.profile,
            external_ids=body.external_ids,
            purpose=body.purpose,
            source=body.source,
            returning=body.returning,
            on_commit=on_commit,
        )

    return await respond_once(services, caller, request, idempotency_key, "create", run)


@router.post(
    "/subjects:upsert",
    response_model=bodies.Written,
    responses={201: {"model": bodies.Written}, **error_responses(409)},
)
async def upsert(
    request: Request,
    body: bodies.NewSubject,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a customer, or bring the one up to date to whom any of the external ids leads."""

    async def run(on_commit: SaveResponse | None) -> Written:
        return await upsert_subject(
            services,
            caller,
            profile=body.profile,
            external_ids=body.external_ids,
            purpose=body.purpose,
            source=body.source,
            returning=body.returning,
            on_commit=on_commit,
        )

    return await respond_once(services, caller, request, idempotency_key, "create", run)


@router.post("/subjects:search", response_model=bodies.SearchResult)
async def search(body: bodies.SearchAsk, services: ServicesDep, caller: CallerDep) -> Response:
    """Find customers by encrypted fields: exact, `{"prefix": "Ad"}` or `{"last_4": "4711"}`, as the catalogue says."""
    found = await find_subjects(
        services, caller, match=body.match, fields=body.fields, purpose=body.purpose, limit=body.limit
    )
    count_shown(len(found.results) * len(body.fields), [each.denied for each in found.results])
    return json_response({"results": found.results, "more": found.more, "audit": found.audit})


@router.get("/subjects/{subject}", response_model=bodies.SubjectState)
async def state(subject: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Tell that a customer is there, and the revision of the profile, without a single value."""
    found = await subject_state(services, caller, SubjectId(subject))
    body = {"id": found.id, "state": found.state, "revision": found.revision}
    return json_response(body, headers={"ETag": f'"{found.revision}"'})


@router.patch(
    "/subjects/{subject}/profile",
    response_model=bodies.Written,
    responses=error_responses(409, 412, 428),
    openapi_extra={"requestBody": {"content": {"application/merge-patch+json": {"schema": {"type": "object"}}}}},
)
async def patch(
    subject: UUID,
    patch: dict[str, Any],
    services: ServicesDep,
    caller: CallerDep,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    source: Annotated[str | None, Query(max_length=64)] = None,
    returning: Annotated[bool, Query(description="The person, erased earlier, has come back by themselves.")] = False,
    if_match: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """Correct a profile by a JSON merge patch (RFC 7396); null erases a field.

    `purpose` and `source` stand in the query or, as in the other bodies, beside the fields.
    """
    changes = {name: value for name, value in patch.items() if name not in {"purpose", "source"}}
    purpose = _stated("purpose", purpose, patch)
    source = _stated("source", source, patch)
    if purpose is None:
        fault = Fault("/purpose", "missing", "This part is missing.")
        raise InvalidInput("A change needs a purpose.", faults=[fault], code="invalid-body")
    revision = await patch_profile(
        services,
        caller,
        SubjectId(subject),
        changes,
        purpose=purpose,
        revision=revision_of(if_match),
        source=source,
        returning=returning,
    )
    return json_response({"id": subject, "revision": revision}, headers={"ETag": f'"{revision}"'})


def _stated(name: str, in_query: str | None, patch: dict[str, Any]) -> str | None:
    stated = patch.get(name, in_query)
    if stated is not None and not isinstance(stated, str):
        fault = Fault(f"/{name}", "invalid-body", "This part does not have the form that the API describes.")
        raise InvalidInput("The body does not have its form.", faults=[fault], code="invalid-body")
    return stated


records_router = APIRouter(prefix="/v1", tags=["records"])


@records_router.post("/subjects/{subject}/records/{collection}:read", response_model=bodies.RecordPage)
async def read(
    subject: UUID, collection: str, body: bodies.RecordsAsk, services: ServicesDep, caller: CallerDep
) -> Response:
    """List a collection's records, newest first; fields are named within it (`amount`) or whole."""
    page = await list_records(
        services,
        caller,
        SubjectId(subject),
        collection,
        fields=body.fields,
        purpose=body.purpose,
        before=_cursor(body.cursor),
        limit=body.limit,
    )
    asked = sum(len(each.fields) + len(each.denied) for each in page.records)
    count_shown(asked, [each.denied for each in page.records])
    results = [
        {
            "id": each.id,
            "revision": each.revision,
            "occurred_at": moment(each.occurred_at),
            "created_at": moment(each.created_at),
            "fields": each.fields,
            "denied": each.denied,
        }
        for each in page.records
    ]
    next_page = None if page.next is None else page.next.hex
    return json_response({"results": results, "denied": page.denied, "next": next_page, "audit": page.audit})


@records_router.post(
    "/subjects/{subject}/records/{collection}",
    status_code=201,
    response_model=bodies.Written,
    responses={200: {"model": bodies.Written}, **error_responses(409)},
)
async def append(
    request: Request,
    subject: UUID,
    collection: str,
    body: bodies.NewRecord,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Append a record; the same external id with the same values is the same record (200)."""

    async def run(on_commit: SaveResponse | None) -> Written:
        return await append_record(
            services,
            caller,
            SubjectId(subject),
            collection,
            fields=body.fields,
            purpose=body.purpose,
            external_id=body.external_id,
            occurred_at=body.occurred_at,
            expires_at=body.expires_at,
            source=body.source,
            on_commit=on_commit,
        )

    return await respond_once(services, caller, request, idempotency_key, "append", run)


def _cursor(cursor: str | None) -> RecordId | None:
    try:
        return None if cursor is None else RecordId(UUID(hex=cursor))
    except ValueError:
        fault = Fault("/cursor", "invalid-cursor", "Take `next` of the page before, unchanged.")
        raise InvalidInput("The cursor is none of ours.", faults=[fault], code="invalid-cursor") from None


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
    responses={200: {"model": MergeTold}, **error_responses(409)},
)
async def merge(
    request: Request, body: MergeAsk, services: ServicesDep, caller: CallerDep, idempotency_key: IdempotencyKey = None
) -> Response:
    """Merge two entries of one person. The same call again ends a merge that was interrupted (200)."""

    async def run(on_commit: SaveResponse | None) -> Merged:
        return await merge_subjects(
            services,
            caller,
            survivor=SubjectId(body.survivor),
            duplicate=SubjectId(body.duplicate),
            evidence=body.evidence,
            on_commit=on_commit,
        )

    told = await respond_once(services, caller, request, idempotency_key, "merge", run, _told)
    if REPLAYED in told.headers:  # what was kept was kept before the keys went
        await finish_merges(services, caller.tenant)
    return told


@router.post("/subjects/{subject}:duplicates", response_model=Candidates)
async def duplicates(subject: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Propose who might be the same person: names of fields that match and a score, and never a value."""
    found = await find_duplicates(services, caller, SubjectId(subject))
    results = [{"id": each.id, "score": each.score, "matched": list(each.matched)} for each in found.candidates]
    return json_response({"results": results, "more": found.more, "audit": found.audit})


def _told(merged: Merged) -> StoredResponse:
    told = {name: value for name, value in merged._asdict().items() if name != "created"}
    return StoredResponse(201 if merged.created else 200, told)
