"""What may be asked for and why: the catalogue, the purposes, and why an answer is what it is.

The texts that people agree to: which there are, and each by its hash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Header, Response

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.responses import json_response
from vault.api.schemas import subjects as bodies
from vault.governance.policies import list_notices, read_notice, read_policies
from vault.ids import SubjectId
from vault.records.explain import explain

if TYPE_CHECKING:
    from vault.catalogue.model import Field, Purpose
    from vault.governance.policies import NoticeVersion


router = APIRouter(prefix="/v1", tags=["policies"])


@router.post("/decisions:explain", response_model=bodies.Explanation)
async def explain_decision(body: bodies.ExplainAsk, services: ServicesDep, caller: CallerDep) -> Response:
    """Say why fields may be used or not, by step and rule, without using them."""
    told = await explain(
        services,
        caller,
        fields=body.fields,
        purpose=body.purpose,
        action=body.action,
        subject=None if body.subject is None else SubjectId(body.subject),
        roles=body.roles,
    )
    fields = {asked: each._asdict() for asked, each in told.fields.items()}
    return json_response({"fields": fields, "policy_version": told.policy_version, "audit": told.audit})


@router.get("/catalogue", response_model=dict[str, Any])
async def catalogue(services: ServicesDep, caller: CallerDep) -> Response:
    """List collections and fields: types, categories, views, searches."""
    active = await read_policies(services, caller)
    collections = {
        each.name: {
            "title": each.title,
            "many": each.many,
            "fields": {field.name: _field(field) for field in each.fields.values()},
        }
        for each in active.policy_set.catalogue.collections.values()
    }
    return json_response({"policy_version": active.version, "collections": collections})


@router.get("/purposes", response_model=dict[str, Any])
async def purposes(services: ServicesDep, caller: CallerDep) -> Response:
    """List the purposes: legal basis, owner, recipients, and the fields that each needs."""
    active = await read_policies(services, caller)
    listed = {each.name: _purpose(each) for each in active.policy_set.purposes.values()}
    return json_response({"policy_version": active.version, "purposes": listed})


def _field(field: Field) -> dict[str, Any]:
    return {
        "title": field.title,
        "type": field.type,
        "category": field.category,
        "dpv": field.dpv,
        "sensitivity": str(field.sensitivity),
        "special": field.special,
        "high_risk": [str(each) for each in field.high_risk],
        "views": ["clear", *sorted(field.views)],
        "search": [index.kind for index in field.indexes],
    }


def _purpose(purpose: Purpose) -> dict[str, Any]:
    return {
        "title": purpose.title,
        "description": purpose.description,
        "legal_basis": str(purpose.legal_basis),
        "article9": None if purpose.article9 is None else str(purpose.article9),
        "owner": purpose.owner,
        "recipients": list(purpose.recipients),
        "needs": list(purpose.needs),
        "valid_from": purpose.valid_from,
        "valid_until": purpose.valid_until,
        "notice": purpose.notice,
        "direct_marketing": purpose.direct_marketing,
        "sale_or_share": purpose.sale_or_share,
        "restriction": None if purpose.restriction is None else str(purpose.restriction),
    }


notices_router = APIRouter(prefix="/v1/notices", tags=["policies"])

MEDIA_TYPE: Final = "text/markdown; charset=utf-8"
FOR_EVER: Final = "private, max-age=31536000, immutable"
"""What has a hash for its address never changes; private, because it is a caller's key that opens it."""


@notices_router.get("", response_model=dict[str, Any])
async def notices(services: ServicesDep, caller: CallerDep) -> Response:
    """List the notices: versions, languages with their hashes, in force or not, and for what they are good."""
    listed = await list_notices(services, caller)
    found = {each.main.id: _version(each) for each in listed.versions}
    return json_response({"policy_version": listed.policy_version, "notices": found})


@notices_router.get(
    "/{digest}",
    response_class=Response,
    responses={
        200: {"description": "The whole file, front matter included", "content": {"text/markdown": {}}},
        304: {"description": "The text that the caller has"},
    },
)
async def notice(
    digest: str, services: ServicesDep, caller: CallerDep, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """Return the very text that has a hash, `sha256:…`, however long ago it was in force."""
    found = await read_notice(services, caller, digest)
    tag = f'"{found.digest}"'
    headers = {"ETag": tag, "Cache-Control": FOR_EVER, "Content-Language": found.language}
    if if_none_match is not None and _has(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(found.body, headers=headers, media_type=MEDIA_TYPE)


def _has(stated: str, tag: str) -> bool:
    """Tell whether ``If-None-Match`` names a tag, weakly compared (RFC 9110 §13.1.2)."""
    return any(each.strip().removeprefix("W/") in {tag, "*"} for each in stated.split(","))


def _version(each: NoticeVersion) -> dict[str, Any]:
    return {
        "title": each.main.title,
        "purposes": list(each.main.purposes),
        "material": each.main.material,
        "valid_from": each.main.valid_from,
        "in_force": each.in_force,
        "current": each.current,
        "good_for": list(each.good_for),
        "language": each.main.language,
        "languages": {
            language: {"title": text.title, "digest": text.digest} for language, text in each.languages.items()
        },
    }
