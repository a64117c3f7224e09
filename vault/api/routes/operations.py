"""Liveness, readiness, metrics, the page of problem codes, and the durable jobs: for operators."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.responses import error_responses
from vault.http.metrics import exposition
from vault.http.problem_codes import EXPLAINED, IN_ERRORS
from vault.jobs.views import JobList, JobState
from vault.views import View
from vault.workflows import OPEN, list_jobs

router = APIRouter(tags=["operating"])


class Liveness(View):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(View):
    """The process and its databases answer."""

    status: Literal["ready"] = "ready"


@router.get("/healthz", operation_id="checkLiveness")
async def alive() -> Liveness:
    """Answer if the process is alive."""
    return Liveness()


@router.get("/readyz", operation_id="checkReadiness", responses=error_responses(503))
async def ready(request: Request) -> Readiness:
    """Answer if all databases answer; 503 if one does not."""
    await request.app.state.ready()
    return Readiness()


@router.get("/metrics", operation_id="readMetrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return metrics in Prometheus' text format."""
    body = exposition(request.app.state.sizes, shared=os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
    return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/problems", operation_id="listProblems", response_class=Response)
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


jobs_router = APIRouter(prefix="/v1", tags=["jobs"])


@jobs_router.get("/jobs", operation_id="listJobs")
async def list_all_jobs(
    services: ServicesDep,
    caller: CallerDep,
    state: Annotated[list[JobState] | None, Query(description="Only these; all but `done` by default.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> JobList:
    """List jobs: the id that each works on, its step, and why it could not continue. They contain no personal data."""
    return await list_jobs(services, caller, states=tuple(state) if state else OPEN, limit=limit)
