"""``cdv jobs``: what works in the background, and how to do it in the foreground."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID  # noqa: TC003 - typer reads the annotations

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant
from vault.errors import NotFound

if TYPE_CHECKING:
    from vault.context import House
    from vault.ids import TenantId
    from vault.jobs.state import Job
    from vault.workflows import Ended

HEADINGS = ("job", "id", "run", "state", "step", "attempts", "since", "goes on", "because of")

group = make_group(
    "Jobs that carry out requests and send notices: how they stand, and how to run them here.",
    "cdv jobs list",
    "cdv jobs show 0199aabb-…",
    "cdv jobs run",
)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="jobs")


@group.command("list", epilog=examples("cdv jobs list", "cdv jobs list --all --limit 100 --json"))
def list_(
    every: Annotated[bool, typer.Option("--all", help="Show those that are done as well.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=500, help="Show at most so many.")] = 50,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """List jobs that are not done: names, ids and codes, and nobody's data."""
    found = in_tenant(vault, tenant, lambda house, its: _find(house, its, every=every, limit=limit))
    _show(found, as_json, empty="no job has anything to do")
    if not as_json and any(job.state == "pending" for job in found):
        note("A running server begins what is pending within seconds; without one, `cdv jobs run` does it.")


@group.command(epilog=examples("cdv jobs show 0199aabb-…"))
def show(
    job: Annotated[UUID, typer.Argument(metavar="ID", help="What the job works on: a request or a notice.")],
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show the jobs that work, or have worked, on one request or notice."""
    found = in_tenant(vault, tenant, lambda house, its: _find(house, its, every=True, of=job, limit=500))
    if not found:
        raise NotFound("no job works on that", hint="`cdv jobs list --all` names them")
    _show(found, as_json, empty="")


@group.command(epilog=examples("cdv jobs run", "cdv jobs run --json"))
def run(vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Do here and now what is pending, for a vault without a running server."""
    ended = in_tenant(vault, tenant, lambda house, its: _work_off(house, its, quiet=as_json))
    if as_json:
        emit([_plain(each) for each in ended])
    else:
        for each in ended:
            note(_sentence(each))
        note("nothing was pending" if not ended else f"{len(ended)} jobs")
    if any(each.code is not None for each in ended):
        raise typer.Exit(1)


async def _find(house: House, tenant: TenantId, *, every: bool, limit: int, of: UUID | None = None) -> list[Job]:
    from vault.access.operator import at_the_console
    from vault.workflows import OPEN, STATES, list_jobs

    listed = await list_jobs(house, at_the_console(tenant), states=STATES if every else OPEN, of=of, limit=limit)
    return listed.jobs


async def _work_off(house: House, tenant: TenantId, *, quiet: bool) -> list[Ended]:
    from rich.console import Console

    from vault.workflows import work_off

    console = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())
    with console.status("looking for what is pending") as status:
        return [
            each
            async for each in work_off(
                house, tenant, watch=lambda work, step: status.update(f"{work.workflow} {work.id}: {step}")
            )
        ]


def _show(jobs: list[Job], as_json: bool, *, empty: str) -> None:
    if as_json:
        emit([job._asdict() for job in jobs])
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
