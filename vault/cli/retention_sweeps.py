"""``cdv retention sweep``, ``sweeps`` and ``due``: take away what has ended, see what was, see what will be."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vault.cli.errors import FAILED
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vault.context import House
    from vault.ids import TenantId
    from vault.sweep.query import Due
    from vault.sweep.store import SweepRun
    from vault.sweep.sweeps import DryRun

WIDTH = 40
"""Of the longest bar."""
WEEK = 7

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only count what would be taken away; change nothing.")]
Confirm = Annotated[
    bool, typer.Option("--confirm", help="Take it also where that is from more people than `most_percent` allows.")
]
Days = Annotated[int, typer.Option("--days", metavar="N", min=0, max=366, help="How many days to look ahead.")]
FieldName = Annotated[str | None, typer.Option("--field", metavar="NAME", help="Only this field.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=200, help="At most so many.")]


def register(group: typer.Typer) -> None:
    """Add the commands to ``cdv retention``."""
    group.command(epilog=examples("cdv retention sweep --dry-run", "cdv retention sweep"))(sweep)
    group.command(epilog=examples("cdv retention sweeps"))(sweeps)
    group.command(epilog=examples("cdv retention due", "cdv retention due --days 30 --field email"))(due)


def sweep(
    dry_run: DryRunOption = False,
    confirm: Confirm = False,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Take away what nothing keeps any more, now and in the foreground; it may be broken off and begun again."""
    if dry_run:
        _show_dry_run(in_tenant(vault, tenant, lambda house, its: _dry_run(house, its, quiet=as_json)), as_json=as_json)
        return
    run = in_tenant(vault, tenant, lambda house, its: _sweep(house, its, confirm=confirm, quiet=as_json))
    if run is None:
        note("another process is sweeping at this moment; `cdv retention sweeps` shows how far it is")
        raise typer.Exit(FAILED)
    if as_json:
        emit(_told(run))
        if run.finished_at is None:
            raise typer.Exit(FAILED)
        return
    if run.check is not None and run.is_held_up:
        note(f"it would take something from {run.check.people:,} of {run.check.of:,} people, and waits")
        note("look with `cdv retention sweep --dry-run`; if that is meant: `cdv retention sweep --confirm`")
        raise typer.Exit(FAILED)
    counts = run.counts
    note(f"{counts.people:,} people, {counts.records:,} records looked at")
    done = {
        "values erased": counts.erased,
        "values generalised": counts.generalised,
        "values only stored from now on": counts.restricted,
        "values for review": counts.reviews,
        "people of whom nothing is left": counts.whole,
        "people left alone until tomorrow, with an open request": counts.waiting,
        "people of whom something does not open": counts.unreadable,
    }
    for what, count in done.items():
        if count:
            note(f"{count:,} {what}")


