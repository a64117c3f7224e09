"""``cdv erasures``: previews, progress, certificates, verification. ``cdv holds``: legal holds, which stop erasures."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from vault.catalogue.model import Scope
from vault.cli.command import SUBJECT, Names, Request, Session, command, day, make_group, resolved
from vault.cli.output import FAILED, note
from vault.cli.subject import Subject, option, read_subject
from vault.erasure.query import MAX_PAGE, check_again, list_erasures, preview_erasure, read_certificate
from vault.errors import InvalidInput, VaultError
from vault.holds import manage
from vault.ids import SubjectId
from vault.wording import counted

if TYPE_CHECKING:
    from vault.holds.views import Hold

HOLD = "0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1e"
IDS_SHOWN = 20

group = make_group("cdv erasures list")


@command(group, f"cdv erasures preview {HOLD}", name="preview")
async def preview(
    session: Session,
    subject: Subject,
    field: Annotated[Names, typer.Option(metavar="NAME", help="Only this field; may be repeated.")] = None,
    collection: Annotated[Names, typer.Option(metavar="NAME", help="Only this collection; may be repeated.")] = None,
    purpose: Annotated[
        Names, typer.Option(metavar="NAME", help="Only what this purpose alone needs; may be repeated.")
    ] = None,
) -> None:
    """Preview an erasure: for each field, whether it would be erased, or kept, on which ground and until when."""
    scope = Scope(tuple(field or ()), tuple(collection or ()), tuple(purpose or ()))
    view = await preview_erasure(session.services, session.caller, SubjectId(subject), scope)
    names = ("field", "records", "verdict", "article", "purpose", "until")
    rows: list[tuple[object, ...]] = [(line.field, line.records, "erased", None, None, None) for line in view.erased]
    rows += [
        (line.field, line.records, f"kept: {line.ground}", line.article, line.purpose, line.until) for line in view.kept
    ]
    answer = {**view.as_json(), "verdicts": [dict(zip(names, row, strict=True)) for row in rows]}
    then = f"The person would be {view.becomes}."
    session.show_table(answer, names, rows, empty="nothing would be erased", then=then)


@command(group, "cdv erasures list", "cdv erasures list --json", name="list")
async def list_erased(session: Session) -> None:
    """List the latest erasures and their progress."""
    erasures = (await list_erasures(session.services, session.caller, limit=MAX_PAGE)).erasures
    rows = (
        (erasure.request, erasure.subject, erasure.state, erasure.started_at, erasure.finished_at)
        for erasure in erasures
    )
    session.show_table(erasures, ("request", "person", "state", "began", "done"), rows, empty="no erasures")


@command(group, "cdv erasures certificate REQUEST --out certificate.json", name="certificate", json=False)
async def certificate(
    session: Session,
    request: Request,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write to.", show_default="standard output")
    ] = None,
) -> None:
    """Write the signed certificate of an erasure, for the person; `cdv verify` checks it."""
    document = await read_certificate(session.services, session.caller, request)
    text = json.dumps(document.as_json(), indent=2, ensure_ascii=False)
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")
        note(f"written to {out}")


@command(group, "cdv erasures check REQUEST", name="check")
async def check(session: Session, request: Request) -> None:
    """Scan the databases again for remains of an erased person; exit status 1 if there are any."""
    result = await check_again(session.services, session.caller, request)
    session.show(
        result,
        f"scanned {counted(result.files, 'file')} ({counted(result.bytes, 'byte')}) and {counted(result.rows, 'row')}",
        "nothing is left"
        if result.is_clean
        else f"found: {counted(result.keys, 'key')}, {counted(result.wrong, 'row')}",
    )
    if not result.is_clean:
        raise typer.Exit(FAILED)


holds_group = make_group(
    f"cdv holds place LG-2026-0815 --owner legal-dept --review 2027-03-01 --subject {SUBJECT}",
    "cdv holds list --due",
    f"cdv holds lift {HOLD} --reason judgment-of-2027-02-11",
)

People = Annotated[list[UUID] | None, option("--subject", help="A person that it covers; may be repeated.")]
PeopleFile = Annotated[
    Path | None,
    typer.Option(
        "--subjects-from",
        metavar="FILE",
        help="A file with a person on each line.",
        exists=True,
        dir_okay=False,
    ),
]
HoldId = Annotated[UUID, typer.Argument(metavar="HOLD", help="The hold's id.")]


@command(
    holds_group,
    f"cdv holds place LG-2026-0815 --owner legal-dept --review 2027-03-01 --subject {SUBJECT}",
    "cdv holds place LG-2026-0815 --owner legal-dept --review 2027-03-01 --subjects-from ids.txt "
    "--field 'purchase.*' --field email --since 2026-01-01 --until 2026-06-30 --also-for accounting",
)
async def place(
    session: Session,
    matter: Annotated[str, typer.Argument(metavar="MATTER", help="The matter, as a file number; not a person's name.")],
    owner: Annotated[str, typer.Option(metavar="REF", help="Its owner, as a reference: a department, a staff number.")],
    review: Annotated[datetime, day(help="When to review whether it is still needed.")],
    subject: People = None,
    subjects_from: PeopleFile = None,
    purpose: Annotated[
        str, typer.Option(metavar="NAME", help="Purpose for which the data may be read.")
    ] = "legal-claims",
    also_for: Annotated[
        Names, typer.Option(metavar="NAME", help="Another purpose that is still allowed; may be repeated.")
    ] = None,
    field: Annotated[
        Names,
        typer.Option(
            metavar="NAME", help="A field or collection that it covers; may be repeated.", show_default="everything"
        ),
    ] = None,
    since: Annotated[datetime | None, day(help="The first day of the records it covers.")] = None,
    until: Annotated[datetime | None, day(help="The last day of the records it covers.")] = None,
) -> None:
    """Place a hold: the data that it covers is not deleted, and only read for the hold's purposes."""
    draft = manage.HoldDraft(
        matter=matter,
        owner=owner,
        purpose=purpose,
        subjects=await _people(session, subject, subjects_from),
        review_on=review.date(),
        also_for=also_for or (),
        fields=field or ("*",),
        since=_day(since),
        until=_day(until),
    )
    placed = await manage.place_hold(session.services, session.caller, draft)
    session.show(placed, f"Placed as {placed.id}: {_covers(placed.people)}, to be reviewed on {placed.review_on}.")


