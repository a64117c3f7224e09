"""Which job carries out which kind of request, and what is under way and needs one.

This stands beside the packages of operations and not in one of them, because it alone knows them all.

The vault's durable jobs: which there are, what they have yet to do, and how they stand.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from vault.access.authorization import audit_entry, require_permission
from vault.access.callers import system_caller
from vault.access.idempotency import forget_old
from vault.access.recording import audited
from vault.consent.expiry import expire_lapsed
from vault.erasure.kind import ERASURE
from vault.errors import InvalidInput, VaultError
from vault.export.kinds import ACCESS, PORTABILITY
from vault.export.store import expire_packages
from vault.holds.resume_erasures import RESUME, pending_resumes
from vault.identity.sessions import forget_identity
from vault.jobs.views import Job, JobList, JobState
from vault.jobs.workflow import Plan, Sweep, Work, Workflow
from vault.letters.about_requests import LETTERS, tell_completed
from vault.recipients.delivery import NOTIFY, pending_notices
from vault.recipients.notices import chase_recipients
from vault.rectification.correct import RECTIFICATION
from vault.requests.consent_changes import OBJECTION, RESTRICTION, WITHDRAWAL
from vault.requests.execution import complete_request, expire_requests, guarded, start_request
from vault.requests.model import UNDER_WAY
from vault.requests.review import REVIEW
from vault.requests.store import list_requests
from vault.sweep.workflow import SWEEP, begin_sweeps, pending_sweeps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping
    from uuid import UUID

    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.requests.kind import RequestKind
    from vault.requests.model import Request


PAGE: Final = 200


class Pending(NamedTuple):
    """A job that ought to be there: the name of its workflow, and what it works on."""

    workflow: str
    tenant: TenantId
    id: UUID
    run: int


REQUEST_KINDS: Final[Mapping[str, RequestKind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            ACCESS,
            PORTABILITY,
            RECTIFICATION,
            ERASURE,
            RESTRICTION,
            OBJECTION,
            WITHDRAWAL,
            REVIEW,
        )
    }
)
"""Every kind of request, by name."""


def _request_workflow(kind: RequestKind) -> Workflow:
    """Return the job of a request: start it, do the steps of its kind, complete it, and inform the person."""
    if kind.completed_by_staff:
        return Workflow(kind.name, (("start", start_request),))
    steps = tuple((name, guarded(step)) for name, step in kind.steps)
    letter = (("tell", tell_completed),) if kind.sends_letter else ()
    return Workflow(kind.name, (("start", start_request), *steps, ("complete", complete_request), *letter))


REQUEST_WORKFLOWS: Final[Mapping[str, Workflow]] = {
    **{name: _request_workflow(kind) for name, kind in REQUEST_KINDS.items()},
    **LETTERS,
    RESUME.name: RESUME,
}
"""The jobs that work on a request: its own, named after its kind; letters about it; an erasure resumed after a hold."""


async def pending(services: Services) -> list[Pending]:
    """List the requests that ought to have a job, and the erasures that a hold has stopped, of all tenants."""
    found: list[Pending] = []
    for tenant in await services.keyring.tenants():
        after: tuple[str, UUID] | None = None
        while True:
            async with services.data.reading() as connection:
                page = await list_requests(connection, tenant, states=UNDER_WAY, after=after, limit=PAGE)
            found += [Pending(each.kind, tenant, each.id, each.run) for each in page if _needs_job(each)]
            if len(page) < PAGE:
                break
            after = (page[-1].due.on.isoformat(), page[-1].id)
    return [*found, *(Pending(*each) for each in await pending_resumes(services))]


def _needs_job(request: Request) -> bool:
    return not REQUEST_KINDS[request.kind].completed_by_staff or request.state == "approved"


WORKFLOWS: Final[Mapping[str, Workflow]] = {**REQUEST_WORKFLOWS, NOTIFY.name: NOTIFY, SWEEP.name: SWEEP}
"""All jobs by their names."""
STATES: Final[tuple[JobState, ...]] = get_args(JobState)
OPEN: Final[tuple[JobState, ...]] = ("pending", "waiting", "running", "failed")
"""States of jobs that are not done."""
MOST: Final = 500
_MINUTE: Final = 60.0
_HOUR: Final = 3600.0


def plan_of(services: Services) -> Plan:
    """Make the plan for a process that runs jobs: the jobs, and what is done again and again besides."""

    async def pending() -> list[Work]:
        return await pending_work(services)

    async def consents() -> None:
        for tenant in await services.keyring.tenants():
            async for _ in expire_lapsed(services, system_caller(tenant)):
                pass

    sweeps = {
        "expire-requests": Sweep(10 * _MINUTE, lambda: expire_requests(services)),
        "expire-packages": Sweep(10 * _MINUTE, lambda: expire_packages(services)),
        "chase-recipients": Sweep(_HOUR, lambda: chase_recipients(services)),
        "expire-consents": Sweep(_HOUR, consents),
        "retention": Sweep(_HOUR, lambda: begin_sweeps(services)),
        "forget-answers": Sweep(10 * _MINUTE, lambda: forget_old(services)),
        "forget-codes": Sweep(_HOUR, lambda: forget_identity(services)),
    }
    return Plan(WORKFLOWS, pending, sweeps)


async def pending_work(services: Services, tenant: TenantId | None = None) -> list[Work]:
    """List all that jobs have yet to do, whether or not they were begun.

    Args:
        tenant: whose; none: everybody's.
    """
    found = [Work(*each) for ask in (pending, pending_notices, pending_sweeps) for each in await ask(services)]
    return [each for each in found if tenant is None or each.tenant == tenant]


@audited("read-jobs")
async def list_jobs(
    services: Services, caller: Caller, *, states: Collection[JobState] = OPEN, of: UUID | None = None, limit: int = 50
) -> JobList:
    """List the jobs of the caller's tenant: those that are not started yet, then the newest first.

    Args:
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
    await require_permission(services, caller, "vault:jobs", "read", audit_action="read-jobs")
    found = await services.jobs.find(WORKFLOWS, caller.tenant, states=states, of=of, limit=limit)
    if "pending" in states:
        found = [*await _not_begun(services, caller.tenant, of), *found]
    made = audit_entry(services, caller, action="read-jobs", decision="allowed")
    await services.audit_log.append(made)
    return JobList(jobs=found[:limit], audit=made.id)


