"""The brake of a sweep: one that would take something from unusually many people has to be confirmed first.

A rule that was shortened or taken out by mistake, a purpose that got another name, or a clock that is years ahead ends
what nobody meant to end. Nothing of that is served any more, and it is still there: mended policies bring it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from vault import logs
from vault.access.authorization import audit_entry
from vault.access.callers import system_caller
from vault.sweep.store import save_sweep

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Services
    from vault.ids import TenantId
    from vault.sweep.store import SweepRun

FEW: Final = 10
"""From so many people a sweep may take something, however few there are."""
TO_CONFIRM: Final = "to-confirm"
"""The code of a sweep that waits, on the audit log."""
CONFIRMED: Final = "confirmed"
REQUEST_ID: Final = "sweep"

log = logs.get_logger()


class PoliciesChanged(Exception):
    """Other policies are in force than those by which people were seen; a sweep begins anew by these."""


def most_of(people: int, percent: int) -> int:
    """Return from how many people a sweep may take something without being confirmed.

    Args:
        people: so many there are.
        percent: the share of them.
    """
    return max(FEW, people * percent // 100)


async def check_policies(
    services: Services, connection: AsyncConnection, tenant: TenantId, seen_by: AbstractSet[str]
) -> None:
    """Make sure that nothing is taken away by policies that are not in force any more, here or anywhere.

    Args:
        seen_by: the versions by which people were seen.

    Raises:
        PoliciesChanged: others are in force.
    """
    newest = await services.policies.is_newest(connection, tenant)
    if not newest or seen_by - {services.policies.active(tenant).version}:
        raise PoliciesChanged


async def log_held_up(services: Services, connection: AsyncConnection, tenant: TenantId, run: SweepRun) -> None:
    """Tell those who run the vault, and the audit log, that a sweep waits to be confirmed."""
    if run.check is None:
        return
    log.error(
        "a sweep would take something from unusually many people, and waits: cdv retention sweep --confirm",
        tenant=tenant,
        count=run.check.people,
    )
    caller = system_caller(tenant, REQUEST_ID)
    facts = {"decision": "failed", "code": TO_CONFIRM, "target": run.id, "policy": run.policy}
    await services.audit_log.append_in(connection, [audit_entry(services, caller, action="sweep", **facts)])


async def confirmed(services: Services, connection: AsyncConnection, tenant: TenantId, run: SweepRun) -> SweepRun:
    """Let a sweep that this process is at take something from however many people, and put that on record.

    Args:
        run: the sweep, which is taken.
    """
    version = services.policies.active(tenant).version
    run = replace(run, confirmed=version)
    await save_sweep(connection, tenant, run)
    caller = system_caller(tenant, REQUEST_ID)
    facts = {"decision": "allowed", "code": CONFIRMED, "target": run.id, "policy": version}
    await services.audit_log.append_in(connection, [audit_entry(services, caller, action="sweep", **facts)])
    return run
