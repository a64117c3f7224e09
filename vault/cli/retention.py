"""``cdv retention``: until when values are kept, on which grounds, and what happens when their time is up.

``cdv retention event`` and ``cdv retention relationship``: what starts and stops a person's clocks.

``cdv retention reviews`` and ``cdv retention decide``: values whose time is up and that wait for somebody.

``cdv retention sweep``, ``sweeps`` and ``due``: take away what has ended, see what was, see what will be.

``cdv retention why``: until when values are kept, drawn as a bar for each ground over the years.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import (
    date,
    datetime,
    timedelta,
)
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from vault.cli.errors import FAILED
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples, make_group, parse_since
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant
from vault.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vault.context import Services
    from vault.ids import TenantId
    from vault.retention.events import Answer, Recorded, Stand
    from vault.retention.explain import Ground, Kept, Why
    from vault.retention.review_store import Review, State
    from vault.retention.reviews import Reason, ReviewPage
    from vault.sweep.query import DryRun, Due
    from vault.sweep.store import SweepRun


SUBJECT = "0199aabb-0000-7000-8000-000000000001"

app = make_group(
    "Retention: until when values are kept and why, what is due, sweeps, events, reviews.",
    f"cdv retention why {SUBJECT} birth_date",
)


def register(root: typer.Typer) -> None:
    """Add the group. A module that brings more of its commands has a ``register`` of its own, called here."""
    register_retention_why(app)
    register_retention_events(app)
    register_retention_reviews(app)
    register_retention_sweeps(app)
    root.add_typer(app, name="retention")


class What(StrEnum):
    """What began or ended."""

    contract_began = "contract-began"
    contract_ended = "contract-ended"
    claim_opened = "claim-opened"
    claim_closed = "claim-closed"
    relationship_ended = "relationship-ended"
    relationship_resumed = "relationship-resumed"


Subject = Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The person's id.")]


def register_retention_events(group: typer.Typer) -> None:
    """Add the commands to ``cdv retention``."""
    group.command(epilog=examples(f"cdv retention event {SUBJECT} contract-ended --on 2026-03-31"))(event)
    group.command(epilog=examples(f"cdv retention relationship {SUBJECT}"))(relationship)


def event(
    subject: Subject,
    what: Annotated[What, typer.Argument(metavar="EVENT", help="What began or ended.")],
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="WHEN", help="The day, in UTC: 2026-03-31, or 3d ago.", show_default="today"),
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Record what starts or stops a clock; of several contracts or claims, the end of the last one."""
    moment = parse_since(on, Clock().now(), option="--on")

    async def work(services: Services, its: TenantId) -> Recorded:
        from vault.access.callers import operator_caller
        from vault.ids import SubjectId
        from vault.retention.events import record_event

        day = None if moment is None else moment.date()
        return await record_event(services, operator_caller(its), SubjectId(subject), what.value, day)

    recorded = in_tenant(vault, tenant, work)
    if as_json:
        emit({"event": recorded.event, "on": recorded.on, "moved": recorded.created})
    elif recorded.created:
        note(f"{recorded.event} on {recorded.on}; the next sweep looks at the person.")
    else:
        note(f"Nothing moves: {recorded.event} was recorded for {recorded.on}, and a clock never goes back.")


