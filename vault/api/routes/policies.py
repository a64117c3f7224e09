"""The catalogue, the purposes and the notices in force, and explanations of decisions."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Header, Response

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.schemas import subjects as bodies
from vault.governance.query import list_notices, read_notice, read_policies
from vault.governance.views import CatalogueView, NoticeList, PurposeList
from vault.ids import SubjectId
from vault.records.explain import explain
from vault.records.views import DecisionExplanation

router = APIRouter(prefix="/v1", tags=["policies"])


@router.post("/decisions:explain", operation_id="explainDecision")
async def explain_decision(
    body: bodies.ExplainRequest, services: ServicesDep, caller: CallerDep
) -> DecisionExplanation:
    """Explain why fields may be used or not, by step and rule, without using them."""
    return await explain(
        services,
        caller,
        fields=body.fields,
        purpose=body.purpose,
        action=body.action,
        subject=None if body.subject is None else SubjectId(body.subject),
        roles=body.roles,
    )


@router.get("/catalogue", operation_id="readCatalogue")
async def catalogue(services: ServicesDep, caller: CallerDep) -> CatalogueView:
    """List collections and fields: types, categories, views, searches."""
    return CatalogueView.of(await read_policies(services, caller))


@router.get("/purposes", operation_id="listPurposes")
async def purposes(services: ServicesDep, caller: CallerDep) -> PurposeList:
    """List the purposes: legal basis, owner, recipients, and the fields that each needs."""
    return PurposeList.of(await read_policies(services, caller))


notices_router = APIRouter(prefix="/v1/notices", tags=["policies"])

MEDIA_TYPE: Final = "text/markdown; charset=utf-8"
FOR_EVER: Final = "private, max-age=31536000, immutable"
"""A text addressed by its hash never changes; private, because callers need a key."""


@notices_router.get("", operation_id="listNotices")
async def notices(services: ServicesDep, caller: CallerDep) -> NoticeList:
    """List the notices: versions, languages with their hashes, in force or not, and for what they are good."""
    return await list_notices(services, caller)


@notices_router.get(
    "/{digest}",
    operation_id="readNotice",
    response_class=Response,
    responses={
        200: {"description": "The whole file, front matter included", "content": {"text/markdown": {}}},
        304: {"description": "The text that the caller has"},
    },
)
async def notice(
    digest: str, services: ServicesDep, caller: CallerDep, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """Return the text of a notice by its hash, `sha256:…`, even if it is no longer in force."""
    text = await read_notice(services, caller, digest)
    tag = f'"{text.digest}"'
    headers = {"ETag": tag, "Cache-Control": FOR_EVER, "Content-Language": text.language}
    if if_none_match is not None and _has(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(text.body, headers=headers, media_type=MEDIA_TYPE)


def _has(stated: str, tag: str) -> bool:
    """Return whether ``If-None-Match`` names a tag, weakly compared (RFC 9110 §13.1.2)."""
    return any(part.strip().removeprefix("W/") in {tag, "*"} for part in stated.split(","))