def sweeps(limit: Limit = 20, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """List the last sweeps: how far each has come, and what it did."""

    async def work(house: House, its: TenantId) -> Sequence[SweepRun]:
        from vault.access.operator import at_the_console
        from vault.sweep.sweeps import list_sweeps

        return (await list_sweeps(house, at_the_console(its), limit=limit)).sweeps

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit([_told(each) for each in found])
        return
    heads = ("began", "over", "state", "people", "erased", "generalised", "to review", "restricted", "people gone")
    rows = [
        (run.started_at, "everybody" if run.kind == "all" else "those due", run.state, _progress(run), *_done(run))
        for run in found
    ]
    show_table(heads, rows, empty="nothing was ever swept")


def due(
    days: Days = 90,
    field: FieldName = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Preview what ends in the next days, by day and field; nothing is opened or changed."""
    parts = in_tenant(vault, tenant, lambda house, its: _due(house, its, days, field, quiet=as_json))
    ends, waiting = _summed(parts)
    if as_json:
        told = [{"on": on, "field": name, "then": then, "values": count} for (on, name, then), count in ends]
        over = [{"field": name, "state": state, "then": then, "values": n} for (name, state, then), n in waiting]
        first = parts[0]
        emit({"today": first.today, "until": first.until, "ends": told, "waiting": over})
        return
    rows = [(on, name, _then(then), count) for (on, name, then), count in ends]
    show_table(("goes on", "field", "then", "values"), rows, empty=f"nothing ends in the next {days} days")
    for line in _calendar(parts[0].today, [(key[0], count) for key, count in ends]):
        typer.echo(line)
    if waiting:
        typer.echo("")
        over_rows = [(name, state, _then(then), count) for (name, state, then), count in waiting]
        show_table(("over already", "waits for", "then", "values"), over_rows, empty="")


async def _sweep(house: House, tenant: TenantId, *, confirm: bool, quiet: bool) -> SweepRun | None:
    from vault.sweep.sweeps import sweep as run

    with _bar(quiet=quiet) as show:
        return await run(house, tenant, confirm=confirm, watch=lambda at: show(at.counts.people, at.counts.of))


async def _dry_run(house: House, tenant: TenantId, *, quiet: bool) -> DryRun:
    from vault.access.operator import at_the_console
    from vault.sweep.sweeps import dry_run

    with _bar(quiet=quiet) as show:
        return await dry_run(house, at_the_console(tenant), watch=lambda people: show(people, None))


async def _due(house: House, tenant: TenantId, days: int, field: str | None, *, quiet: bool) -> list[Due]:
    from vault.access.operator import at_the_console
    from vault.sweep.query import due as look

    parts: list[Due] = []
    with _bar(quiet=quiet) as show:
        while not parts or parts[-1].next is not None:
            after = parts[-1].next if parts else None
            parts.append(await look(house, at_the_console(tenant), days=days, field=field, after=after))
            show(sum(each.people for each in parts), None)
    return parts


def _summed(parts: list[Due]) -> tuple[list[tuple[tuple[date, str, str], int]], list[tuple[tuple[str, str, str], int]]]:
    from collections import Counter

    ends: Counter[tuple[date, str, str]] = Counter()
    waiting: Counter[tuple[str, str, str]] = Counter()
    for part in parts:
        ends.update({(each.on, each.field, each.then): each.values for each in part.ends})
        waiting.update({(each.field, each.state, each.then): each.values for each in part.waiting})
    return sorted(ends.items()), sorted(waiting.items())


def _calendar(today: date, ends: list[tuple[date, int]]) -> list[str]:
    """Draw a bar for each week in which something ends."""
    weeks: dict[date, int] = {}
    for on, count in ends:
        monday = on - timedelta(days=on.weekday())
        weeks[monday] = weeks.get(monday, 0) + count
    if not weeks:
        return []
    most = max(weeks.values())
    lines = ["", "by week"]
    at = min(*weeks, today - timedelta(days=today.weekday()))
    while at <= max(weeks):
        count = weeks.get(at, 0)
        bar = "#" * max(1, round(WIDTH * count / most)) if count else ""
        lines.append(f"{at}  {bar} {count:,}".rstrip() if count else f"{at}  .")
        at += timedelta(days=WEEK)
    return lines


def _show_dry_run(found: DryRun, *, as_json: bool) -> None:
    if as_json:
        emit({"people": found.people, "would": [each._asdict() for each in found.waiting]})
        return
    rows = [(each.field, each.state, _then(each.then), each.values) for each in found.waiting]
    show_table(("field", "waits for", "then", "values"), rows, empty="nothing would be taken away")
    note(f"{found.people:,} people looked at; nothing was changed")


def _then(then: str) -> str:
    return then if "." not in then else f"keep {then} only"


def _done(run: SweepRun) -> tuple[int, ...]:
    counts = run.counts
    return counts.erased, counts.generalised, counts.reviews, counts.restricted, counts.whole


def _progress(run: SweepRun) -> str:
    if run.finished_at is not None or not run.counts.of:
        return f"{run.counts.people:,}"
    return f"{run.counts.people:,} of {run.counts.of:,}"


def _told(run: SweepRun) -> dict[str, Any]:
    from msgspec.structs import asdict

    times = {"started_at": run.started_at, "changed_at": run.changed_at, "finished_at": run.finished_at}
    return {
        "id": run.id,
        "kind": run.kind,
        "state": run.state,
        "policy": run.policy,
        **times,
        "counts": asdict(run.counts),
    }


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Draw how many people were gone through, where a terminal looks on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("people"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task("people", total=None)
        yield lambda people, of: progress.update(task, completed=people, total=of if of is None else max(of, people))
