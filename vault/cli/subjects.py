"""``cdv subjects``: duplicate subjects. ``cdv rectify``: corrections and disputes. No values are shown."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import track

from vault.cli.command import SUBJECT, Reason, Session, command, make_group
from vault.cli.output import note
from vault.cli.subject import Subject, argument
from vault.ids import SubjectId
from vault.merging.duplicates import MOST_SHARING, STEPS, find_pairs
from vault.merging.merge import MergeRequest, merge_authorized
from vault.merging.shared import list_shared
from vault.merging.shared import settle as settle_contact
from vault.rectification.accuracy import Verdict, list_rectifications, resolve_dispute
from vault.rectification.accuracy import dispute as record_dispute
from vault.wording import counted

if TYPE_CHECKING:
    from vault.merging.duplicates import Pair

TIMEOUT = 30.0
"""Seconds for one statement: a 256th of a large index is more work than a request."""
DISPUTE = "0199aabb-0000-7000-8000-000000000002"

group = make_group(
    "cdv subjects duplicates --limit 100",
    "cdv subjects shared",
    "cdv subjects merge 0199aabb-… 0199ccdd-… --evidence 'ticket 4711'",
)


@command(
    group,
    "cdv subjects merge 0199aabb-… 0199ccdd-… --evidence 'ticket 4711: both are hers'",
    confirm="Merge the second into the first? This cannot be undone.",
    database_timeout=TIMEOUT,
)
async def merge(
    session: Session,
    survivor: Annotated[UUID, argument(metavar="SURVIVOR", help="The person to keep.")],
    duplicate: Annotated[UUID, argument(metavar="DUPLICATE", help="The person to merge into them.")],
    evidence: Annotated[
        str, typer.Option(metavar="TEXT", help="Why they are the same person; stored sealed in the audit log.")
    ],
) -> None:
    """Merge two subjects that are one person; irreversible. Run it again to complete an interrupted merge."""
    request = MergeRequest(SubjectId(survivor), SubjectId(duplicate), evidence)
    merged = await merge_authorized(session.services, session.caller, request)
    if merged.created:
        sentences = [f"{merged.records} records and {merged.consents} consent events moved."]
        if merged.same:
            sentences.append(f"{merged.same} records were the same in both.")
        if merged.apart:
            sentences.append(f"{merged.apart} records moved without their external id, which another record has.")
        if merged.conflicts:
            sentences.append(f"Both had a value; the survivor's was kept: {', '.join(merged.conflicts)}.")
    else:
        sentences = ["They were merged already; the keys of the second are destroyed."]
    session.show({**merged.as_json(), "created": merged.created}, *sentences)


@command(group, "cdv subjects duplicates --limit 100 --json", database_timeout=TIMEOUT)
async def duplicates(
    session: Session,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="Maximum number of pairs.")] = 1_000,
) -> None:
    """List likely duplicates: ids, a score, and the matching fields; no values."""
    pairs: list[Pair] = []
    too_common = 0
    console = Console(stderr=True, quiet=session.as_json or not sys.stderr.isatty())
    async with aclosing(find_pairs(session.services, session.caller)) as steps:
        for _step in track(range(STEPS), "comparing", console=console, transient=True):
            found = await anext(steps)
            pairs += found.pairs
            too_common += found.too_common
            if len(pairs) >= limit:
                break
    del pairs[limit:]
    if too_common:
        note(
            f"{counted(too_common, 'value')} (or beginnings of values) that more than {MOST_SHARING} people share were "
            "not compared; POST /v1/subjects/{subject}:duplicates compares one person by all of theirs"
        )
    rows = ((pair.one, pair.other, pair.score, " ".join(pair.matched)) for pair in pairs)
    session.show_table(
        [pair._asdict() for pair in pairs],
        ("one", "other", "score", "matching"),
        rows,
        empty=f"no likely duplicates found among values that at most {MOST_SHARING} people share",
        then=f"There may be more than {limit:,} pairs; --limit shows more." if len(pairs) == limit else None,
    )


@command(group, "cdv subjects shared", "cdv subjects shared --json", database_timeout=TIMEOUT)
async def shared(session: Session) -> None:
    """List e-mail addresses that several people share: ids, and how alike the people are; no values."""
    found = await list_shared(session.services, session.caller)
    rows = [
        (
            contact.id,
            contact.claimed_at,
            " ".join(str(person) for person in contact.people),
            contact.pairs[0].score if contact.pairs else "-",
        )
        for contact in found.results
    ]
    session.show_table(
        found.results,
        ("id", "last claimed", "people", "score"),
        rows,
        empty="no address is shared, as far as anyone has claimed one",
        then="There are more; settle or merge some of these first." if found.more else None,
    )


@command(group, f"cdv subjects settle {DISPUTE}")
async def settle(
    session: Session,
    contact: Annotated[UUID, typer.Argument(metavar="CONTACT", help="The id of a shared contact.")],
) -> None:
    """Record that people who share an e-mail address are different ones; one more person reopens it."""
    settled = await settle_contact(session.services, session.caller, contact)
    session.show(settled, f"{len(settled.people)} people share an address, and are different ones.")


rectify_group = make_group(
    f"cdv rectify list {SUBJECT}",
    f"cdv rectify dispute {SUBJECT} --field address --statement 'never lived there'",
)


@command(rectify_group, f"cdv rectify list {SUBJECT}", name="list")
async def list_rectified(
    session: Session,
    subject: Subject,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="COUNT", min=1, max=200, help="Maximum number of entries.")
    ] = 50,
) -> None:
    """List corrections, statements and disputes, the oldest first: names of fields and dates."""
    page = await list_rectifications(session.services, session.caller, SubjectId(subject), limit=limit)
    names = [f"{row.collection}.{row.field}" for row in page.results]
    # Unlike in the API, `field` includes the collection here.
    answer = [{**row.as_json(), "field": name} for row, name in zip(page.results, names, strict=True)]
    rows = [(row.at, name, row.state, row.closed_at, row.id) for row, name in zip(page.results, names, strict=True)]
    headings = ("at", "field", "state", "decided", "id")
    session.show_table(answer, headings, rows, empty="no corrections and no disputes")


@command(rectify_group, f"cdv rectify dispute {SUBJECT} --field address --statement 'never lived there' --restrict")
async def dispute(
    session: Session,
    subject: Subject,
    field: Annotated[list[str], typer.Option(metavar="NAME", help="A field of the profile; may be repeated.")],
    statement: Annotated[str, typer.Option(metavar="TEXT", help="The person's statement; sealed.")],
    restrict: Annotated[bool, typer.Option("--restrict", help="Restrict the data until the decision.")] = False,
) -> None:
    """Record that a person disputes values (Arts. 16 and 18(1)(a))."""
    disputed = await record_dispute(
        session.services, session.caller, SubjectId(subject), fields=field, statement=statement, restrict=restrict
    )
    sentences = [f"{name} is disputed: {id_}" for name, id_ in disputed.disputes.items()]
    session.show(disputed, *sentences, f"The person's data is {disputed.state}.")


@command(rectify_group, f"cdv rectify resolve {SUBJECT} {DISPUTE} --as refused --reason 'shown by the contract'")
async def resolve(
    session: Session,
    subject: Subject,
    dispute: Annotated[UUID, typer.Argument(metavar="DISPUTE", help="The dispute's id.")],
    verdict: Annotated[Verdict, typer.Option("--as", help="The decision.")],
    reason: Reason,
) -> None:
    """Decide a dispute: upheld (the value is wrong and must be corrected) or refused (it is right)."""
    resolved = await resolve_dispute(
        session.services, session.caller, SubjectId(subject), dispute, verdict=verdict, reason=reason
    )
    session.show(resolved, f"{resolved.id} is {resolved.state}.")
