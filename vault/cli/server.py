"""``cdv init``: make a vault.

``cdv serve``: open the HTTP door.

``cdv db``: the tables of a vault's databases.

``cdv jobs``: what works in the background, and how to do it in the foreground.
"""

from __future__ import annotations

import shlex
import sys
from importlib import import_module
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID  # noqa: TC003 - typer reads the annotations

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant, run
from vault.errors import NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from vault.context import Services
    from vault.ids import TenantId
    from vault.jobs.views import Job
    from vault.workflows import Ended


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("cdv init my-vault"))(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet, or an empty one.")],
    as_json: Json = False,
) -> None:
    """Make a vault in a folder: databases, a root key, settings, and a copy of the shipped policies to edit."""
    from vault.bootstrap import init_vault

    settings = run(init_vault(folder))
    if as_json:
        emit({"vault": str(settings.vault), "policies": str(settings.policies)})
        return
    typer.echo(f"A vault lies in {folder}:")
    if settings.root_key.startswith("file:"):
        typer.echo("  root.key   opens everything else: keep a copy of it apart from the backups of the rest")
    typer.echo("  policies/  who may read what, and what for: yours to edit")
    typer.echo("  cdv.toml   settings")
    typer.echo("\nGo on with")
    where = shlex.quote(str(folder))
    typer.echo(f"  cdv apps add my-app --role fulfilment --vault {where}")
    typer.echo(f"  cdv serve --vault {where}")


def register_serve(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("cdv serve --vault my-vault", "cdv serve --host 0.0.0.0 --port 8300 --workers 4"))(
        serve
    )


def serve(
    vault: VaultFolder = HERE,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="as in cdv.toml")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on.", show_default="as in cdv.toml")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the work.")] = 1,
) -> None:
    """Serve the HTTP API of a vault until Ctrl-C."""
    # By name, for the two doors do not know each other: this one only asks for the other to be opened.
    import_module("vault.server").serve(
        vault,
        host=host,
        port=port,
        workers=workers,
    )


group = make_group("The tables of a vault's databases.", "cdv db status", "cdv db upgrade")


def register_db(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="db")


@group.command(epilog=examples("cdv db upgrade --vault my-vault"))
def upgrade(vault: VaultFolder = HERE, as_json: Json = False) -> None:
    """Bring all databases up to this version of the program. Make a backup first."""
    from vault.bootstrap import read_settings, upgrade_databases

    read_settings(vault)  # says that there is no vault, before files are made for one
    changed = run(upgrade_databases(vault))
    if as_json:
        emit({which: {"before": before, "after": after} for which, (before, after) in changed.items()})
        return
    for which, (before, after) in changed.items():
        note(f"{which}: {after} already" if before == after else f"{which}: {before or 'empty'} -> {after}")


@group.command(epilog=examples("cdv db status --json"))
def status(vault: VaultFolder = HERE, as_json: Json = False) -> None:
    """Tell whether all databases have the tables that this version runs on; exit status 1 if one has not.

    So it is where the vault was restored from a backup and has yet to learn what happened since.
    """
    found = run(_status(vault))
    waits = run(_restored(vault)) if all(current for _, _, current in found) else None
    if as_json:
        told: dict[str, Any] = {which: {"dialect": dialect, "current": current} for which, dialect, current in found}
        emit(told if waits is None else {**told, "restored": {"backed_up_at": waits, "replayed": False}})
    else:
        rows = [(which, dialect, "current" if current else "to be upgraded") for which, dialect, current in found]
        show_table(("database", "kind", "state"), rows, empty="")
    if not all(current for _, _, current in found):
        if not as_json:
            note("hint: run `cdv db upgrade`")
        raise typer.Exit(1)
    if waits is not None:
        if not as_json:
            note(f"restored from a backup of {waits:%Y-%m-%d %H:%M:%SZ} and not yet replayed: closed to readers")
            note("hint: run `cdv restore --continue`")
        raise typer.Exit(1)


async def _status(folder: Path) -> list[tuple[str, str, bool]]:
    from vault.bootstrap import databases_of, read_settings
    from vault.storage.database import Database
    from vault.storage.migrate import is_current

    settings = read_settings(folder)
    found: list[tuple[str, str, bool]] = []
    for which, url in databases_of(settings).items():
        database = Database(url, timeout=settings.database_timeout)
        try:
            found.append((which, database.dialect, await is_current(database, which)))
        finally:
            await database.close()
    return found


async def _restored(folder: Path) -> datetime | None:
    """Return of when the backup is that was brought in and is not replayed yet; none: the vault is open."""
    from vault.backup.gate import waiting
    from vault.bootstrap import read_settings
    from vault.storage.database import Database

    settings = read_settings(folder)
    database = Database(settings.data_url, timeout=settings.database_timeout)
    try:
        restore = await waiting(database)
    finally:
        await database.close()
    return None if restore is None else restore.backed_up_at


HEADINGS = ("job", "id", "run", "state", "step", "attempts", "since", "goes on", "because of")

jobs_group = make_group(
    "Jobs that carry out requests and send notices: how they stand, and how to run them here.",
    "cdv jobs list",
    "cdv jobs show 0199aabb-…",
    "cdv jobs run",
)


def register_jobs(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(jobs_group, name="jobs")


@jobs_group.command("list", epilog=examples("cdv jobs list", "cdv jobs list --all --limit 100 --json"))
def list_(
    every: Annotated[bool, typer.Option("--all", help="Show those that are done as well.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=500, help="Show at most so many.")] = 50,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """List jobs that are not done: names, ids and codes, and nobody's data."""
    found = in_tenant(vault, tenant, lambda services, its: _find(services, its, every=every, limit=limit))
    _show(found, as_json, empty="no job has anything to do")
    if not as_json and any(job.state == "pending" for job in found):
        note("A running server begins what is pending within seconds; without one, `cdv jobs run` does it.")


@jobs_group.command(epilog=examples("cdv jobs show 0199aabb-…"))
def show(
    job: Annotated[UUID, typer.Argument(metavar="ID", help="What the job works on: a request or a notice.")],
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show the jobs that work, or have worked, on one request or notice."""
    found = in_tenant(vault, tenant, lambda services, its: _find(services, its, every=True, of=job, limit=500))
    if not found:
        raise NotFound("no job works on that", hint="`cdv jobs list --all` names them")
    _show(found, as_json, empty="")


@jobs_group.command("run", epilog=examples("cdv jobs run", "cdv jobs run --json"))
def run_jobs(vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Do here and now what is pending, for a vault without a running server."""
    ended = in_tenant(vault, tenant, lambda services, its: _work_off(services, its, quiet=as_json))
    if as_json:
        emit([_plain(each) for each in ended])
    else:
        for each in ended:
            note(_sentence(each))
        note("nothing was pending" if not ended else f"{len(ended)} jobs")
    if any(each.code is not None for each in ended):
        raise typer.Exit(1)


async def _find(services: Services, tenant: TenantId, *, every: bool, limit: int, of: UUID | None = None) -> list[Job]:
    from vault.access.callers import operator_caller
    from vault.workflows import OPEN, STATES, list_jobs

    listed = await list_jobs(services, operator_caller(tenant), states=STATES if every else OPEN, of=of, limit=limit)
    return listed.jobs


async def _work_off(services: Services, tenant: TenantId, *, quiet: bool) -> list[Ended]:
    from rich.console import Console

    from vault.workflows import work_off

    console = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())
    with console.status("looking for what is pending") as status:
        return [
            each
            async for each in work_off(
                services, tenant, watch=lambda work, step: status.update(f"{work.workflow} {work.id}: {step}")
            )
        ]


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
