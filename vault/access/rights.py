"""Rights on the vault's own resources (``vault:audit``, ``vault:principals`` …), by the same policies as fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.access.authorization import entry
from vault.access.operator import OPERATOR
from vault.errors import Denied

if TYPE_CHECKING:
    from vault.audit.entry import Action
    from vault.context import Caller, House


async def require_right(house: House, caller: Caller, resource: str, verb: str, *, audited_as: Action) -> None:
    """Go on only where a role of the caller's has a right on a resource of the vault itself.

    The command line is asked for none: whoever uses it holds the vault's folder and its root key.

    Raises:
        Denied: no role has it; that is on the audit log before it is raised.
    """
    if caller.principal.id == OPERATOR:
        return
    active = house.policies.active(caller.tenant)
    verdict = active.decisions.may(caller.principal.roles, resource, verb)
    if verdict.granted:
        return
    made = entry(
        house,
        caller,
        action=audited_as,
        decision="denied",
        code=verdict.code,
        rule=verdict.rule,
        policy=active.version,
    )
    await house.ledger.append(made)
    raise Denied(verdict.detail, code=verdict.code, audit=str(made.id))
