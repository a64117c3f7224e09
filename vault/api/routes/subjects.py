"""Subjects and their records: create, update, append, list, search, and merge two entries of one person."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Query, Response
from pydantic import BaseModel, Field

from vault.access.cursor import LONGEST
from vault.access.recording import WriteResult
from vault.api.dependencies import REPLAYED, CallerDep, ServicesDep, WriteDep, cursor_of, json_response, revision_of
from vault.api.schemas import Body, Instant, Purpose, error_responses, router_of
from vault.errors import Fault, InvalidInput
from vault.http.metrics import count_shown
from vault.ids import RecordId, SubjectId
from vault.merging import merge as merging
from vault.merging import shared as sharing
from vault.merging.duplicates import find_duplicates
from vault.merging.views import DuplicateCandidates, MergeResult, SettledContact, SharedContactList
from vault.records.list import list_records
from vault.records.read import subject_state
from vault.records.search import find_subjects
from vault.records.views import RecordPage, SearchResult, SubjectState
from vault.records.write import ProfileInput, RecordInput, append_record, create_subject, patch_profile, upsert_subject
from vault.subjects.store import PageQuery

router = router_of("customers", prefix="/v1")
records_router = router_of("records", prefix="/v1")

FieldNames = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=200)]
Source = Annotated[
    str | None, Field(max_length=64, description="Where the values come from, such as a form.", examples=["web-order"])
]
Returning = Annotated[
    bool, Field(description="Whether a person who was erased earlier has come back by their own choice.")
]


class NewSubject(Body):
    """A customer to create or, by external id, to update."""

    profile: Annotated[dict[str, object], Field(examples=[{"name": "Ada Lovelace", "email": "ada@example.org"}])]
    external_ids: dict[str, object] = Field({}, max_length=20, examples=[{"shop": "4711"}])
    source: Source = None
    purpose: Purpose
    returning: Returning = False

    def as_input(self) -> ProfileInput:
        """Return the profile as the operations take it."""
        return ProfileInput(self.profile, self.purpose, self.source, self.external_ids, self.returning)


class SearchRequest(Body):
    """Criteria of a search, and the fields to show of each match."""

    match: Annotated[dict[str, Any], Field(min_length=1, max_length=5, examples=[{"email": "ada@example.org"}])]
    fields: FieldNames = Field([])
    purpose: Purpose
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str | None, Field(max_length=LONGEST, description="`next` of the page before.")] = None


class ProfileChange(BaseModel):
    """The query parameters of a change."""

    purpose: Annotated[str | None, Field(max_length=64)] = None
    source: Annotated[str | None, Field(max_length=64)] = None
    returning: Returning = False


class ListRequest(Body):
    """Fields of a collection's records to show."""

    fields: FieldNames
    purpose: Purpose
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str | None, Field(max_length=64, description="`next` of the page before.")] = None


class NewRecord(Body):
    """A record to append."""

    fields: Annotated[dict[str, object], Field(examples=[{"amount": "12.90", "currency": "EUR"}])]
    external_id: Annotated[str | None, Field(max_length=200)] = None
    occurred_at: Instant | None = None
    expires_at: Instant | None = None
    source: Source = None
    purpose: Purpose


class MergeRequest(Body):
    """Two entries of one person, and how that is known."""

    survivor: Annotated[UUID, Field(description="The id that stays.")]
    duplicate: Annotated[UUID, Field(description="The id that will lead to the other.")]
    evidence: Annotated[
        str,
        Field(
            max_length=500,
            description="Why they are the same person; stored sealed in the audit log.",
            examples=["ticket 4711: the customer confirmed both accounts by telephone"],
        ),
    ]


@router.post(
    "/subjects",
    status_code=201,
    operation_id="createSubject",
    response_model=WriteResult,
    responses=error_responses(409),
)
async def create(body: NewSubject, write: WriteDep) -> Response:
    """Create a customer."""
    return await write.once(create_subject, body.as_input())


@router.post(
    "/subjects:upsert",
    operation_id="upsertSubject",
    response_model=WriteResult,
    responses={201: {"model": WriteResult}, **error_responses(409)},
)
async def upsert(body: NewSubject, write: WriteDep) -> Response:
    """Create a customer (201), or update the one with any of the external ids (200)."""
    return await write.once(upsert_subject, body.as_input())


