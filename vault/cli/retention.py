"""``cdv retention``: how long values are kept and why; sweeps, reviews, and the events that start periods."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from vault.catalogue.retention_actions import ACTIONS, RETAINING, action_of, describe
from vault.cli.command import command, make_group
from vault.cli.errors import FAILED
from vault.cli.options import past_moment
from vault.cli.output import emit, note, show_table
from vault.cli.progress import people_bar
from vault.cli.session import Session
from vault.ids import SubjectId
from vault.retention.events import record_event, show_relationship
from vault.retention.explain import explain_retention
from vault.retention.reviews import MOST, decide_review, list_reviews
from vault.sweep import query
from vault.sweep.views import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vault.retention.review_store import State
    from vault.retention.reviews import Reason
    from vault.retention.views import RetainedValue, RetentionGround, RetentionReview, SubjectRelationship
    from vault.sweep.views import RetentionPreview, SweepDryRun


SUBJECT = "0199aabb-0000-7000-8000-000000000001"

group = make_group(
    f"cdv retention why {SUBJECT} birth_date",
)


Subject = Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The person's id.")]

WHY_WIDTH = 48
"""Characters of a bar."""
STATES = {
    "kept": "kept",
    "over": "expired: deleted by the next sweep",
    "demanded": "expired, but required by law",
    "held": "under a legal hold",
}
IDLE = {
    "consent-missing": "no consent",
    "not-in-force": "not in force",
    "ended": "ended before the value was collected",
    "not-brought-about": "no record that the law covers",
}


@command(group, f"cdv retention why {SUBJECT} birth_date", f"cdv retention why {SUBJECT} purchase.amount")
async def why(
    session: Session,
    subject: Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The person's id.")],
    field: Annotated[str, typer.Argument(metavar="FIELD", help="A field, such as email or purchase.amount.")],
    record: Annotated[
        UUID | None, typer.Option("--record", metavar="ID", help="Only this record.", show_default="all of them")
    ] = None,
) -> None:
    """Explain how long a person's field is kept, on which grounds, and what happens then; shows no values."""
    explanation = await explain_retention(session.services, session.caller, SubjectId(subject), field, record)
    if session.as_json:
        emit(explanation.as_json())
        return
    note(f"{explanation.field} of a {explanation.relationship}, on {explanation.today}")
    for value in explanation.values:
        _show(value, explanation.today)
    if not explanation.values:
        note("There is no such value.")
    if explanation.more:
        note("There are older records; --record ID shows one of them.")


def _show(value: RetainedValue, today: date) -> None:
    form = "" if value.form is None else f" (generalised to {value.form})"
    came = f", collected {value.collected}" if value.collected else ""
    typer.echo(f"\nrecord {value.record}{form}: from {value.starts}{came}, source {value.source or 'unknown'}")
    typer.echo(f"  until {_end(value.until)}, then {value.then}   by {value.by}   [{_state_of(value)}]")
    if value.served_until != value.until:
        typer.echo(f"  shown until {_end(value.served_until)}")
    for line in picture(value, today):
        typer.echo(line)
    rows: list[tuple[object, ...]] = [
        (_label(each, value), _counted(each), _end(each.until), each.least, _why(each)) for each in value.grounds
    ]
    rows += [
        (f"limit {each.name}", f"{each.period} {each.since}", _end(each.until), None, each.reason)
        for each in value.limits
    ]
    rows += [(each.purpose, IDLE[each.why], each.until, None, "does not keep it") for each in value.idle]
    rows += [(f"hold {each.id}", "", "it is lifted", None, f"for {each.purpose}") for each in value.holds]
    if value.review is not None:
        review = value.review
        rows.append(
            (review.kind, f"ended {review.ended_on}", review.keep_until, None, f"review {review.id}: {review.state}")
        )
    show_table(("ground", "counts", "until", "law: at least", "why"), rows, empty="  no ground to keep it")


def _state_of(value: RetainedValue) -> str:
    return (STATES | {action.state: action.state_summary for action in RETAINING if action.state})[value.state]


