"""``cdv retention reviews`` and ``cdv retention decide``: values whose time is up and that wait for somebody."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - typer reads the annotations
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID  # noqa: TC003 - as above

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant

if TYPE_CHECKING:
    from vault.context import House
    from vault.ids import TenantId
    from vault.retention.retention_reviews import Reason, ReviewPage
    from vault.retention.reviews import Review, State

REVIEW = "0199aabb-0000-7000-8000-000000000001"


class Which(StrEnum):
    """What becomes of a value."""

    erase = "erase"
    keep = "keep"


class Why(StrEnum):
    """Why a value is kept on."""

    claim = "claim"
    dispute = "dispute"
    ask_person = "ask-person"
    other = "other"


WHY: dict[Why, Reason] = {each: each.value for each in Why}


def register(group: typer.Typer) -> None:
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

    async def work(house: House, its: TenantId) -> ReviewPage:
        from vault.access.operator import at_the_console
        from vault.retention.retention_reviews import MOST, list_reviews

        states: tuple[State, ...] = ("keep", "erase") if decided else ("open",)
        return await list_reviews(house, at_the_console(its), states=states, after=after, limit=MOST)

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
    reason: Annotated[Why | None, typer.Option("--reason", help="With keep: why.", show_default="none")] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Decide about a value whose time is up: it goes with the next sweep, or is kept until a day."""
    day = None if until is None else until.date()

    async def work(house: House, its: TenantId) -> Review:
        from vault.access.operator import at_the_console
        from vault.retention.retention_reviews import decide_review

        why = None if reason is None else WHY[reason]
        return await decide_review(house, at_the_console(its), review, decision=decision.value, until=day, reason=why)

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
    return "to be decided" if review.kind == "review" else "stored, not used"


def _told(review: Review) -> dict[str, Any]:
    told = review._asdict() | {"field": review.name}
    told.pop("collection")
    return told