@command(
    holds_group,
    f"cdv holds change {HOLD} --review 2027-09-01",
    f"cdv holds change {HOLD} --subject {SUBJECT} --also-for accounting",
)
async def change(
    session: Session,
    hold: HoldId,
    owner: Annotated[str | None, typer.Option(metavar="REF", help="The new owner.")] = None,
    review: Annotated[datetime | None, day(help="The new review date.")] = None,
    also_for: Annotated[
        Names, typer.Option(metavar="NAME", help="All further purposes that are allowed; may be repeated.")
    ] = None,
    subject: People = None,
    subjects_from: PeopleFile = None,
    remove: Annotated[list[UUID] | None, option(help="A person to remove; may be repeated.")] = None,
) -> None:
    """Change a hold's owner, review date, further purposes, or the people that it covers."""
    changes = manage.HoldChanges(
        owner=owner,
        review_on=_day(review),
        also_for=also_for,
        add=await _people(session, subject, subjects_from),
        remove=await _people(session, remove, None),
    )
    changed = await manage.change_hold(session.services, session.caller, hold, changes)
    session.show(changed, f"Changed: {_covers(changed.people)}, to be reviewed on {changed.review_on}.")


@command(holds_group, f"cdv holds lift {HOLD} --reason judgment-of-2027-02-11")
async def lift(
    session: Session,
    hold: HoldId,
    reason: Annotated[str, typer.Option(metavar="REF", help="The reason, as a reference; not a person's name.")],
) -> None:
    """Lift a hold. A running server, or `cdv jobs run`, resumes the erasures that waited for it."""
    lifted = await manage.lift_hold(session.services, session.caller, hold, reason=reason)
    session.show(lifted, f"Lifted: it covered {_covers(lifted.people)}.")


@command(holds_group, "cdv holds list", "cdv holds list --due", "cdv holds list --all --json", name="list")
async def list_all_holds(
    session: Session,
    due: Annotated[bool, typer.Option("--due", help="Only those that are due for review.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Include lifted holds.")] = False,
) -> None:
    """List holds, by their review date."""
    which: manage.Which = "due" if due else "all" if everything else "active"
    page = await manage.list_holds(session.services, session.caller, which=which, limit=manage.PAGE_LIMIT)
    today = datetime.now(UTC).date()
    session.show_table(
        page.holds,
        ("hold", "matter", "owner", "purpose", "people", "covers", "review", ""),
        (_row(hold, today) for hold in page.holds),
        empty="no hold is due for review" if due else "no holds",
        then=None if page.next is None else "There are more; GET /v1/holds lists all.",
    )


@command(holds_group, f"cdv holds show {HOLD}")
async def show(session: Session, hold: HoldId) -> None:
    """Show a hold and the people that it covers."""
    details = await manage.show_hold(session.services, session.caller, hold)
    values = {name: value for name, value in details if value and name != "subjects"}
    rows = [(name, ", ".join(value) if isinstance(value, tuple) else value) for name, value in values.items()]
    shown = ", ".join(str(subject) for subject in details.subjects[:IDS_SHOWN])
    more = len(details.subjects) - IDS_SHOWN
    rows.append(("covers", shown + (f" and {more:,} more (--json lists all)" if more > 0 else "")))
    session.show_table(details, ("", ""), rows, empty="")


def _covers(people: int) -> str:
    return counted(people, "person", "people")


async def _people(session: Session, ids: list[UUID] | None, file: Path | None) -> list[SubjectId]:
    """Return the people that the options name, and those in a file."""
    people = [SubjectId(id_) for id_ in ids or ()]
    for number, line in _lines(file):
        try:
            people.append(SubjectId(await resolved(read_subject(line, ask=False), session)))
        except (typer.BadParameter, VaultError) as error:
            raise InvalidInput(
                f"line {number} of the file names no person", code="invalid-hold", hint=getattr(error, "hint", None)
            ) from None
    return people


def _lines(file: Path | None) -> list[tuple[int, str]]:
    """Return the lines of a file that are not empty, with their numbers."""
    if file is None:
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def _row(hold: Hold, today: date) -> tuple[object, ...]:
    state = "lifted" if hold.state == "lifted" else "DUE" if hold.review_on <= today else ""
    covers = " ".join(hold.fields)
    if hold.since is not None or hold.until is not None:
        covers += f" of {hold.since or '…'} to {hold.until or '…'}"
    return hold.id, hold.matter, hold.owner, hold.purpose, hold.people, covers, hold.review_on, state
