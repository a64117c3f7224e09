"""``cdv holds``: legal holds, which protect evidence from deletion until they are lifted."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from vault.cli.command import command, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import Session
from vault.errors import InvalidInput
from vault.holds.manage import (
    PAGE_LIMIT,
    HoldChanges,
    HoldDraft,
    change_hold,
    lift_hold,
    list_holds,
    place_hold,
    show_hold,
)
from vault.ids import SubjectId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault.holds.views import Hold

HOLD = "0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1e"
PERSON = "0199aabb-0000-7000-8000-000000000001"
IDS_SHOWN = 20

group = make_group(
    f"cdv holds place LG-2026-0815 --owner legal-dept --review 2027-03-01 --subject {PERSON}",
    "cdv holds list --due",
    f"cdv holds lift {HOLD} --reason judgment-of-2027-02-11",
)

People = Annotated[
    list[UUID] | None, typer.Option("--subject", metavar="ID", help="A person that it covers; may be repeated.")
]
PeopleFile = Annotated[
    Path | None,
    typer.Option(
        "--subjects-from", metavar="FILE", help="A file with a person's id on each line.", exists=True, dir_okay=False
    ),
]
Names = list[str] | None
HoldId = Annotated[UUID, typer.Argument(metavar="HOLD", help="The hold's id.")]
Owner = Annotated[
    str,
    typer.Option("--owner", metavar="REF", help="Its owner, as a reference: a department, a staff number."),
]
Review = Annotated[
    datetime,
    typer.Option("--review", metavar="DAY", formats=["%Y-%m-%d"], help="When to review whether it is still needed."),
]


@command(
    group,
    f"cdv holds place LG-2026-0815 --owner legal-dept --review 2027-03-01 --subject {PERSON}",
    "cdv holds place LG-2026-0815 --owner legal-dept --review 2027-03-01 --subjects-from ids.txt "
    "--field 'purchase.*' --field email --since 2026-01-01 --until 2026-06-30 --also-for accounting",
)
async def place(
    session: Session,
    matter: Annotated[str, typer.Argument(metavar="MATTER", help="The matter, as a file number; not a person's name.")],
    owner: Owner,
    review: Review,
    subject: People = None,
    subjects_from: PeopleFile = None,
    purpose: Annotated[
        str, typer.Option("--purpose", metavar="NAME", help="Purpose for which the data may be read.")
    ] = "legal-claims",
    also_for: Annotated[
        Names,
        typer.Option("--also-for", metavar="NAME", help="Another purpose that is still allowed; may be repeated."),
    ] = None,
    field: Annotated[
        Names,
        typer.Option(
            "--field",
            metavar="NAME",
            help="A field or collection that it covers; may be repeated.",
            show_default="everything",
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option("--since", metavar="DAY", formats=["%Y-%m-%d"], help="The first day of the records it covers."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--until", metavar="DAY", formats=["%Y-%m-%d"], help="The last day of the records it covers."),
    ] = None,
) -> None:
    """Place a hold: the data that it covers is not deleted, and only read for the hold's purposes."""
    people = _people(subject, subjects_from)
    draft = HoldDraft(
        matter=matter,
        owner=owner,
        purpose=purpose,
        subjects=people,
        review_on=review.date(),
        also_for=also_for or (),
        fields=field or ("*",),
        since=_day(since),
        until=_day(until),
    )
    placed = await place_hold(session.services, session.caller, draft)
    if session.as_json:
        emit(placed.as_json())
    else:
        note(f"Placed as {placed.id}: {placed.people:,} people, to be reviewed on {placed.review_on}.")


