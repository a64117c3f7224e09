"""``cdv subjects``: find and merge duplicate subjects."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import track

from vault.cli.command import command, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import Session
from vault.ids import SubjectId
from vault.merging.duplicates import STEPS, find_pairs
from vault.merging.merge import MergeRequest, merge_authorized

if TYPE_CHECKING:
    from vault.merging.duplicates import Pair

TIMEOUT = 30.0
"""Seconds for one statement: a 256th of a large index is more work than a request."""

group = make_group(
    "cdv subjects duplicates --limit 100",
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
    survivor: Annotated[UUID, typer.Argument(metavar="SURVIVOR", help="The id to keep.")],
    duplicate: Annotated[UUID, typer.Argument(metavar="DUPLICATE", help="The id to merge into it.")],
    evidence: Annotated[
        str, typer.Option(metavar="TEXT", help="Why they are the same person; stored sealed in the audit log.")
    ],
) -> None:
    """Merge two subjects that are one person; irreversible. Run it again to complete an interrupted merge."""
    request = MergeRequest(SubjectId(survivor), SubjectId(duplicate), evidence)
    merged = await merge_authorized(session.services, session.caller, request)
    if session.as_json:
        emit({**merged.as_json(), "created": merged.created})
        return
    if not merged.created:
        note("They were merged already; the keys of the second are destroyed.")
        return
    note(f"{merged.records} records and {merged.consents} consent events moved.")
    if merged.same:
        note(f"{merged.same} records were the same in both.")
    if merged.apart:
        note(f"{merged.apart} records moved without their external id, which another record has.")
    if merged.conflicts:
        note(f"Both had a value; the survivor's was kept: {', '.join(merged.conflicts)}.")


@command(group, "cdv subjects duplicates --limit 100 --json", database_timeout=TIMEOUT)
async def duplicates(
    session: Session,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="Maximum number of pairs.")] = 1_000,
) -> None:
    """List likely duplicates: ids, a score, and the matching fields; no values."""
    found: list[Pair] = []
    console = Console(stderr=True, quiet=session.as_json or not sys.stderr.isatty())
    async with aclosing(find_pairs(session.services, session.caller)) as steps:
        for _step in track(range(STEPS), "comparing", console=console, transient=True):
            found += await anext(steps)
            if len(found) >= limit:
                break
    del found[limit:]
    if session.as_json:
        emit([pair._asdict() for pair in found])
        return
    rows = [(pair.one, pair.other, pair.score, " ".join(pair.matched)) for pair in found]
    show_table(("one", "other", "score", "matching"), rows, empty="no likely duplicates found")
    if len(found) == limit:
        note(f"There may be more than {limit:,} pairs; --limit shows more.")
