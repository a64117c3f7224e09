"""``cdv retention``: how long values are kept and why; sweeps, reviews, and the events that start periods."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, get_args
from uuid import UUID

import typer

from vault.catalogue.retention_actions import ACTIONS, RETAINING, action_of, describe
from vault.cli.command import PAST_FORMS, SUBJECT, Session, command, make_group, past
from vault.cli.output import FAILED, emit, note, show_table
from vault.cli.progress import people_bar
from vault.cli.subject import Subject
from vault.ids import SubjectId
from vault.retention.clocks import Event
from vault.retention.events import record_event
from vault.retention.explain import explain_retention, show_relationship
from vault.retention.reviews import MOST, Decision, Reason, decide_review, list_reviews
from vault.sweep import query
from vault.sweep.views import EndingValues, OverdueState, OverdueValues, RetentionForecast, Sweep
from vault.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vault.retention.reviews import State
    from vault.retention.views import RetainedValue, RetentionGround, RetentionReview

group = make_group(f"cdv retention why {SUBJECT} birth_date")

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
    "ended": "its ground ended without covering the value",
    "not-brought-about": "no record that the law covers",
}


@command(group, f"cdv retention why {SUBJECT} birth_date", f"cdv retention why {SUBJECT} purchase.amount")
async def why(
    session: Session,
    subject: Subject,
    field: Annotated[str, typer.Argument(metavar="FIELD", help="A field, such as email or purchase.amount.")],
    record: Annotated[
        UUID | None, typer.Option(metavar="ID", help="Only this record.", show_default="all of them")
    ] = None,
) -> None:
    """Explain how long a person's field is kept, on which grounds, and what happens then; shows no values."""
    explanation = await explain_retention(session.services, session.caller, SubjectId(subject), field, record)
    if session.as_json:
        emit(explanation.as_json())
        return
    note(f"{explanation.field} of a {explanation.relationship}, on {explanation.today}")
    for value in explanation.values:
        _show_value(value, explanation.today)
    if not explanation.values:
        note("There is no such value.")
    if explanation.more:
        note("There are older records; --record ID shows one of them.")


def _show_value(value: RetainedValue, today: date) -> None:
    form = "" if value.form is None else f" (generalised to {value.form})"
    came = f", collected {value.collected}" if value.collected else ""
    typer.echo(f"\nrecord {value.record}{form}: from {value.starts}{came}, source {value.source or 'unknown'}")
    states = STATES | {action.state: action.state_summary for action in RETAINING if action.state}
    typer.echo(f"  until {_end(value.until)}, then {value.then}   by {value.by}   [{states[value.state]}]")
    if value.served_until != value.until:
        typer.echo(f"  shown until {_end(value.served_until)}")
    for line in picture(value, today):
        typer.echo(line)
    rows: list[tuple[object, ...]] = [
        (_label(ground, value), _counted(ground), _end(ground.until), ground.least, _why(ground))
        for ground in value.grounds
    ]
    rows += [
        (f"limit {limit.name}", f"{limit.period} {limit.since}", _end(limit.until), None, limit.reason)
        for limit in value.limits
    ]
    rows += [(idle.purpose, IDLE[idle.why], None, None, "does not keep it") for idle in value.idle]
    rows += [(f"hold {hold.id}", "", "it is lifted", None, f"for {hold.purpose}") for hold in value.holds]
    if value.review is not None:
        review = value.review
        rows.append(
            (review.kind, f"ended {review.ended_on}", review.keep_until, None, f"review {review.id}: {review.state}")
        )
    show_table(("ground", "counts", "until", "law: at least", "why"), rows, empty="  no ground to keep it")


def picture(value: RetainedValue, today: date) -> Iterator[str]:
    """Draw a bar for each ground, from the value's start to the ground's end, and mark today."""
    ends = [value.until, *(ground.until for ground in value.grounds), *(limit.until for limit in value.limits)]
    first, last = min(value.starts, today), max([value.starts, today, *(end for end in ends if end is not None)])

    def column(day: date) -> int:
        position = (day - first).days * (WHY_WIDTH - 1) // max((last - first).days, 1)
        return min(max(position, 0), WHY_WIDTH - 1)

    def bar(name: str, end: date | None, mark: str) -> str:
        start = column(value.starts)
        stop = WHY_WIDTH - 1 if end is None else max(column(end), start)
        return f"  {name[:23]:24}{' ' * start}{'=' * (stop - start)}{'>' if end is None else mark}"

    yield f"  {'':24}{first.year}{' ' * (WHY_WIDTH - 8)}{last.year}"
    for ground in value.grounds:
        yield bar(_label(ground, value), ground.until, "x" if ground.lost else "=")
    for limit in value.limits:
        yield bar(f"limit {limit.name}", limit.until, "|")
    yield f"  {'today':24}{' ' * column(today)}^ {today}"


