"""The vault's durable jobs: which there are, what they have yet to do, and how they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from vault import operations_workflows as requests
from vault.access.authorization import entry
from vault.access.callers import by_itself
from vault.access.idempotency import forget_old
from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.consent.expiry import expire_lapsed
from vault.errors import InvalidInput, VaultError
from vault.export.expire import expire_packages
from vault.identity.forget import forget_identity
from vault.jobs.state import Job, State
from vault.jobs.workflow import Plan, Sweep, Work
from vault.recipients.chase import chase_recipients
from vault.recipients.delivery import NOTIFY, pending_notices
from vault.requests.expiry import expire_requests
from vault.sweep.workflow import SWEEP, begin_sweeps, pending_sweeps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping
    from uuid import UUID

    from vault.context import Caller, House
    from vault.ids import TenantId
    from vault.jobs.workflow import Workflow

WORKFLOWS: Final[Mapping[str, Workflow]] = {**requests.WORKFLOWS, NOTIFY.name: NOTIFY, SWEEP.name: SWEEP}
"""All jobs by their names."""
STATES: Final[tuple[State, ...]] = get_args(State)
OPEN: Final[tuple[State, ...]] = ("pending", "waiting", "running", "failed")
"""States of jobs that are not done."""
MOST: Final = 500
_MINUTE: Final = 60.0
_HOUR: Final = 3600.0


class Listed(NamedTuple):
    """Jobs, and the audit entry of the looking."""

    jobs: list[Job]
    audit: UUID


def plan_of(house: House) -> Plan:
    """Make the plan for a process that runs jobs: the jobs, and what is done again and again besides."""

    async def pending() -> list[Work]:
        return await pending_work(house)

    async def consents() -> None:
        for tenant in await house.keyring.tenants():
            async for _ in expire_lapsed(house, by_itself(tenant)):
                pass

    sweeps = {
        "expire-requests": Sweep(10 * _MINUTE, lambda: expire_requests(house)),
        "expire-packages": Sweep(10 * _MINUTE, lambda: expire_packages(house)),
        "chase-recipients": Sweep(_HOUR, lambda: chase_recipients(house)),
        "expire-consents": Sweep(_HOUR, consents),
        "retention": Sweep(_HOUR, lambda: begin_sweeps(house)),
        "forget-answers": Sweep(10 * _MINUTE, lambda: forget_old(house)),
        "forget-codes": Sweep(_HOUR, lambda: forget_identity(house)),
    }
    return Plan(WORKFLOWS, pending, sweeps)


async def pending_work(house: House, tenant: TenantId | None = None) -> list[Work]:
    """List all that jobs have yet to do, whether or not they were begun.

    Args:
        house: the rooms.
        tenant: whose; none: everybody's.
    """
    found = [Work(*each) for ask in (requests.pending, pending_notices, pending_sweeps) for each in await ask(house)]
    return [each for each in found if tenant is None or each.tenant == tenant]


@on_record("read-jobs")
async def list_jobs(
    house: House, caller: Caller, *, states: Collection[State] = OPEN, of: UUID | None = None, limit: int = 50
) -> Listed:
    """List the jobs of the caller's tenant: what nobody has begun yet, then the newest first.

    Args:
        house: the rooms.
        caller: who asks.
        states: in which the jobs are.
        of: only those that work on this request or notice.
        limit: at most so many.

    Raises:
        Denied: no role of the caller's may see jobs.
        InvalidInput: the limit is out of 1 to 500.
        Unavailable: a database does not answer.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} jobs", code="invalid-page")
    await require_right(house, caller, "vault:jobs", "read", audited_as="read-jobs")
    found = await house.jobs.find(WORKFLOWS, caller.tenant, states=states, of=of, limit=limit)
    if "pending" in states:
        found = [*await _not_begun(house, caller.tenant, of), *found]
    made = entry(house, caller, action="read-jobs", decision="allowed")
    await house.ledger.append(made)
    return Listed(found[:limit], made.id)


async def _not_begun(house: House, tenant: TenantId, of: UUID | None) -> list[Job]:
    pending = [each for each in await pending_work(house, tenant) if of is None or each.id == of]
    if not pending:
        return []
    # What waits or has failed is as pending as what was never begun: it is listed as what it is.
    begun = await house.jobs.find(WORKFLOWS, tenant, states=OPEN, of=of, limit=MOST + len(pending))
    known = {(each.workflow, each.id, each.run) for each in begun}
    return [_pending(each) for each in pending if (each.workflow, each.id, each.run) not in known]


def _pending(work: Work) -> Job:
    workflow = WORKFLOWS.get(work.workflow)
    step = workflow.steps[0][0] if workflow is not None else None
    return Job(work.workflow, work.tenant, work.id, work.run, "pending", step, 0, None, None, None)


class Ended(NamedTuple):
    """How a job ended that was run in the foreground."""

    work: Work
    seconds: float | None
    """After how many seconds it wants to go on; none: it is done, or has failed."""
    code: str | None
    """Why it failed."""


async def work_off(
    house: House, tenant: TenantId | None = None, *, watch: Callable[[Work, str], None] | None = None
) -> AsyncIterator[Ended]:
    """Run what is pending in the foreground, one after the other; a job that fails does not keep others from running.

    Args:
        house: the rooms.
        tenant: whose; none: everybody's.
        watch: is told each job and step before it begins.
    """
    for work in await pending_work(house, tenant):

        def step_begins(step: str, work: Work = work) -> None:
            if watch is not None:
                watch(work, step)

        try:
            workflow = WORKFLOWS[work.workflow]
            seconds = await house.jobs.run_here(house, workflow, work.tenant, work.id, watch=step_begins)
            yield Ended(work, seconds, None)
        except VaultError as error:
            yield Ended(work, None, error.code)
