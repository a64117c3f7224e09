"""Routes of subjects and their records: create, update, append, list, search, and merge two entries of one person."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response

from vault.access.recording import SaveResponse, WriteResult
from vault.api.dependencies import (
    REPLAYED,
    CallerDep,
    ServicesDep,
    StoredResponse,
    cursor_of,
    respond_once,
    revision_of,
)
from vault.api.responses import error_responses, json_response
from vault.api.schemas import subjects as bodies
from vault.errors import Fault, InvalidInput
from vault.http.metrics import count_shown
from vault.ids import RecordId, SubjectId
from vault.merging.duplicates import find_duplicates
from vault.merging.merge import MergeRequest, finish_merges, merge_subjects
from vault.merging.views import DuplicateCandidates, MergeResult
from vault.records.append import RecordInput, append_record
from vault.records.create import create_subject, upsert_subject
from vault.records.list import list_records
from vault.records.read import subject_state
from vault.records.search import find_subjects
from vault.records.update import ProfileInput, patch_profile
from vault.records.views import RecordPage, SearchResult, SubjectState
from vault.subjects.store import PageQuery

router = APIRouter(prefix="/v1", tags=["customers"])

IdempotencyKey = Annotated[
    str | None, Header(max_length=200, description="Makes the call happen once, however often it is sent.")
]


@router.post(
    "/subjects",
    status_code=201,
    operation_id="createSubject",
    response_model=WriteResult,
    responses=error_responses(409),
)
async def create(
    request: Request,
    body: bodies.NewSubject,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a customer."""
    run = partial(create_subject, services, caller, _profile_input(body))
    return await respond_once(services, caller, request, idempotency_key, "create", run)


