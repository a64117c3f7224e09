"""An app may follow, and take back, the requests that it brought in itself, without the right to see others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.access.callers import THE_PERSON
from vault.access.rights import require_right
from vault.requests.store import find_request

if TYPE_CHECKING:
    from uuid import UUID

    from vault.audit.entry import Action
    from vault.context import Caller, House
    from vault.requests.model import Request

RESOURCE = "vault:requests"


async def require_own_or(house: House, caller: Caller, request: UUID, verb: str, *, audited_as: Action) -> bool:
    """Go on where a role of the caller's has a right on requests, or where the caller brought this one in.

    Returns:
        whether the caller has the right; false: it is only its own.

    Raises:
        Denied: neither; that is on the audit log before it is raised.
    """
    decisions = house.policies.active(caller.tenant).decisions
    roles = caller.principal.roles
    if not decisions.may(roles, RESOURCE, verb).granted and decisions.may(roles, RESOURCE, "submit").granted:
        async with house.data.reading() as connection:
            kept = await find_request(connection, caller.tenant, request)
        if kept is not None and _is_own(caller, kept.request):
            return False
    await require_right(house, caller, RESOURCE, verb, audited_as=audited_as)
    return True


def _is_own(caller: Caller, request: Request) -> bool:
    """Tell whether a caller brought a request in. All people in their sessions are one caller: it is none of theirs."""
    return request.recorder == caller.principal.id and caller.principal.id != THE_PERSON
