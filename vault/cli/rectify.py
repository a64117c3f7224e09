"""``cdv rectify``: corrections and disputes of personal data; shows field names and dates, no values."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer

from vault.cli.command import command, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import Session
from vault.ids import SubjectId
from vault.rectification.accuracy import dispute as note_dispute
from vault.rectification.accuracy import resolve_dispute
from vault.rectification.query import list_rectifications

SUBJECT = "0199aabb-0000-7000-8000-000000000001"
DISPUTE = "0199aabb-0000-7000-8000-000000000002"

group = make_group(
    f"cdv rectify list {SUBJECT}",
    f"cdv rectify dispute {SUBJECT} --field address --statement 'never lived there'",
)


class Verdict(StrEnum):
    """The decision on a dispute."""

    upheld = "upheld"
    refused = "refused"


Subject = Annotated[UUID, typer.Argument(metavar="SUBJECT", help="The person's id.")]


@command(group, f"cdv rectify list {SUBJECT}", name="list")
async def list_(
    session: Session,
    subject: Subject,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="COUNT", min=1, max=200, help="Maximum number of entries.")
    ] = 50,
) -> None:
    """List corrections, statements and disputes, the oldest first: names of fields and dates."""
    page = await list_rectifications(session.services, session.caller, SubjectId(subject), limit=limit)
    names = [f"{row.collection}.{row.field}" for row in page.results]
    if session.as_json:
        # Unlike in the API, `field` includes the collection here.
        emit([{**row.as_json(), "field": name} for row, name in zip(page.results, names, strict=True)])
        return
    rows = [(row.at, name, row.state, row.closed_at, row.id) for row, name in zip(page.results, names, strict=True)]
    show_table(("at", "field", "state", "decided", "id"), rows, empty="no corrections and no disputes")


@command(group, f"cdv rectify dispute {SUBJECT} --field address --statement 'never lived there' --restrict")
async def dispute(
    session: Session,
    subject: Subject,
    field: Annotated[
        list[str], typer.Option("--field", metavar="NAME", help="A field of the profile; may be repeated.")
    ],
    statement: Annotated[str, typer.Option("--statement", metavar="TEXT", help="The person's statement; sealed.")],
    restrict: Annotated[bool, typer.Option("--restrict", help="Restrict the data until the decision.")] = False,
) -> None:
    """Record that a person disputes values (Arts. 16 and 18(1)(a))."""
    disputed = await note_dispute(
        session.services, session.caller, SubjectId(subject), fields=field, statement=statement, restrict=restrict
    )
    if session.as_json:
        emit(disputed.as_json())
        return
    for name, id_ in disputed.disputes.items():
        note(f"{name} is disputed: {id_}")
    note(f"The person's data is {disputed.state}.")


@command(group, f"cdv rectify resolve {SUBJECT} {DISPUTE} --as refused --reason 'shown by the contract'")
async def resolve(
    session: Session,
    subject: Subject,
    dispute: Annotated[UUID, typer.Argument(metavar="DISPUTE", help="The dispute's id.")],
    verdict: Annotated[Verdict, typer.Option("--as", help="The decision.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in one line; sealed.")],
) -> None:
    """Decide a dispute: upheld (the value is wrong and must be corrected) or refused (it is right)."""
    who = session.caller
    resolved = await resolve_dispute(
        session.services, who, SubjectId(subject), dispute, verdict=verdict.value, reason=reason
    )
    if session.as_json:
        emit(resolved.as_json())
    else:
        note(f"{resolved.id} is {resolved.state}.")