@router.post("/subjects:search", operation_id="searchSubjects", response_model=SearchResult)
async def search(body: SearchRequest, services: ServicesDep, caller: CallerDep) -> Response:
    """Find customers by encrypted fields: exact, `{"prefix": "Ad"}` or `{"last_4": "4711"}`, as the catalogue says."""
    answer = await find_subjects(services, caller, **dict(body))
    count_shown(len(answer.results) * len(body.fields), [result.denied for result in answer.results])
    return json_response(answer)


@router.get("/subjects/{subject}", operation_id="getSubject", response_model=SubjectState)
async def state(subject: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Show a customer's state and the revision of the profile, without a value."""
    return json_response(await subject_state(services, caller, SubjectId(subject)))


@router.patch(
    "/subjects/{subject}/profile",
    operation_id="updateProfile",
    response_model=WriteResult,
    responses=error_responses(409, 412, 428),
    openapi_extra={"requestBody": {"content": {"application/merge-patch+json": {"schema": {"type": "object"}}}}},
)
async def patch(
    subject: UUID,
    patch: dict[str, object],
    query: Annotated[ProfileChange, Query()],
    services: ServicesDep,
    caller: CallerDep,
    if_match: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """Change a profile by a JSON merge patch (RFC 7396); null removes a field.

    `purpose` and `source` are query parameters or, as in the other bodies, keys next to the fields.
    """
    changes = {name: value for name, value in patch.items() if name not in {"purpose", "source"}}
    purpose = _text(patch, "purpose", query.purpose)
    if purpose is None:
        fault = Fault("/purpose", "missing", "This part is missing.")
        raise InvalidInput("A change needs a purpose.", faults=[fault], code="invalid-body")
    profile = ProfileInput(changes, purpose, _text(patch, "source", query.source), returning=query.returning)
    revision = await patch_profile(services, caller, SubjectId(subject), profile, revision=revision_of(if_match))
    return json_response(WriteResult(id=subject, revision=revision, created=False))


def _text(patch: dict[str, object], key: str, default: str | None) -> str | None:
    text = patch.get(key, default)
    if text is None or isinstance(text, str):
        return text
    fault = Fault(f"/{key}", "invalid-body", "This part does not have the form that the API describes.")
    raise InvalidInput("The body is invalid.", faults=[fault], code="invalid-body")


@records_router.post(
    "/subjects/{subject}/records/{collection}:read", operation_id="listRecords", response_model=RecordPage
)
async def read(subject: UUID, collection: str, body: ListRequest, services: ServicesDep, caller: CallerDep) -> Response:
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
async def append(subject: UUID, collection: str, body: NewRecord, write: WriteDep) -> Response:
    """Append a record; the same external id with the same values is the same record (200)."""
    return await write.once(append_record, SubjectId(subject), RecordInput(collection, **dict(body)))


@router.post(
    "/subjects:merge",
    status_code=201,
    operation_id="mergeSubjects",
    response_model=MergeResult,
    responses={200: {"model": MergeResult}, **error_responses(409)},
)
async def merge(body: MergeRequest, write: WriteDep) -> Response:
    """Merge two entries of one person. The same call again completes a merge that was interrupted (200)."""
    request = merging.MergeRequest(SubjectId(body.survivor), SubjectId(body.duplicate), body.evidence)
    response = await write.once(merging.merge_subjects, request)
    if REPLAYED in response.headers:  # the stored response was saved before the duplicate's keys were destroyed
        await merging.finish_merges(write.services, write.caller.tenant)
    return response


@router.post("/subjects/{subject}:duplicates", operation_id="findDuplicates")
async def duplicates(subject: UUID, services: ServicesDep, caller: CallerDep) -> DuplicateCandidates:
    """Propose subjects that may be the same person, with a score and the names of the matching fields, and no value."""
    return await find_duplicates(services, caller, SubjectId(subject))


@router.get("/shared-contacts", operation_id="listSharedContacts")
async def shared_contacts(services: ServicesDep, caller: CallerDep) -> SharedContactList:
    """List the e-mail addresses by which a claim led to several people, and how alike they are; no value."""
    return await sharing.list_shared(services, caller)


@router.post(
    "/shared-contacts/{contact}:settle",
    operation_id="settleSharedContact",
    response_model=SettledContact,
    responses=error_responses(409),
)
async def settle_contact(contact: UUID, write: WriteDep) -> Response:
    """Record that the people who share an address are different ones. One more person reopens it."""
    return await write.once(sharing.settle, contact)