async def _not_begun(services: Services, tenant: TenantId, of: UUID | None) -> list[Job]:
    pending = [each for each in await pending_work(services, tenant) if of is None or each.id == of]
    if not pending:
        return []
    # What waits or has failed is as pending as what was never begun: it is listed as what it is.
    begun = await services.jobs.find(WORKFLOWS, tenant, states=OPEN, of=of, limit=MOST + len(pending))
    known = {(each.workflow, each.id, each.run) for each in begun}
    return [_pending(each) for each in pending if (each.workflow, each.id, each.run) not in known]


def _pending(work: Work) -> Job:
    workflow = WORKFLOWS.get(work.workflow)
    step = workflow.steps[0][0] if workflow is not None else None
    return Job(
        workflow=work.workflow,
        tenant=work.tenant,
        id=work.id,
        run=work.run,
        state="pending",
        step=step,
        attempts=0,
        since=None,
        next_at=None,
        code=None,
    )


class Ended(NamedTuple):
    """How a job ended that was run in the foreground."""

    work: Work
    seconds: float | None
    """After how many seconds it wants to go on; none: it is done, or has failed."""
    code: str | None
    """Why it failed."""


async def work_off(
    services: Services, tenant: TenantId | None = None, *, watch: Callable[[Work, str], None] | None = None
) -> AsyncIterator[Ended]:
    """Run what is pending in the foreground, one after the other; a job that fails does not keep others from running.

    Args:
        tenant: whose; none: everybody's.
        watch: is told each job and step before it begins.
    """
    for work in await pending_work(services, tenant):

        def step_begins(step: str, work: Work = work) -> None:
            if watch is not None:
                watch(work, step)

        try:
            workflow = WORKFLOWS[work.workflow]
            seconds = await services.jobs.run_in_foreground(services, workflow, work.tenant, work.id, watch=step_begins)
            yield Ended(work, seconds, None)
        except VaultError as error:
            yield Ended(work, None, error.code)