def picture(value: RetainedValue, today: date) -> Iterator[str]:
    """Draw a bar for each ground, from the value's start to the ground's end, and mark today."""
    ends = [*(each.until for each in value.grounds), *(each.until for each in value.limits), value.until]
    known = [each for each in ends if each is not None]
    first, last = min(value.starts, today), max([*known, value.starts, today])
    scale = _Scale(first, last)
    yield f"  {'':24}{first.year}{' ' * (WHY_WIDTH - 8)}{last.year}"
    for each in value.grounds:
        yield f"  {_label(each, value)[:23]:24}{scale.bar(value.starts, each.until, 'x' if each.lost else None)}"
    for limit in value.limits:
        yield f"  {('limit ' + limit.name)[:23]:24}{scale.bar(value.starts, limit.until, '|')}"
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
        """Draw a bar between two days; an arrow if there is no end yet."""
        from_column = self.at(start)
        to_column = WHY_WIDTH - 1 if end is None else max(self.at(end), from_column)
        tip = ">" if end is None else (mark or "=")
        return " " * from_column + "=" * (to_column - from_column) + tip


def _label(ground: RetentionGround, value: RetainedValue) -> str:
    """Return the name of a ground, with its views if it has several periods."""
    if sum(each.ground == ground.ground for each in value.grounds) == 1:
        return ground.ground
    views = ", ".join(name.rpartition(".")[2] for name in ground.views)
    return f"{ground.ground} ({views})"


def _counted(ground: RetentionGround) -> str:
    if ground.period is None or ground.since is None:
        return ""
    day = "which has not occurred" if ground.counted_from is None else str(ground.counted_from)
    return f"{ground.period} {ground.since} {day}"


def _why(ground: RetentionGround) -> str:
    parts = ("the ground ended" if ground.lost else None, ground.reason, ground.article or ground.law)
    return "; ".join(part for part in parts if part)


def _end(day: date | None) -> str:
    return "no end yet" if day is None else str(day)


class What(StrEnum):
    """What began or ended."""

    contract_began = "contract-began"
    contract_ended = "contract-ended"
    claim_opened = "claim-opened"
    claim_closed = "claim-closed"
    relationship_ended = "relationship-ended"
    relationship_resumed = "relationship-resumed"


@command(group, f"cdv retention event {SUBJECT} contract-ended --on 2026-03-31")
async def event(
    session: Session,
    subject: Subject,
    what: Annotated[What, typer.Argument(metavar="EVENT", help="What began or ended.")],
    on: Annotated[
        datetime | None,
        typer.Option(
            "--on",
            metavar="WHEN",
            parser=past_moment,
            help="The day, in UTC: 2026-03-31, or 3d ago.",
            show_default="today",
        ),
    ] = None,
) -> None:
    """Record an event that starts or stops retention periods; for several contracts or claims, the last end."""
    day = None if on is None else on.date()
    recorded = await record_event(session.services, session.caller, SubjectId(subject), what.value, day)
    if session.as_json:
        emit(recorded.as_json())
    elif recorded.moved:
        note(f"{recorded.event} on {recorded.on}; the next sweep checks the person.")
    else:
        note(f"No change: {recorded.event} is recorded for {recorded.on} already; an earlier day changes nothing.")


@command(group, f"cdv retention relationship {SUBJECT}")
async def relationship(session: Session, subject: Subject) -> None:
    """Show a person's relationship, and the dates from which retention periods count."""
    found = await show_relationship(session.services, session.caller, SubjectId(subject))
    if session.as_json:
        emit(found.as_json())
        return
    note(_sentence(found))
    rows = [("newest record", name, day) for name, day in found.records.items()]
    rows += [("event", name, day) for name, day in found.events.items()]
    show_table(("clock", "of", "day"), rows, empty="no records or events yet")


def _sentence(found: SubjectRelationship) -> str:
    parts = [found.state.value, *(f"{what} running" for what in found.running)]
    days = {"since": found.since, "last contact": found.last_contact, "without more contact until": found.until}
    return ", ".join([*parts, *(f"{word} {day}" for word, day in days.items() if day is not None)])


REVIEW = "0199aabb-0000-7000-8000-000000000001"


class Which(StrEnum):
    """The decision on a value."""

    erase = "erase"
    keep = "keep"


