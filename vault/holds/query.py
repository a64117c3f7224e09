"""Legal holds: list them, and show the subjects that one covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.errors import InvalidInput
from vault.holds.manage import RESOURCE, hold_not_found
from vault.holds.views import Hold, HoldDetails, HoldPage
from vault.retention import holds as store

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import Caller, Services

Which = Literal["active", "due", "lifted", "all"]
MOST: Final = 200
_STATES: Final[dict[Which, tuple[store.State, ...]]] = {
    "active": ("active",),
    "due": ("active",),
    "lifted": ("lifted",),
    "all": ("active", "lifted"),
}


@audited("read-holds")
async def list_holds(
    services: Services, caller: Caller, *, which: Which = "active", after: UUID | None = None, limit: int = 50
) -> HoldPage:
    """List holds, the next due for review first.

    Args:
        which: active holds; those of them whose review is due; lifted holds; or all.
        after: the last hold of the previous page.
        limit: 1 to 200.

    Raises:
        Denied: the caller may not see holds.
        InvalidInput: the limit is not within 1 to 200.
        NotFound: there is no hold with the id ``after``.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} holds", code="invalid-page")
    await require_permission(services, caller, RESOURCE, "read", audit_action="read-holds")
    due_by = services.clock.now().date() if which == "due" else None
    async with services.data.reading() as connection:
        last = None if after is None else await store.find_hold(connection, caller.tenant, after)
        if after is not None and last is None:
            raise hold_not_found()
        holds = await store.list_holds(
            connection, caller.tenant, states=_STATES[which], due_by=due_by, after=last, limit=limit + 1
        )
    await services.audit_log.append(audit_entry(services, caller, action="read-holds", decision="allowed"))
    cursor = holds[limit - 1].id if len(holds) > limit else None
    return HoldPage(holds=[Hold.of(hold) for hold in holds[:limit]], next=cursor)


@audited("read-holds")
async def show_hold(services: Services, caller: Caller, hold_id: UUID) -> HoldDetails:
    """Show a hold and the subjects that it covers.

    Raises:
        Denied: the caller may not see holds.
        NotFound: there is no such hold.
    """
    await require_permission(services, caller, RESOURCE, "read", audit_action="read-holds")
    async with services.data.reading() as connection:
        hold = await store.find_hold(connection, caller.tenant, hold_id)
        if hold is None:
            raise hold_not_found()
        subjects = await store.subjects_of(connection, caller.tenant, hold_id)
    entry = audit_entry(services, caller, action="read-holds", decision="allowed", target=hold_id)
    await services.audit_log.append(entry)
    return HoldDetails.with_subjects(hold, subjects)
