"""See holds: which there are, which are due for review, and whom one covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.errors import InvalidInput
from vault.holds.manage import RESOURCE, no_hold
from vault.retention import holds as hold_store

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import Caller, Services
    from vault.ids import SubjectId
    from vault.retention.holds import Hold, State

Which = Literal["active", "due", "lifted", "all"]
MOST: Final = 200
_STATES: Final[dict[Which, tuple[State, ...]]] = {
    "active": ("active",),
    "due": ("active",),
    "lifted": ("lifted",),
    "all": ("active", "lifted"),
}


class HoldPage(NamedTuple):
    """Some holds, the next due for review first, and the one to go on after."""

    holds: list[Hold]
    next: UUID | None


class HoldShown(NamedTuple):
    """A hold and whom it covers."""

    hold: Hold
    subjects: list[SubjectId]


def told(hold: Hold) -> dict[str, Any]:
    """Tell what a hold says, by the names that every door uses."""
    return {
        "id": hold.id,
        "state": hold.state,
        "matter": hold.matter,
        "owner": hold.owner,
        "purpose": hold.purpose,
        "also_for": hold.also_for,
        "fields": hold.names,
        "since": hold.since,
        "until": hold.until,
        "review_on": hold.review_on,
        "people": hold.people,
        "placed_at": hold.placed_at,
        "lifted_at": hold.lifted_at,
        "reason": hold.because,
    }


@audited("read-holds")
async def list_holds(
    services: Services, caller: Caller, *, which: Which = "active", after: UUID | None = None, limit: int = 50
) -> HoldPage:
    """List holds, the next due for review first.

    Args:
        which: those that stand; of these, those whose day of review has come; those that were lifted; or all.
        after: the last one of the page before.
        limit: at most so many.

    Raises:
        Denied: no role of the caller's may see holds.
        InvalidInput: the limit is out of 1 to 200.
        NotFound: there is no hold to go on after.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} holds", code="invalid-page")
    await require_permission(services, caller, RESOURCE, "read", audit_action="read-holds")
    due_by = services.clock.now().date() if which == "due" else None
    async with services.data.reading() as connection:
        last = None if after is None else await hold_store.find_hold(connection, caller.tenant, after)
        if after is not None and last is None:
            raise no_hold()
        found = await hold_store.list_holds(
            connection, caller.tenant, states=_STATES[which], due_by=due_by, after=last, limit=limit + 1
        )
    await services.audit_log.append(audit_entry(services, caller, action="read-holds", decision="allowed"))
    return HoldPage(found[:limit], found[limit - 1].id if len(found) > limit else None)


@audited("read-holds")
async def show_hold(services: Services, caller: Caller, hold: UUID) -> HoldShown:
    """Show a hold and whom it covers.

    Raises:
        Denied: no role of the caller's may see holds.
        NotFound: there is no such hold.
    """
    await require_permission(services, caller, RESOURCE, "read", audit_action="read-holds")
    async with services.data.reading() as connection:
        found = await hold_store.find_hold(connection, caller.tenant, hold)
        if found is None:
            raise no_hold()
        people = await hold_store.people_of(connection, caller.tenant, hold)
    await services.audit_log.append(audit_entry(services, caller, action="read-holds", decision="allowed", target=hold))
    return HoldShown(found, people)