class ReviewReason(StrEnum):
    """Reasons to keep a value."""

    claim = "claim"
    dispute = "dispute"
    ask_person = "ask-person"
    other = "other"


WHY: dict[ReviewReason, Reason] = {each: each.value for each in ReviewReason}


@command(group, "cdv retention reviews", "cdv retention reviews --decided")
async def reviews(
    session: Session,
    decided: Annotated[bool, typer.Option("--decided", help="List decided reviews instead.")] = False,
    after: Annotated[
        UUID | None,
        typer.Option("--after", metavar="REVIEW", help="Start after this one.", show_default="from the first"),
    ] = None,
) -> None:
    """List expired values that need a decision, the oldest first."""
    states: tuple[State, ...] = ("keep", "erase") if decided else ("open",)
    page = await list_reviews(session.services, session.caller, states=states, after=after, limit=MOST)
    if session.as_json:
        emit(page.as_json())
        return
    rows = [(each.id, each.subject, each.field, each.ended_on, _state(each)) for each in page.reviews]
    show_table(("review", "person", "field", "over since", "state"), rows, empty="no values need a decision")
    if page.next is not None:
        note(f"There are more: cdv retention reviews --after {page.next}")


@command(
    group,
    f"cdv retention decide {REVIEW} erase",
    f"cdv retention decide {REVIEW} keep --until 2027-12-31 --reason claim",
)
async def decide(
    session: Session,
    review: Annotated[UUID, typer.Argument(metavar="REVIEW", help="Id from `cdv retention reviews`.")],
    decision: Annotated[Which, typer.Argument(metavar="erase|keep", help="The decision.")],
    until: Annotated[
        datetime | None,
        typer.Option("--until", formats=["%Y-%m-%d"], help="With keep: the last day, in UTC.", show_default="none"),
    ] = None,
    reason: Annotated[
        ReviewReason | None, typer.Option("--reason", help="With keep: why.", show_default="none")
    ] = None,
) -> None:
    """Decide on an expired value: erase it with the next sweep, or keep it until a day."""
    day = None if until is None else until.date()
    why = None if reason is None else WHY[reason]
    decided = await decide_review(
        session.services, session.caller, review, decision=decision.value, until=day, reason=why
    )
    if session.as_json:
        emit(decided.as_json())
    elif decided.state == "erase":
        note(f"{decided.field} is erased by the next sweep, unless a law requires it or a hold covers it.")
    else:
        note(f"{decided.field} is kept until {decided.keep_until}, and reviewed again then.")


def _state(review: RetentionReview) -> str:
    if review.state == "keep":
        return f"kept until {review.keep_until}"
    if review.state == "erase":
        return "erased by the next sweep"
    return action_of(review.kind).review_summary


