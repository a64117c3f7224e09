"""``cdv consent verify``: is what lies on people's rows what the ledger says?"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder
from vault.cli.output import emit, note
from vault.cli.session import in_tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vault.context import House
    from vault.ids import SubjectId, TenantId


class _Found(NamedTuple):
    people: int
    wrong: list[SubjectId]
    repaired: int


def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Write on the rows that differ what the ledger says.")
    ] = False,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Sum up everybody's events anew and compare; exit status 1 where a row says something else."""
    found = in_tenant(vault, tenant, lambda house, its: _verify(house, its, repair=repair, quiet=as_json))
    if as_json:
        emit({"people": found.people, "differences": found.wrong, "repaired": found.repaired})
    else:
        for subject in found.wrong:
            typer.echo(f"{subject}: the row says something else than the ledger")
        note(f"{found.people:,} people, {len(found.wrong):,} of them wrong, {found.repaired:,} repaired")
    if len(found.wrong) > found.repaired:
        raise typer.Exit(1)


async def _verify(house: House, tenant: TenantId, *, repair: bool, quiet: bool) -> _Found:
    from vault.consent.append import compare
    from vault.consent.repair import repair_standing

    people, wrong, repaired = 0, [], 0
    with bar("comparing", quiet=quiet) as advance:
        async for step in compare(house, tenant):
            people += step.people
            wrong += [each.subject for each in step.differences]
            advance(step.people)
    if repair and wrong:
        if not quiet:
            note(f"{len(wrong):,} rows differ; they are written anew, as the ledger says.")
        for subject in wrong:
            await repair_standing(house, tenant, subject)
            repaired += 1
    return _Found(people, wrong, repaired)


@contextmanager
def bar(what: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Draw how many people were gone through, where a terminal looks on."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn(what), MofNCompleteColumn(), TimeElapsedColumn())
    off = quiet or not console.is_terminal
    with Progress(*columns, console=console, disable=off, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda people: progress.advance(task, people)
