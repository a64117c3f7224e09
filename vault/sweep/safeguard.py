"""The safeguard of a sweep: one that would erase values of unusually many people has to be confirmed first.

A rule that was shortened or removed by mistake, a purpose that was renamed, or a clock that is years ahead ends periods
unintentionally. Such values are no longer served, but they are still stored: corrected policies bring them back.
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
"""A sweep may always erase values of so many people without a confirmation."""
TO_CONFIRM: Final = "to-confirm"
"""Code of a waiting sweep in the audit log."""
CONFIRMED: Final = "confirmed"
REQUEST_ID: Final = "sweep"

log = logs.get_logger()


class PoliciesChanged(Exception):
    """Other policies are in force than those of the evaluation; the sweep starts over with them."""


def most_of(people: int, percent: int) -> int:
    """Return of how many people a sweep may erase values without a confirmation.

    Args:
        people: the number of all people.
        percent: the permitted share of them.
    """
    return max(FEW, people * percent // 100)


async def check_policies(
    services: Services, connection: AsyncConnection, tenant: TenantId, seen_by: AbstractSet[str]
) -> None:
    """Check that nothing is erased by policies that are no longer in force, on this node or another.

    Args:
        seen_by: the versions of the policies of the evaluations.

    Raises:
        PoliciesChanged: others are in force.
    """
    newest = await services.policies.is_newest(connection, tenant)
    if not newest or seen_by - {services.policies.active(tenant).version}:
        raise PoliciesChanged


async def log_held_up(services: Services, connection: AsyncConnection, tenant: TenantId, run: SweepRun) -> None:
    """Log, for operators and in the audit log, that a sweep waits for a confirmation."""
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
    """Confirm a sweep that this process has taken, whatever it erases, and write that to the audit log."""
    version = services.policies.active(tenant).version
    run = replace(run, confirmed=version)
    await save_sweep(connection, tenant, run)
    caller = system_caller(tenant, REQUEST_ID)
    facts = {"decision": "allowed", "code": CONFIRMED, "target": run.id, "policy": version}
    await services.audit_log.append_in(connection, [audit_entry(services, caller, action="sweep", **facts)])
    return run
