"""``cdv jobs``: background jobs: list them, and run those that are pending in the foreground."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from vault.cli.command import command, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import Session
from vault.errors import NotFound
from vault.workflows import OPEN, STATES, list_jobs, work_off

if TYPE_CHECKING:
    from vault.jobs.views import Job
    from vault.workflows import Ended

HEADINGS = ("job", "id", "run", "state", "step", "attempts", "since", "goes on", "because of")

group = make_group(
    "cdv jobs list",
    "cdv jobs show 0199aabb-…",
    "cdv jobs run",
)


@command(group, "cdv jobs list", "cdv jobs list --all --limit 100 --json", name="list")
async def list_(
    session: Session,
    every: Annotated[bool, typer.Option("--all", help="Include finished jobs.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=500, help="Maximum number of jobs.")] = 50,
) -> None:
    """List unfinished jobs."""
    found = await _find(session, every=every, limit=limit)
    _show(found, session.as_json, empty="no unfinished jobs")
    if not session.as_json and any(job.state == "pending" for job in found):
        note("A running server starts pending jobs within seconds; without one, run `cdv jobs run`.")


@command(group, "cdv jobs show 0199aabb-…")
async def show(
    session: Session,
    job: Annotated[UUID, typer.Argument(metavar="ID", help="Id of the request or notice.")],
) -> None:
    """Show all jobs for one request or notice."""
    found = await _find(session, every=True, of=job, limit=500)
    if not found:
        raise NotFound("no job found for this id", hint="`cdv jobs list --all` names them")
    _show(found, session.as_json, empty="")


@command(group, "cdv jobs run", "cdv jobs run --json", name="run")
async def run_jobs(session: Session) -> None:
    """Run pending jobs now, for a vault without a running server."""
    console = Console(stderr=True, quiet=session.as_json or not sys.stderr.isatty())
    with console.status("looking for pending jobs") as status:
        ended = [
            job
            async for job in work_off(
                session.services,
                session.tenant,
                watch=lambda work, step: status.update(f"{work.workflow} {work.id}: {step}"),
            )
        ]
    if session.as_json:
        emit([_plain(each) for each in ended])
    else:
        for each in ended:
            note(_sentence(each))
        note("no pending jobs" if not ended else f"{len(ended)} jobs")
    if any(each.code is not None for each in ended):
        raise typer.Exit(1)


async def _find(session: Session, *, every: bool, limit: int, of: UUID | None = None) -> list[Job]:
    states = STATES if every else OPEN
    return (await list_jobs(session.services, session.caller, states=states, of=of, limit=limit)).jobs


def _show(jobs: list[Job], as_json: bool, *, empty: str) -> None:
    if as_json:
        emit([job.as_json() for job in jobs])
        return
    rows = [
        (job.workflow, job.id, job.run, job.state, job.step, job.attempts, job.since, job.next_at, job.code)
        for job in jobs
    ]
    show_table(HEADINGS, rows, empty=empty)


def _sentence(ended: Ended) -> str:
    what = f"{ended.work.workflow} {ended.work.id}"
    if ended.code is not None:
        return f"{what} failed: {ended.code}"
    if ended.seconds is not None:
        return f"{what} goes on in {ended.seconds:,.0f} seconds at the earliest"
    return f"{what} is done"


def _plain(ended: Ended) -> dict[str, Any]:
    return {**ended.work._asdict(), "goes_on_in": ended.seconds, "code": ended.code}