def relationship(subject: Subject, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Show how a person stands to the company, and the clocks from which periods of retention count."""

    async def work(services: Services, its: TenantId) -> Answer:
        from vault.access.callers import operator_caller
        from vault.ids import SubjectId
        from vault.retention.events import relationship_of

        return await relationship_of(services, operator_caller(its), SubjectId(subject))

    found = in_tenant(vault, tenant, work)
    if as_json:
        stand = found.stand._asdict() | {
            clocks: {name: str(day) for name, day in found.stand._asdict()[clocks].items()}
            for clocks in ("records", "events")
        }
        emit({"subject": found.subject, **stand, "audit": found.audit})
        return
    note(_sentence(found.stand))
    rows = [("newest record", name, day) for name, day in found.stand.records.items()]
    rows += [("event", name, day) for name, day in found.stand.events.items()]
    show_table(("clock", "of", "day"), rows, empty="no record and no event moves a clock yet")


def _sentence(stand: Stand) -> str:
    parts = [stand.state.value, *(f"{what} running" for what in stand.running)]
    told = {"since": stand.since, "last contact": stand.last_contact, "without more contact until": stand.until}
    return ", ".join([*parts, *(f"{word} {day}" for word, day in told.items() if day is not None)])


REVIEW = "0199aabb-0000-7000-8000-000000000001"


class Which(StrEnum):
    """What becomes of a value."""

    erase = "erase"
    keep = "keep"


class ReviewReason(StrEnum):
    """Why a value is kept on."""

    claim = "claim"
    dispute = "dispute"
    ask_person = "ask-person"
    other = "other"


WHY: dict[ReviewReason, Reason] = {each: each.value for each in ReviewReason}


def register_retention_reviews(group: typer.Typer) -> None:
    """Add the commands to ``cdv retention``."""
    group.command(epilog=examples("cdv retention reviews", "cdv retention reviews --decided"))(reviews)
    group.command(
        epilog=examples(
            f"cdv retention decide {REVIEW} erase",
            f"cdv retention decide {REVIEW} keep --until 2027-12-31 --reason claim",
        )
    )(decide)


def reviews(
    decided: Annotated[bool, typer.Option("--decided", help="Those decided on instead.")] = False,
    after: Annotated[
        UUID | None,
        typer.Option("--after", metavar="REVIEW", help="Go on after this one.", show_default="from the first"),
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """List values whose time is up and that wait for a decision, the oldest first."""

    async def work(services: Services, its: TenantId) -> ReviewPage:
        from vault.access.callers import operator_caller
        from vault.retention.reviews import MOST, list_reviews

        states: tuple[State, ...] = ("keep", "erase") if decided else ("open",)
        return await list_reviews(services, operator_caller(its), states=states, after=after, limit=MOST)

    page = in_tenant(vault, tenant, work)
    if as_json:
        emit({"reviews": [_told(each) for each in page.reviews], "next": page.next, "audit": page.audit})
        return
    rows = [(each.id, each.subject, each.name, each.ended_on, _state(each)) for each in page.reviews]
    show_table(("review", "person", "field", "over since", "state"), rows, empty="nothing waits for a decision")
    if page.next is not None:
        note(f"There are more: cdv retention reviews --after {page.next}")


def decide(
    review: Annotated[UUID, typer.Argument(metavar="REVIEW", help="Which, from `cdv retention reviews`.")],
    decision: Annotated[Which, typer.Argument(metavar="erase|keep", help="What becomes of the value.")],
    until: Annotated[
        datetime | None,
        typer.Option("--until", formats=["%Y-%m-%d"], help="With keep: the last day, in UTC.", show_default="none"),
    ] = None,
    reason: Annotated[
        ReviewReason | None, typer.Option("--reason", help="With keep: why.", show_default="none")
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Decide about a value whose time is up: it goes with the next sweep, or is kept until a day."""
    day = None if until is None else until.date()

    async def work(services: Services, its: TenantId) -> Review:
        from vault.access.callers import operator_caller
        from vault.retention.reviews import decide_review

        why = None if reason is None else WHY[reason]
        return await decide_review(
            services, operator_caller(its), review, decision=decision.value, until=day, reason=why
        )

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit(_told(found))
    elif found.state == "erase":
        note(f"{found.name} goes with the next sweep, unless a law demands it or a hold covers it.")
    else:
        note(f"{found.name} is kept until {found.keep_until}, and looked at again then.")


def _state(review: Review) -> str:
    if review.state == "keep":
        return f"kept until {review.keep_until}"
    if review.state == "erase":
        return "goes with the next sweep"
    from vault.catalogue.retention_actions import action_of

    return action_of(review.kind).review_summary


def _told(review: Review) -> dict[str, Any]:
    told = review._asdict() | {"field": review.name}
    told.pop("collection")
    return told


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


def register_retention_sweeps(group: typer.Typer) -> None:
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
        _show_dry_run(
            in_tenant(vault, tenant, lambda services, its: _dry_run(services, its, quiet=as_json)), as_json=as_json
        )
        return
    run = in_tenant(vault, tenant, lambda services, its: _sweep(services, its, confirm=confirm, quiet=as_json))
    if run is None:
        note("another process is sweeping at this moment; `cdv retention sweeps` shows how far it is")
        raise typer.Exit(FAILED)
    if as_json:
        emit(_told_retention_sweeps(run))
        if run.finished_at is None:
            raise typer.Exit(FAILED)
        return
    if run.check is not None and run.is_held_up:
        note(f"it would take something from {run.check.people:,} of {run.check.of:,} people, and waits")
        note("look with `cdv retention sweep --dry-run`; if that is meant: `cdv retention sweep --confirm`")
        raise typer.Exit(FAILED)
    from vault.catalogue.retention_actions import ACTIONS

    counts = run.counts
    note(f"{counts.people:,} people, {counts.records:,} records looked at")
    done = {action.summary: counts.values.get(action.counter, 0) for action in ACTIONS} | {
        "people of whom nothing is left": counts.whole,
        "people left alone until tomorrow, with an open request": counts.waiting,
        "people of whom something does not open": counts.unreadable,
    }
    for what, count in done.items():
        if count:
            note(f"{count:,} {what}")


def sweeps(limit: Limit = 20, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """List the last sweeps: how far each has come, and what it did."""

    async def work(services: Services, its: TenantId) -> Sequence[SweepRun]:
        from vault.access.callers import operator_caller
        from vault.sweep.query import list_sweeps

        return (await list_sweeps(services, operator_caller(its), limit=limit)).sweeps

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit([_told_retention_sweeps(each) for each in found])
        return
    from vault.catalogue.retention_actions import ACTIONS

    heads = ("began", "over", "state", "people", *(action.heading for action in ACTIONS), "people gone")
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
    parts = in_tenant(vault, tenant, lambda services, its: _due(services, its, days, field, quiet=as_json))
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


async def _sweep(services: Services, tenant: TenantId, *, confirm: bool, quiet: bool) -> SweepRun | None:
    from vault.sweep.query import sweep as run

    with _bar(quiet=quiet) as show:
        return await run(services, tenant, confirm=confirm, watch=lambda at: show(at.counts.people, at.counts.of))


async def _dry_run(services: Services, tenant: TenantId, *, quiet: bool) -> DryRun:
    from vault.access.callers import operator_caller
    from vault.sweep.query import dry_run

    with _bar(quiet=quiet) as show:
        return await dry_run(services, operator_caller(tenant), watch=lambda people: show(people, None))


async def _due(services: Services, tenant: TenantId, days: int, field: str | None, *, quiet: bool) -> list[Due]:
    from vault.access.callers import operator_caller
    from vault.sweep.query import due as look

    parts: list[Due] = []
    with _bar(quiet=quiet) as show:
        while not parts or parts[-1].next is not None:
            after = parts[-1].next if parts else None
            parts.append(await look(services, operator_caller(tenant), days=days, field=field, after=after))
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
    from vault.catalogue.retention_actions import describe

    return describe(then)


def _done(run: SweepRun) -> tuple[int, ...]:
    from vault.catalogue.retention_actions import ACTIONS

    return *(run.counts.values.get(action.counter, 0) for action in ACTIONS), run.counts.whole


def _progress(run: SweepRun) -> str:
    if run.finished_at is not None or not run.counts.of:
        return f"{run.counts.people:,}"
    return f"{run.counts.people:,} of {run.counts.of:,}"


def _told_retention_sweeps(run: SweepRun) -> dict[str, Any]:
    times = {"started_at": run.started_at, "changed_at": run.changed_at, "finished_at": run.finished_at}
    return {
        "id": run.id,
        "kind": run.kind,
        "state": run.state,
        "policy": run.policy,
        **times,
        "counts": run.counts.by_name(),
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


WHY_WIDTH = 48
"""Characters of a bar."""
STATES = {
    "kept": "kept",
    "over": "over: the next sweep comes for it",
    "demanded": "over, and kept because a law demands it",
    "held": "under a legal hold: nothing deletes it",
}
IDLE = {
    "consent-missing": "no consent",
    "not-in-force": "not in force",
    "ended": "ended before the value came in",
    "not-brought-about": "no record that the law is about",
}


def register_retention_why(group: typer.Typer) -> None:
    """Add the command to ``cdv retention``."""
    group.command(
        epilog=examples(f"cdv retention why {SUBJECT} birth_date", f"cdv retention why {SUBJECT} purchase.amount")
    )(why)


def why(
    subject: Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The person's id.")],
    field: Annotated[str, typer.Argument(metavar="FIELD", help="A field, such as email or purchase.amount.")],
    record: Annotated[
        UUID | None, typer.Option("--record", metavar="ID", help="Only this record.", show_default="all of them")
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Tell until when a field of a person is kept, on which grounds, and what happens then; no value is shown."""

    async def work(services: Services, its: TenantId) -> Why:
        from vault.access.callers import operator_caller
        from vault.ids import SubjectId
        from vault.retention.explain import why

        return await why(services, operator_caller(its), SubjectId(subject), field, record)

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit({**found._asdict(), "values": [_json(each) for each in found.values]})
        return
    note(f"{found.field} of a {found.relationship}, on {found.today}")
    for each in found.values:
        _show(each, found.today)
    if not found.values:
        note("There is no such value.")
    if found.more:
        note("There are older records; --record ID tells of one.")


def _show(kept: Kept, today: date) -> None:
    form = "" if kept.form is None else f" (generalised to {kept.form})"
    came = f", collected {kept.collected}" if kept.collected else ""
    typer.echo(f"\nrecord {kept.record}{form}: from {kept.starts}{came}, source {kept.source or 'unknown'}")
    typer.echo(f"  until {_end(kept.until)}, then {kept.then}   by {kept.by}   [{_state_of(kept)}]")
    if kept.served_until != kept.until:
        typer.echo(f"  shown until {_end(kept.served_until)}")
    for line in picture(kept, today):
        typer.echo(line)
    rows: list[tuple[object, ...]] = [
        (_label(each, kept), _counted(each), _end(each.until), each.least, _why(each)) for each in kept.grounds
    ]
    rows += [
        (f"limit {each.name}", f"{each.period} {each.since}", _end(each.until), None, each.reason)
        for each in kept.limits
    ]
    rows += [(each.purpose, IDLE[each.why], each.until, None, "does not keep it") for each in kept.idle]
    rows += [(f"hold {UUID(each.id)}", "", "it is lifted", None, f"for {each.purpose}") for each in kept.holds]
    if kept.review is not None:
        review = kept.review
        rows.append(
            (review.kind, f"ended {review.ended_on}", review.keep_until, None, f"review {review.id}: {review.state}")
        )
    show_table(("ground", "counts", "until", "law: at least", "why"), rows, empty="  nothing claims it")


def _state_of(kept: Kept) -> str:
    from vault.catalogue.retention_actions import RETAINING

    return (STATES | {action.state: action.state_summary for action in RETAINING if action.state})[kept.state]


def picture(kept: Kept, today: date) -> Iterator[str]:
    """Draw a bar for each ground from the value's start to the ground's end, with today marked."""
    ends = [*(each.until for each in kept.grounds), *(each.until for each in kept.limits), kept.until]
    known = [each for each in ends if each is not None]
    first, last = min(kept.starts, today), max([*known, kept.starts, today])
    scale = _Scale(first, last)
    yield f"  {'':24}{first.year}{' ' * (WHY_WIDTH - 8)}{last.year}"
    for each in kept.grounds:
        yield f"  {_label(each, kept)[:23]:24}{scale.bar(kept.starts, each.until, 'x' if each.lost else None)}"
    for limit in kept.limits:
        yield f"  {('limit ' + limit.name)[:23]:24}{scale.bar(kept.starts, limit.until, '|')}"
    yield f"  {'today':24}{' ' * scale.at(today)}^ {today}"


class _Scale:
    """Maps days to columns."""

    def __init__(self, first: date, last: date) -> None:
        self._first = first.toordinal()
        self._days = max(last.toordinal() - self._first, 1)

    def at(self, day: date) -> int:
        """Return the column of a day."""
        return min(max((day.toordinal() - self._first) * (WHY_WIDTH - 1) // self._days, 0), WHY_WIDTH - 1)

    def bar(self, start: date, end: date | None, mark: str | None) -> str:
        """Draw from a day to another; an arrow where there is no end yet."""
        from_column = self.at(start)
        to_column = WHY_WIDTH - 1 if end is None else max(self.at(end), from_column)
        tip = ">" if end is None else (mark or "=")
        return " " * from_column + "=" * (to_column - from_column) + tip


def _label(ground: Ground, kept: Kept) -> str:
    """Name a ground; one with unlike periods for the views of a field has a line for each."""
    if sum(each.ground == ground.ground for each in kept.grounds) == 1:
        return ground.ground
    views = ", ".join(name.rpartition(".")[2] for name in ground.views)
    return f"{ground.ground} ({views})"


def _counted(ground: Ground) -> str:
    if ground.period is None or ground.since is None:
        return ""
    day = "which has not come" if ground.counted_from is None else str(ground.counted_from)
    return f"{ground.period} {ground.since} {day}"


def _why(ground: Ground) -> str:
    parts = ("the ground ended" if ground.lost else None, ground.reason, ground.article or ground.law)
    return "; ".join(part for part in parts if part)


def _end(day: date | None) -> str:
    return "no end yet" if day is None else str(day)


def _json(kept: Kept) -> dict[str, Any]:
    review = kept.review
    return {
        **kept._asdict(),
        "grounds": [each._asdict() for each in kept.grounds],
        "idle": [each._asdict() for each in kept.idle],
        "limits": [each._asdict() for each in kept.limits],
        "holds": [{**each._asdict(), "id": UUID(each.id)} for each in kept.holds],
        "review": None if review is None else review._asdict(),
    }
