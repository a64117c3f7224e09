"""Customers: create, bring up to date, correct, find."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response

from vault.access.recording import Keep, Written
from vault.api.answers import answer
from vault.api.dependencies import once
from vault.api.doors import Rooms, SignedIn, revision_of
from vault.api.responses import refusals
from vault.api.schemas import common as bodies
from vault.errors import Fault, InvalidInput
from vault.http.metrics import count_shown
from vault.ids import SubjectId
from vault.records.create import create_subject, upsert_subject
from vault.records.search import find_subjects
from vault.records.subject_state import subject_state
from vault.records.update import patch_profile

router = APIRouter(prefix="/v1", tags=["customers"])

IdempotencyKey = Annotated[
    str | None, Header(max_length=200, description="Makes the call happen once, however often it is sent.")
]


@router.post("/subjects", status_code=201, response_model=bodies.Written, responses=refusals(409))
async def create(
    request: Request, body: bodies.NewSubject, house: Rooms, caller: SignedIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create a customer."""

    async def run(keep: Keep | None) -> Written:
        return await create_subject(
            house,
            caller,
            profile=body.profile,
            external_ids=body.external_ids,
            purpose=body.purpose,
            source=body.source,
            returning=body.returning,
            keep=keep,
        )

    return await once(house, caller, request, idempotency_key, "create", run)


@router.post(
    "/subjects:upsert", response_model=bodies.Written, responses={201: {"model": bodies.Written}, **refusals(409)}
)
async def upsert(
    request: Request, body: bodies.NewSubject, house: Rooms, caller: SignedIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create a customer, or bring the one up to date to whom any of the external ids leads."""

    async def run(keep: Keep | None) -> Written:
        return await upsert_subject(
            house,
            caller,
            profile=body.profile,
            external_ids=body.external_ids,
            purpose=body.purpose,
            source=body.source,
            returning=body.returning,
            keep=keep,
        )

    return await once(house, caller, request, idempotency_key, "create", run)


@router.post("/subjects:search", response_model=bodies.SearchResult)
async def search(body: bodies.SearchAsk, house: Rooms, caller: SignedIn) -> Response:
    """Find customers by encrypted fields: exact, `{"prefix": "Ad"}` or `{"last_4": "4711"}`, as the catalogue says."""
    found = await find_subjects(
        house, caller, match=body.match, fields=body.fields, purpose=body.purpose, limit=body.limit
    )
    count_shown(len(found.results) * len(body.fields), [each.denied for each in found.results])
    return answer({"results": found.results, "more": found.more, "audit": found.audit})


@router.get("/subjects/{subject}", response_model=bodies.SubjectState)
async def state(subject: UUID, house: Rooms, caller: SignedIn) -> Response:
    """Tell that a customer is there, and the revision of the profile, without a single value."""
    found = await subject_state(house, caller, SubjectId(subject))
    body = {"id": found.id, "state": found.state, "revision": found.revision}
    return answer(body, headers={"ETag": f'"{found.revision}"'})


@router.patch(
    "/subjects/{subject}/profile",
    response_model=bodies.Written,
    responses=refusals(409, 412, 428),
    openapi_extra={"requestBody": {"content": {"application/merge-patch+json": {"schema": {"type": "object"}}}}},
)
async def patch(
    subject: UUID,
    patch: dict[str, Any],
    house: Rooms,
    caller: SignedIn,
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
        house,
        caller,
        SubjectId(subject),
        changes,
        purpose=purpose,
        revision=revision_of(if_match),
        source=source,
        returning=returning,
    )
    return answer({"id": subject, "revision": revision}, headers={"ETag": f'"{revision}"'})


def _stated(name: str, in_query: str | None, patch: dict[str, Any]) -> str | None:
    stated = patch.get(name, in_query)
    if stated is not None and not isinstance(stated, str):
        fault = Fault(f"/{name}", "invalid-body", "This part does not have the form that the API describes.")
        raise InvalidInput("The body does not have its form.", faults=[fault], code="invalid-body")
    return stated