@router.post(
    "/subjects:upsert",
    operation_id="upsertSubject",
    response_model=WriteResult,
    responses={201: {"model": WriteResult}, **error_responses(409)},
)
async def upsert(
    request: Request,
    body: bodies.NewSubject,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a customer (201), or update the one with any of the external ids (200)."""
    run = partial(upsert_subject, services, caller, _profile_input(body))
    return await respond_once(services, caller, request, idempotency_key, "create", run)


def _profile_input(body: bodies.NewSubject) -> ProfileInput:
    return ProfileInput(body.profile, body.purpose, body.source, body.external_ids, body.returning)


@router.post("/subjects:search", operation_id="searchSubjects", response_model=SearchResult)
async def search(body: bodies.SearchRequest, services: ServicesDep, caller: CallerDep) -> Response:
    """Find customers by encrypted fields: exact, `{"prefix": "Ad"}` or `{"last_4": "4711"}`, as the catalogue says."""
    answer = await find_subjects(
        services, caller, match=body.match, fields=body.fields, purpose=body.purpose, limit=body.limit
    )
    count_shown(len(answer.results) * len(body.fields), [result.denied for result in answer.results])
    return json_response(answer)


@router.get("/subjects/{subject}", operation_id="getSubject")
async def state(subject: UUID, response: Response, services: ServicesDep, caller: CallerDep) -> SubjectState:
    """Show a customer's state and the revision of the profile, without a value."""
    view = await subject_state(services, caller, SubjectId(subject))
    response.headers["ETag"] = f'"{view.revision}"'
    return view


@router.patch(
    "/subjects/{subject}/profile",
    operation_id="updateProfile",
    responses=error_responses(409, 412, 428),
    openapi_extra={"requestBody": {"content": {"application/merge-patch+json": {"schema": {"type": "object"}}}}},
)
async def patch(
    subject: UUID,
    patch: dict[str, Any],
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    source: Annotated[str | None, Query(max_length=64)] = None,
    returning: Annotated[
        bool, Query(description="Whether a person who was erased earlier has come back by their own choice.")
    ] = False,
    if_match: Annotated[str | None, Header(max_length=100)] = None,
) -> WriteResult:
    """Change a profile by a JSON merge patch (RFC 7396); null removes a field.

    `purpose` and `source` are query parameters or, as in the other bodies, keys next to the fields.
    """
    changes = {name: value for name, value in patch.items() if name not in {"purpose", "source"}}
    purpose = _stated("purpose", purpose, patch)
    source = _stated("source", source, patch)
    if purpose is None:
        fault = Fault("/purpose", "missing", "This part is missing.")
        raise InvalidInput("A change needs a purpose.", faults=[fault], code="invalid-body")
    profile = ProfileInput(changes, purpose, source, returning=returning)
    revision = await patch_profile(services, caller, SubjectId(subject), profile, revision=revision_of(if_match))
    response.headers["ETag"] = f'"{revision}"'
    return WriteResult(id=subject, revision=revision, created=False)


def _stated(name: str, in_query: str | None, patch: dict[str, Any]) -> str | None:
    stated = patch.get(name, in_query)
    if stated is not None and not isinstance(stated, str):
        fault = Fault(f"/{name}", "invalid-body", "This part does not have the form that the API describes.")
        raise InvalidInput("The body is invalid.", faults=[fault], code="invalid-body")
    return stated


records_router = APIRouter(prefix="/v1", tags=["records"])


@records_router.post(
    "/subjects/{subject}/records/{collection}:read", operation_id="listRecords", response_model=RecordPage
)
async def read(
    subject: UUID, collection: str, body: bodies.ListRequest, services: ServicesDep, caller: CallerDep
) -> Response:
    """List a collection's records, newest first; fields are named within it (`amount`) or whole."""
    before = cursor_of(body.cursor)
    query = PageQuery(SubjectId(subject), collection, None if before is None else RecordId(before), body.limit)
    page = await list_records(services, caller, query, fields=body.fields, purpose=body.purpose)
    requested = sum(len(record.fields) + len(record.denied) for record in page.records)
    count_shown(requested, [record.denied for record in page.records])
    next_page = None if page.next is None else page.next.hex
    return json_response({"results": page.records, "denied": page.denied, "next": next_page, "audit": page.audit})


@records_router.post(
    "/subjects/{subject}/records/{collection}",
    status_code=201,
    operation_id="appendRecord",
    response_model=WriteResult,
    responses={200: {"model": WriteResult}, **error_responses(409)},
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
    new = RecordInput(
        collection, body.fields, body.purpose, body.external_id, body.occurred_at, body.expires_at, body.source
    )
    run = partial(append_record, services, caller, SubjectId(subject), new)
    return await respond_once(services, caller, request, idempotency_key, "append", run)


@router.post(
    "/subjects:merge",
    status_code=201,
    operation_id="mergeSubjects",
    response_model=MergeResult,
    responses={200: {"model": MergeResult}, **error_responses(409)},
)
async def merge(
    request: Request,
    body: bodies.MergeRequest,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Merge two entries of one person. The same call again completes a merge that was interrupted (200)."""
    merge_request = MergeRequest(SubjectId(body.survivor), SubjectId(body.duplicate), body.evidence)

    async def run(on_commit: SaveResponse | None) -> MergeResult:
        return await merge_subjects(services, caller, merge_request, on_commit)

    response = await respond_once(services, caller, request, idempotency_key, "merge", run, _merge_response)
    if REPLAYED in response.headers:  # the stored response was saved before the duplicate's keys were destroyed
        await finish_merges(services, caller.tenant)
    return response


def _merge_response(merged: MergeResult) -> StoredResponse:
    return StoredResponse(201 if merged.created else 200, merged)


@router.post("/subjects/{subject}:duplicates", operation_id="findDuplicates")
async def duplicates(subject: UUID, services: ServicesDep, caller: CallerDep) -> DuplicateCandidates:
    """Propose subjects that may be the same person, with a score and the names of the matching fields, and no value."""
    return await find_duplicates(services, caller, SubjectId(subject))