WIDTH = 40
"""Of the longest bar."""
WEEK = 7

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only count; change nothing.")]
Confirm = Annotated[
    bool, typer.Option("--confirm", help="Sweep even if it affects more people than `most_percent` allows.")
]
Days = Annotated[int, typer.Option("--days", metavar="N", min=0, max=366, help="Number of days.")]
FieldName = Annotated[str | None, typer.Option("--field", metavar="NAME", help="Only this field.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=200, help="Maximum number of sweeps.")]


@command(group, "cdv retention sweep --dry-run", "cdv retention sweep")
async def sweep(session: Session, dry_run: DryRunOption = False, confirm: Confirm = False) -> None:
    """Delete expired values now, in the foreground; may be interrupted and started again."""
    if dry_run:
        with people_bar(quiet=session.as_json) as show:
            found = await query.dry_run(session.services, session.caller, watch=lambda people: show(people, None))
        _show_dry_run(found, as_json=session.as_json)
        return
    with people_bar(quiet=session.as_json) as show:
        run = await query.sweep(
            session.services, session.tenant, confirm=confirm, watch=lambda at: show(at.counts.people, at.counts.of)
        )
    if run is None:
        note("another process is sweeping now; `cdv retention sweeps` shows its progress")
        raise typer.Exit(FAILED)
    if session.as_json:
        emit(Sweep.of(run).as_json())
        if run.finished_at is None:
            raise typer.Exit(FAILED)
        return
    if run.check is not None and run.is_held_up:
        note(f"stopped: it would affect {run.check.people:,} of {run.check.of:,} people")
        note("check with `cdv retention sweep --dry-run`; to go ahead: `cdv retention sweep --confirm`")
        raise typer.Exit(FAILED)
    counts = run.counts
    note(f"{counts.people:,} people, {counts.records:,} records checked")
    done = {action.summary: counts.values.get(action.counter, 0) for action in ACTIONS} | {
        "subjects fully erased": counts.whole,
        "subjects postponed until tomorrow because of an open request": counts.waiting,
        "subjects with values that cannot be opened": counts.unreadable,
    }
    for what, count in done.items():
        if count:
            note(f"{count:,} {what}")


@command(group, "cdv retention sweeps")
async def sweeps(session: Session, limit: Limit = 20) -> None:
    """List the latest sweeps with their progress and results."""
    found = (await query.list_sweeps(session.services, session.caller, limit=limit)).sweeps
    if session.as_json:
        emit([run.as_json() for run in found])
        return
    heads = ("began", "over", "state", "people", *(action.heading for action in ACTIONS), "people gone")
    rows = [
        (run.started_at, "all" if run.kind == "all" else "due", run.state, _progress(run), *_done(run)) for run in found
    ]
    show_table(heads, rows, empty="no sweeps yet")


@command(group, "cdv retention due", "cdv retention due --days 30 --field email")
async def due(session: Session, days: Days = 90, field: FieldName = None) -> None:
    """Preview the values that expire in the next days, by day and field; opens and changes nothing."""
    parts: list[RetentionPreview] = []
    with people_bar(quiet=session.as_json) as show:
        while not parts or parts[-1].next is not None:
            after = parts[-1].next if parts else None
            parts.append(await query.preview(session.services, session.caller, days=days, field=field, after=after))
            show(sum(part.people for part in parts), None)
    ends, waiting = _summed(parts)
    if session.as_json:
        ending = [{"on": on, "field": name, "then": then, "values": count} for (on, name, then), count in ends]
        over = [{"field": name, "state": state, "then": then, "values": n} for (name, state, then), n in waiting]
        first = parts[0]
        emit({"today": first.today, "until": first.until, "ends": ending, "waiting": over})
        return
    rows = [(on, name, describe(then), count) for (on, name, then), count in ends]
    show_table(("goes on", "field", "then", "values"), rows, empty=f"nothing ends in the next {days} days")
    for line in _calendar(parts[0].today, [(key[0], count) for key, count in ends]):
        typer.echo(line)
    if waiting:
        typer.echo("")
        over_rows = [(name, state, describe(then), count) for (name, state, then), count in waiting]
        show_table(("over already", "waits for", "then", "values"), over_rows, empty="")


def _summed(
    parts: list[RetentionPreview],
) -> tuple[list[tuple[tuple[date, str, str], int]], list[tuple[tuple[str, str, str], int]]]:
    ends: Counter[tuple[date, str, str]] = Counter()
    waiting: Counter[tuple[str, str, str]] = Counter()
    for part in parts:
        ends.update({(each.on, each.field, each.then): each.values for each in part.ends})
        waiting.update({(each.field, each.state, each.then): each.values for each in part.waiting})
    return sorted(ends.items()), sorted(waiting.items())


def _calendar(today: date, ends: list[tuple[date, int]]) -> list[str]:
    """Draw a bar for each week in which values expire."""
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


def _show_dry_run(found: SweepDryRun, *, as_json: bool) -> None:
    if as_json:
        emit(found.as_json())
        return
    rows = [(each.field, each.state, describe(each.then), each.values) for each in found.would]
    show_table(("field", "waits for", "then", "values"), rows, empty="nothing would be deleted")
    note(f"{found.people:,} people checked; nothing was changed")


def _done(run: Sweep) -> tuple[int, ...]:
    return *(run.counts.of_action(action) for action in ACTIONS), run.counts.whole


def _progress(run: Sweep) -> str:
    if run.finished_at is not None or not run.counts.of:
        return f"{run.counts.people:,}"
    return f"{run.counts.people:,} of {run.counts.of:,}"