def _label(ground: RetentionGround, value: RetainedValue) -> str:
    """Return the name of a ground, with its views if it has several periods."""
    if sum(other.ground == ground.ground for other in value.grounds) == 1:
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


@command(group, f"cdv retention event {SUBJECT} contract-ended --on 2026-03-31")
async def event(
    session: Session,
    subject: Subject,
    what: Annotated[
        Event,
        typer.Argument(metavar="EVENT", show_choices=False, help=f"What began or ended: {', '.join(get_args(Event))}."),
    ],
    on: Annotated[datetime | None, past(help=f"The day, in UTC: {PAST_FORMS}.", show_default="today")] = None,
) -> None:
    """Record an event that starts or stops retention periods; for several contracts or claims, the last end."""
    day = None if on is None else on.date()
    recorded = await record_event(session.services, session.caller, SubjectId(subject), what, day)
    if recorded.moved:
        sentence = f"{recorded.event} on {recorded.on}; the next sweep checks the person."
    else:
        sentence = f"No change: {recorded.event} is recorded for {recorded.on} already; an earlier day changes nothing."
    session.show(recorded, sentence)


@command(group, f"cdv retention relationship {SUBJECT}", name="relationship")
async def show_person(session: Session, subject: Subject) -> None:
    """Show a person's relationship, and the dates from which retention periods count."""
    relationship = await show_relationship(session.services, session.caller, SubjectId(subject))
    if not session.as_json:
        parts = [relationship.state.value, *(f"{what} running" for what in relationship.running)]
        days = {
            "since": relationship.since,
            "last contact": relationship.last_contact,
            "without more contact until": relationship.until,
        }
        note(", ".join([*parts, *(f"{word} {day}" for word, day in days.items() if day is not None)]))
    rows = [("newest record", name, day) for name, day in relationship.records.items()]
    rows += [("event", name, day) for name, day in relationship.events.items()]
    session.show_table(relationship, ("clock", "of", "day"), rows, empty="no records or events yet")


REVIEW = "0199aabb-0000-7000-8000-000000000001"


@command(group, "cdv retention reviews", "cdv retention reviews --decided")
async def reviews(
    session: Session,
    decided: Annotated[bool, typer.Option("--decided", help="List decided reviews instead.")] = False,
    after: Annotated[
        UUID | None, typer.Option(metavar="REVIEW", help="Start after this one.", show_default="from the first")
    ] = None,
) -> None:
    """List expired values that need a decision, the oldest first."""
    states: tuple[State, ...] = ("keep", "erase") if decided else ("open",)
    page = await list_reviews(session.services, session.caller, states=states, after=after, limit=MOST)
    rows = ((review.id, review.subject, review.field, review.ended_on, _state(review)) for review in page.reviews)
    session.show_table(
        page,
        ("review", "person", "field", "over since", "state"),
        rows,
        empty="no values need a decision",
        then=None if page.next is None else f"There are more: cdv retention reviews --after {page.next}",
    )


@command(
    group,
    f"cdv retention decide {REVIEW} erase",
    f"cdv retention decide {REVIEW} keep --until 2027-12-31 --reason claim",
)
async def decide(
    session: Session,
    review: Annotated[UUID, typer.Argument(metavar="REVIEW", help="Id from `cdv retention reviews`.")],
    decision: Annotated[Decision, typer.Argument(metavar="erase|keep", help="The decision.")],
    until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="With keep: the last day, in UTC.", show_default="none"),
    ] = None,
    reason: Annotated[
        Reason | None,
        typer.Option(metavar="WHY", help=f"With keep: {', '.join(get_args(Reason))}.", show_default="none"),
    ] = None,
) -> None:
    """Decide on an expired value: erase it with the next sweep, or keep it until a day."""
    day = None if until is None else until.date()
    decided = await decide_review(session.services, session.caller, review, decision=decision, until=day, reason=reason)
    if decided.state == "erase":
        sentence = f"{decided.field} is erased by the next sweep, unless a law requires it or a hold covers it."
    else:
        sentence = f"{decided.field} is kept until {decided.keep_until}, and reviewed again then."
    session.show(decided, sentence)


def _state(review: RetentionReview) -> str:
    if review.state == "keep":
        return f"kept until {review.keep_until}"
    if review.state == "erase":
        return "erased by the next sweep"
    return action_of(review.kind).review_summary


BAR_WIDTH = 40
"""Characters of the longest bar."""
WEEK = 7