@command(
    group,
    f"cdv holds change {HOLD} --review 2027-09-01",
    f"cdv holds change {HOLD} --subject {PERSON} --also-for accounting",
)
async def change(
    session: Session,
    hold: HoldId,
    owner: Annotated[str | None, typer.Option("--owner", metavar="REF", help="The new owner.")] = None,
    review: Annotated[
        datetime | None, typer.Option("--review", metavar="DAY", formats=["%Y-%m-%d"], help="The new review date.")
    ] = None,
    also_for: Annotated[
        Names,
        typer.Option("--also-for", metavar="NAME", help="All further purposes that are allowed; may be repeated."),
    ] = None,
    subject: People = None,
    subjects_from: PeopleFile = None,
    remove: Annotated[
        list[UUID] | None, typer.Option("--remove", metavar="ID", help="A person to remove; may be repeated.")
    ] = None,
) -> None:
    """Change a hold's owner, review date, further purposes, or the people that it covers."""
    people = _people(subject, subjects_from)
    gone = [SubjectId(each) for each in remove or ()]
    changes = HoldChanges(owner=owner, review_on=_day(review), also_for=also_for, add=people, remove=gone)
    changed = await change_hold(session.services, session.caller, hold, changes)
    if session.as_json:
        emit(changed.as_json())
    else:
        note(f"Changed: {changed.people:,} people, to be reviewed on {changed.review_on}.")


@command(group, f"cdv holds lift {HOLD} --reason judgment-of-2027-02-11")
async def lift(
    session: Session,
    hold: HoldId,
    reason: Annotated[
        str, typer.Option("--reason", metavar="REF", help="The reason, as a reference; not a person's name.")
    ],
) -> None:
    """Lift a hold. A running server, or `cdv jobs run`, resumes the erasures that waited for it."""
    lifted = await lift_hold(session.services, session.caller, hold, reason=reason)
    if session.as_json:
        emit(lifted.as_json())
    else:
        note(f"Lifted: {lifted.people:,} people are no longer covered by it.")


@command(group, "cdv holds list", "cdv holds list --due", "cdv holds list --all --json", name="list")
async def list_(
    session: Session,
    due: Annotated[bool, typer.Option("--due", help="Only those that are due for review.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Include lifted holds.")] = False,
) -> None:
    """List holds, by their review date."""
    which: Any = "due" if due else "all" if everything else "active"
    page = await list_holds(session.services, session.caller, which=which, limit=PAGE_LIMIT)
    if session.as_json:
        emit([hold.as_json() for hold in page.holds])
        return
    today = datetime.now(UTC).date()
    show_table(
        ("hold", "matter", "owner", "purpose", "people", "covers", "review", ""),
        [_row(hold, today) for hold in page.holds],
        empty="no hold is due for review" if due else "no holds",
    )
    if page.next is not None:
        note("There are more; GET /v1/holds lists all.")


@command(group, f"cdv holds show {HOLD}")
async def show(session: Session, hold: HoldId) -> None:
    """Show a hold and the people that it covers."""
    details = await show_hold(session.services, session.caller, hold)
    if session.as_json:
        emit(details.as_json())
        return
    values = {name: value for name, value in details if value and name != "subjects"}
    rows = [(name, ", ".join(value) if isinstance(value, tuple) else value) for name, value in values.items()]
    shown = ", ".join(str(subject) for subject in details.subjects[:IDS_SHOWN])
    more = len(details.subjects) - IDS_SHOWN
    rows.append(("covers", shown + (f" and {more:,} more (--json lists all)" if more > 0 else "")))
    show_table(("", ""), rows, empty="")


def _people(given: Sequence[UUID] | None, file: Path | None) -> list[SubjectId]:
    """Read the people that a hold covers, from the options and from a file."""
    people = [SubjectId(each) for each in given or ()]
    if file is None:
        return people
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.strip():
            try:
                people.append(SubjectId(UUID(line.strip())))
            except ValueError:
                raise InvalidInput(f"line {number} of the file is not a person's id", code="invalid-hold") from None
    return people


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def _row(hold: Hold, today: date) -> tuple[Any, ...]:
    state = "lifted" if hold.state == "lifted" else "DUE" if hold.review_on <= today else ""
    covers = " ".join(hold.fields)
    if hold.since is not None or hold.until is not None:
        covers += f" of {hold.since or '…'} to {hold.until or '…'}"
    return hold.id, hold.matter, hold.owner, hold.purpose, hold.people, covers, hold.review_on, state
