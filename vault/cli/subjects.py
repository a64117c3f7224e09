"""``cdv subjects``: two entries of one person, found and made one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated
from uuid import UUID  # noqa: TC003 - typer reads the annotations

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, Yes, examples, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import known_tenant, run

if TYPE_CHECKING:
    from pathlib import Path

    from vault.merging.duplicates import Pair
    from vault.merging.merge import Merged

TIMEOUT = 30.0
"""Seconds for one statement: a 256th of a large index is more work than a request."""

group = make_group(
    "Customers with two entries: find them, and make one of two.",
    "cdv subjects duplicates --limit 100",
    "cdv subjects merge 0199aabb-… 0199ccdd-… --evidence 'ticket 4711'",
)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="subjects")


@group.command(epilog=examples("cdv subjects merge 0199aabb-… 0199ccdd-… --evidence 'ticket 4711: both are hers'"))
def merge(
    survivor: Annotated[UUID, typer.Argument(metavar="SURVIVOR", help="The id that stays.")],
    duplicate: Annotated[UUID, typer.Argument(metavar="DUPLICATE", help="The id that will lead to the other.")],
    evidence: Annotated[
        str, typer.Option(metavar="TEXT", help="Why they are the same person; kept sealed on the audit log.")
    ],
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make one of two entries of a person, for good. The same command again ends a merge that was interrupted."""
    if not yes:
        typer.confirm("Merge the second into the first? There is no way back.", abort=True, err=True)
    merged = run(_merge(vault, tenant, survivor, duplicate, evidence))
    if as_json:
        emit(merged._asdict())
        return
    if not merged.created:
        note("The two were one already; the keys of the second are destroyed.")
        return
    note(f"{merged.records} records came over, {merged.consents} events of consent with them.")
    if merged.same:
        note(f"{merged.same} records both had; one of each stayed.")
    if merged.apart:
        note(f"{merged.apart} records came over without their id in another system, which another record has.")
    if merged.conflicts:
        note(f"Both had a value, and the survivor's stayed: {', '.join(merged.conflicts)}.")


@group.command(epilog=examples("cdv subjects duplicates --limit 100 --json"))
def duplicates(
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="End after so many pairs.")] = 1_000,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """List pairs of customers who might be one: ids, a score, and the fields that match; no values."""
    found = run(_pairs(vault, tenant, limit, quiet=as_json))
    if as_json:
        emit([pair._asdict() for pair in found])
        return
    rows = [(pair.one, pair.other, pair.score, " ".join(pair.matched)) for pair in found]
    show_table(("one", "other", "score", "the same"), rows, empty="nobody looks like somebody else")
    if len(found) == limit:
        note(f"There may be more than {limit:,} pairs; --limit shows more.")


async def _merge(folder: Path, tenant: str, survivor: UUID, duplicate: UUID, evidence: str) -> Merged:
    from vault.access.callers import operator_caller
    from vault.bootstrap import open_vault
    from vault.ids import SubjectId
    from vault.merging.merge import unite

    async with open_vault(folder, database_timeout=TIMEOUT) as opened:
        caller = operator_caller(await known_tenant(opened.services, tenant))
        return await unite(
            opened.services, caller, survivor=SubjectId(survivor), duplicate=SubjectId(duplicate), evidence=evidence
        )


async def _pairs(folder: Path, tenant: str, limit: int, *, quiet: bool) -> list[Pair]:
    from contextlib import aclosing

    from rich.console import Console
    from rich.progress import track

    from vault.access.callers import operator_caller
    from vault.bootstrap import open_vault
    from vault.merging.duplicates import STEPS, find_pairs

    found: list[Pair] = []
    console = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())
    async with open_vault(folder, database_timeout=TIMEOUT) as opened:
        caller = operator_caller(await known_tenant(opened.services, tenant))
        async with aclosing(find_pairs(opened.services, caller)) as steps:
            for _step in track(range(STEPS), "comparing", console=console, transient=True):
                found += await anext(steps)
                if len(found) >= limit:
                    break
    return found[:limit]
