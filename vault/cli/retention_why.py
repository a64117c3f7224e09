"""``cdv retention why``: until when values are kept, drawn as a bar for each ground over the years."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from vault.context import House
    from vault.ids import TenantId
    from vault.retention.why_shapes import Ground, Kept, Why

SUBJECT = "0199aabb-0000-7000-8000-000000000001"
WIDTH = 48
"""Characters of a bar."""
STATES = {
    "kept": "kept",
    "over": "over: the next sweep comes for it",
    "demanded": "over, and kept because a law demands it",
    "held": "under a legal hold: nothing deletes it",
    "in-review": "over, and waits for a decision",
    "restricted": "over: stored and not used",
}
IDLE = {
    "consent-missing": "no consent",
    "not-in-force": "not in force",
    "ended": "ended before the value came in",
    "not-brought-about": "no record that the law is about",
}


def register(group: typer.Typer) -> None:
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

    async def work(house: House, its: TenantId) -> Why:
        from vault.access.operator import at_the_console
        from vault.ids import SubjectId
        from vault.retention.explain import why

        return await why(house, at_the_console(its), SubjectId(subject), field, record)

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
    typer.echo(f"  until {_end(kept.until)}, then {kept.then}   by {kept.by}   [{STATES[kept.state]}]")
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


def picture(kept: Kept, today: date) -> Iterator[str]:
    """Draw a bar for each ground from the value's start to the ground's end, with today marked."""
    ends = [*(each.until for each in kept.grounds), *(each.until for each in kept.limits), kept.until]
    known = [each for each in ends if each is not None]
    first, last = min(kept.starts, today), max([*known, kept.starts, today])
    scale = _Scale(first, last)
    yield f"  {'':24}{first.year}{' ' * (WIDTH - 8)}{last.year}"
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
        return min(max((day.toordinal() - self._first) * (WIDTH - 1) // self._days, 0), WIDTH - 1)

    def bar(self, start: date, end: date | None, mark: str | None) -> str:
        """Draw from a day to another; an arrow where there is no end yet."""
        from_column = self.at(start)
        to_column = WIDTH - 1 if end is None else max(self.at(end), from_column)
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
