"""For data protection officers and operators: policies, notices, the Art. 30 record, audit log, health, jobs."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.schemas import TEXT, Body, Instant, Purpose, error_responses, router_of
from vault.audit.entry import Decision
from vault.audit.log import Selection
from vault.governance.processing_record import processing_record
from vault.governance.query import AuditQuery, list_notices, read_audit, read_notice, read_policies
from vault.governance.record_formats import FORMS, MEDIA_TYPES, Form, write_record
from vault.governance.views import AuditPage, CatalogueView, NoticeList, ProcessingRecord, PurposeList
from vault.http.metrics import exposition
from vault.http.problem_codes import EXPLAINED, IN_ERRORS
from vault.ids import EntryId, SubjectId
from vault.jobs.workflow import JobList, JobState
from vault.records.read import explain
from vault.records.views import DecisionExplanation
from vault.views import View
from vault.workflows import OPEN, list_jobs

policies_router = router_of("policies", prefix="/v1")
record_router = router_of("processing", prefix="/v1")
audit_router = router_of("audit", prefix="/v1")
jobs_router = router_of("jobs", prefix="/v1")
operating_router = APIRouter(tags=["operating"])

MARKDOWN: Final = "text/markdown; charset=utf-8"
FOR_EVER: Final = "private, max-age=31536000, immutable"
"""A text addressed by its hash never changes; private, because callers need a key."""
LONGEST_ACCEPT: Final = 1000


class ExplainRequest(Body):
    """A decision to explain."""

    fields: Annotated[list[Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=200)]
    purpose: Purpose
    action: Literal["read", "write", "search"] = "read"
    subject: UUID | None = None
    roles: Annotated[
        list[Annotated[str, Field(max_length=64)]] | None,
        Field(max_length=20, description="Explain for these roles instead of the caller's; needs a permission."),
    ] = None


class AuditFilter(BaseModel):
    """Which audit entries to list."""

    subject: UUID | None = None
    principal: UUID | None = None
    action: Annotated[str | None, Field(max_length=32)] = None
    purpose: Purpose | None = None
    decision: Decision | None = None
    since: Annotated[Instant | None, Field(description="Only entries from this moment on.")] = None
    until: Annotated[Instant | None, Field(description="Only entries from before this moment.")] = None
    before: Annotated[UUID | None, Field(description="Only entries before this one, newest first.")] = None
    after: Annotated[UUID | None, Field(description="Only entries after this one, oldest first.")] = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class Liveness(View):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(View):
    """The process and its databases answer."""

    status: Literal["ready"] = "ready"


@policies_router.post("/decisions:explain", operation_id="explainDecision")
async def explain_decision(body: ExplainRequest, services: ServicesDep, caller: CallerDep) -> DecisionExplanation:
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


@policies_router.get("/catalogue", operation_id="readCatalogue")
async def catalogue(services: ServicesDep, caller: CallerDep) -> CatalogueView:
    """List collections and fields: types, categories, views, searches."""
    return CatalogueView.of(await read_policies(services, caller))


@policies_router.get("/purposes", operation_id="listPurposes")
async def purposes(services: ServicesDep, caller: CallerDep) -> PurposeList:
    """List the purposes: legal basis, owner, recipients, and the fields that each needs."""
    return PurposeList.of(await read_policies(services, caller))


@policies_router.get("/notices", operation_id="listNotices")
async def notices(services: ServicesDep, caller: CallerDep) -> NoticeList:
    """List the notices: versions, languages with their hashes, in force or not, and for what they are good."""
    return await list_notices(services, caller)


@policies_router.get(
    "/notices/{digest}",
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
    return Response(text.body, headers=headers, media_type=MARKDOWN)


def _has(stated: str, tag: str) -> bool:
    """Return whether ``If-None-Match`` names a tag, weakly compared (RFC 9110 §13.1.2)."""
    return any(part.strip().removeprefix("W/") in {tag, "*"} for part in stated.split(","))


@record_router.get(
    "/processing-record",
    operation_id="readProcessingRecord",
    response_model=ProcessingRecord,
    responses={200: {"content": {MEDIA_TYPES["csv"]: TEXT, MEDIA_TYPES["markdown"]: TEXT}}},
)
async def record(
    services: ServicesDep,
    caller: CallerDep,
    since: Annotated[Instant | None, Query(description="Start of the period; 365 days back by default.")] = None,
    form: Annotated[Form | None, Query(alias="format", description="Takes precedence over `Accept`.")] = None,
    accept: Annotated[str, Header(max_length=LONGEST_ACCEPT)] = "",
) -> Response:
    """Build the record of processing activities from the policies in force and the audit log."""
    processing = await processing_record(services, caller, since=since)
    chosen = form or accepted(accept)
    headers = {"Content-Disposition": 'attachment; filename="processing-record.csv"'} if chosen == "csv" else None
    return Response(write_record(processing, chosen), 200, headers, f"{MEDIA_TYPES[chosen]}; charset=utf-8")


def accepted(accept: str) -> Form:
    """Return the form that a client prefers (RFC 9110 §12.5.1); JSON if it has no preference, or accepts none."""
    weights: dict[str, float] = {}
    for media_range in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in media_range.split(";"))
        weights[media_type] = next((_weight(part) for part in parameters if part.startswith("q=")), 1.0)
    # max() returns the first of equals, and FORMS begins with JSON.
    best = max(FORMS, key=lambda form: weights.get(MEDIA_TYPES[form], 0.0))
    any_type = max(weights.get("*/*", 0.0), weights.get("application/*", 0.0))
    return best if weights.get(MEDIA_TYPES[best], 0.0) >= any_type else "json"


def _weight(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0


@audit_router.get("/audit/entries", operation_id="listAuditEntries")
async def entries(query: Annotated[AuditFilter, Query()], services: ServicesDep, caller: CallerDep) -> AuditPage:
    """List audit entries, newest first; `before` takes the `next` of the previous page.

    To follow the log, pass the `id` of the newest entry as `after`, and then that of the last one of each page: entries
    appear in the order of the log, so none is missed. The whole log comes after `00000000-0000-0000-0000-000000000000`.
    """
    audit_query = AuditQuery(
        subject=None if query.subject is None else SubjectId(query.subject),
        others=Selection(
            principal=query.principal,
            action=query.action,
            purpose=query.purpose,
            decision=query.decision,
            since=query.since,
            until=query.until,
        ),
        before=None if query.before is None else EntryId(query.before),
        after=None if query.after is None else EntryId(query.after),
        limit=query.limit,
    )
    return AuditPage.of(await read_audit(services, caller, audit_query))


@operating_router.get("/healthz", operation_id="checkLiveness")
async def alive() -> Liveness:
    """Answer if the process is alive."""
    return Liveness()


@operating_router.get("/readyz", operation_id="checkReadiness", responses=error_responses(503))
async def ready(request: Request) -> Readiness:
    """Answer if all databases answer and policies and erasures are followed; 503 otherwise."""
    await request.app.state.ready()
    return Readiness()


@operating_router.get(
    "/metrics",
    operation_id="readMetrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": TEXT}}},
)
async def metrics(request: Request) -> Response:
    """Return metrics in Prometheus' text format."""
    body = exposition(request.app.state.sizes, shared=os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
    return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")


@operating_router.get(
    "/problems",
    operation_id="listProblems",
    response_class=Response,
    responses={200: {"content": {"text/html": TEXT}}},
)
async def problems() -> Response:
    """Explain every problem code. The `type` of a problem is a link to this page."""
    page = (
        '<!doctype html><html lang="en"><title>Problems</title><h1>Problems</h1>'
        f"{_listed(EXPLAINED)}<h2>In `errors`</h2>{_listed(IN_ERRORS)}</html>"
    )
    return Response(page, media_type="text/html; charset=utf-8")


def _listed(explained: Mapping[str, str]) -> str:
    rows = (f'<dt id="{code}"><code>{code}</code></dt><dd>{html.escape(text)}</dd>' for code, text in explained.items())
    return f"<dl>{''.join(rows)}</dl>"


@jobs_router.get("/jobs", operation_id="listJobs")
async def list_all_jobs(
    services: ServicesDep,
    caller: CallerDep,
    state: Annotated[list[JobState] | None, Query(description="Only these; all but `done` by default.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> JobList:
    """List jobs: the id that each works on, its step, and why it could not continue. They contain no personal data."""
    return await list_jobs(services, caller, states=tuple(state) if state else OPEN, limit=limit)