@command(group, "cdv retention sweep --dry-run", "cdv retention sweep")
async def sweep(
    session: Session,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; change nothing.")] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Sweep even if it affects more people than `most_percent` allows.")
    ] = False,
) -> None:
    """Delete expired values now, in the foreground; may be interrupted and started again."""
    if dry_run:
        with people_bar(quiet=session.as_json) as show:
            result = await query.dry_run(session.services, session.caller, watch=lambda people: show(people, None))
        rows = ((line.field, line.state, describe(line.then), line.values) for line in result.would)
        session.show_table(
            result,
            ("field", "waits for", "then", "values"),
            rows,
            empty="nothing would be deleted",
            then=f"{counted(result.people, 'person', 'people')} checked; nothing was changed",
        )
        return
    with people_bar(quiet=session.as_json) as show:
        run = await query.sweep(
            session.services, session.tenant, confirm=confirm, watch=lambda at: show(at.counts.people, at.counts.of)
        )
    if run is None:
        note("another process is sweeping now; `cdv retention sweeps` shows its progress")
        raise typer.Exit(FAILED)
    if session.as_json:
        emit(Sweep.of(run))
        if run.finished_at is None:
            raise typer.Exit(FAILED)
        return
    if run.check is not None and run.is_held_up:
        note(f"stopped: it would affect {run.check.people:,} of {counted(run.check.of, 'person', 'people')}")
        note("check with `cdv retention sweep --dry-run`; to go ahead: `cdv retention sweep --confirm`")
        raise typer.Exit(FAILED)
    counts = run.counts
    note(f"checked: {counted(counts.people, 'person', 'people')}, {counted(counts.records, 'record')}")
    done = {action.summary: counts.values.get(action.counter, 0) for action in ACTIONS} | {
        "subjects fully erased": counts.whole,
        "subjects postponed until tomorrow because of an open request": counts.waiting,
        "subjects with values that cannot be opened": counts.unreadable,
    }
    for what, count in done.items():
        if count:
            note(f"{what}: {count:,}")


@command(group, "cdv retention sweeps")
async def sweeps(
    session: Session,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=200, help="Maximum number of sweeps.")] = 20,
) -> None:
    """List the latest sweeps with their progress and results."""
    runs = (await query.list_sweeps(session.services, session.caller, limit=limit)).sweeps
    headings = ("began", "over", "state", "people", *(action.heading for action in ACTIONS), "people gone")
    rows = (
        (
            run.started_at,
            "all" if run.kind == "all" else "due",
            run.state,
            _progress(run),
            *(run.counts.of_action(action) for action in ACTIONS),
            run.counts.whole,
        )
        for run in runs
    )
    session.show_table(runs, headings, rows, empty="no sweeps yet")


@command(group, "cdv retention due", "cdv retention due --days 30 --field email")
async def due(
    session: Session,
    days: Annotated[
        int, typer.Option(metavar="N", min=0, max=query.MOST_DAYS, help="Number of days: up to ten years.")
    ] = 90,
    field: Annotated[str | None, typer.Option(metavar="NAME", help="Only this field.")] = None,
) -> None:
    """Preview the values that expire in the next days, by day and field; opens and changes nothing."""
    ending: Counter[tuple[date, str, str]] = Counter()
    overdue: Counter[tuple[str, OverdueState, str]] = Counter()
    people, after = 0, None
    with people_bar(quiet=session.as_json) as show:
        while True:
            page = await query.preview(session.services, session.caller, days=days, field=field, after=after)
            ending.update({(line.on, line.field, line.then): line.values for line in page.ends})
            overdue.update({(line.field, line.state, line.then): line.values for line in page.waiting})
            people, after = people + page.people, page.next
            show(people, None)
            if after is None:
                break
    ends = [EndingValues(on=on, field=f, then=then, values=n) for (on, f, then), n in sorted(ending.items())]
    waiting = [OverdueValues(field=f, state=s, then=then, values=n) for (f, s, then), n in sorted(overdue.items())]
    if session.as_json:
        emit(RetentionForecast(today=page.today, until=page.until, ends=ends, waiting=waiting))
        return
    rows = [(line.on, line.field, describe(line.then), line.values) for line in ends]
    show_table(("goes on", "field", "then", "values"), rows, empty=f"nothing ends in the next {counted(days, 'day')}")
    for text in _calendar(page.today, [(line.on, line.values) for line in ends]):
        typer.echo(text)
    if waiting:
        typer.echo("")
        overdue_rows = [(line.field, line.state, describe(line.then), line.values) for line in waiting]
        show_table(("over already", "waits for", "then", "values"), overdue_rows, empty="")


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
        bar = "#" * max(1, round(BAR_WIDTH * count / most)) if count else ""
        lines.append(f"{at}  {bar} {count:,}".rstrip() if count else f"{at}  .")
        at += timedelta(days=WEEK)
    return lines


def _progress(run: Sweep) -> str:
    if run.finished_at is not None or not run.counts.of:
        return f"{run.counts.people:,}"
    return f"{run.counts.people:,} of {run.counts.of:,}"
