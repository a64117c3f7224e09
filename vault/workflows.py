"""The registries of capabilities: durable jobs and periodic tasks, kinds of requests, and owners of personal data.

The one module that knows all capabilities.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from vault.access.authorization import audit_entry, require_permission
from vault.access.callers import system_caller
from vault.access.idempotency import forget_old
from vault.access.paging import check_page
from vault.access.recording import audited
from vault.consent.expiry import expire_lapsed
from vault.consent.personal_data import ConsentData
from vault.contacts.changes import forget_changes
from vault.contacts.personal_data import ContactData
from vault.erasure.workflow import ERASURE
from vault.errors import VaultError
from vault.export.build import ACCESS, PORTABILITY
from vault.export.store import ExportData, expire_packages
from vault.holds.personal_data import HoldData
from vault.holds.resume_erasures import RESUME, pending_resumes
from vault.identity.sessions import forget_identity
from vault.identity.tables import IdentityData
from vault.jobs.workflow import Job, JobList, JobState, Plan, Sweep, Work, Workflow
from vault.letters.about_requests import LETTERS, tell_completed
from vault.letters.contact_changes import TELL_CHANGED, pending_letters
from vault.lifecycle.personal_data import LifecycleData
from vault.recipients.delivery import NOTIFY, pending_notices
from vault.recipients.notices import chase_recipients
from vault.recipients.store import RecipientData
from vault.records.build_index import BUILD_INDEX, pending_builds
from vault.records.personal_data import RecordData
from vault.rectification.correct import RECTIFICATION
from vault.rectification.store import RectificationData
from vault.requests.consent_changes import OBJECTION, RESTRICTION, WITHDRAWAL
from vault.requests.decide import expire_requests, finish_request, guarded, start_request
from vault.requests.kind import REVIEW
from vault.requests.model import UNDER_WAY
from vault.requests.personal_data import RequestData
from vault.requests.store import RequestQuery, list_requests
from vault.retention.personal_data import RetentionData
from vault.sweep.workflow import SWEEP, begin_sweeps, pending_sweeps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping
    from uuid import UUID

    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.lifecycle.personal_data import PersonalData
    from vault.requests.kind import RequestKind


PAGE: Final = 200


REQUEST_KINDS: Final[Mapping[str, RequestKind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (ACCESS, PORTABILITY, RECTIFICATION, ERASURE, RESTRICTION, OBJECTION, WITHDRAWAL, REVIEW)
    }
)
"""Every kind of request, by name."""
OWNERS: Final[tuple[PersonalData, ...]] = (
    # A merge passes results from one to the next: dropped erasures and moved consents are needed by requests, and holds
    # join the consent state. The records come last: their ids lead to the survivor once everything else has moved.
    LifecycleData(),
    ConsentData(),
    RectificationData(),
    RequestData(REQUEST_KINDS),
    ExportData(),
    IdentityData(),
    ContactData(),
    HoldData(),
    RetentionData(),
    RecipientData(),
    RecordData(),
)
"""The owners of personal data; a new table with a subject's id belongs to one of them."""


def _request_workflow(kind: RequestKind) -> Workflow:
    """Return the job of a request: start it, do the steps of its kind, complete it, and inform the person."""
    if kind.completed_by_staff:
        return Workflow(kind.name, (("start", start_request),))
    steps = tuple((name, guarded(step)) for name, step in kind.steps)
    letter = (("tell", tell_completed),) if kind.sends_letter else ()
    return Workflow(kind.name, (("start", start_request), *steps, ("complete", finish_request), *letter))


REQUEST_WORKFLOWS: Final[Mapping[str, Workflow]] = {
    **{name: _request_workflow(kind) for name, kind in REQUEST_KINDS.items()},
    **LETTERS,
    RESUME.name: RESUME,
}
"""The jobs that work on a request: its own, named after its kind; letters about it; an erasure resumed after a hold."""


async def pending(services: Services) -> list[Work]:
    """Return the jobs that should exist, in all tenants: of requests, and of erasures that a hold has stopped."""
    jobs: list[Work] = []
    for tenant in await services.keyring.tenants():
        query = RequestQuery(states=UNDER_WAY, limit=PAGE)
        while True:
            async with services.data.reading() as connection:
                page = await list_requests(connection, await services.keyring.row_keys(tenant), query)
            jobs += [
                Work(request.kind, tenant, request.id, request.run)
                for request in page
                if not REQUEST_KINDS[request.kind].completed_by_staff or request.state == "approved"
            ]
            if len(page) < PAGE:
                break
            query = replace(query, after=(page[-1].due.on.isoformat(), page[-1].id))
    return [*jobs, *await pending_resumes(services)]


WORKFLOWS: Final[Mapping[str, Workflow]] = {
    **REQUEST_WORKFLOWS,
    NOTIFY.name: NOTIFY,
    SWEEP.name: SWEEP,
    TELL_CHANGED.name: TELL_CHANGED,
    BUILD_INDEX.name: BUILD_INDEX,
}
"""All jobs, by name."""
STATES: Final[tuple[JobState, ...]] = get_args(JobState)
OPEN: Final[tuple[JobState, ...]] = ("pending", "waiting", "running", "failed")
"""States of jobs that are not done."""
MOST: Final = 500
_MINUTE: Final = 60.0
_HOUR: Final = 3600.0


def plan_of(services: Services) -> Plan:
    """Return the plan of a process that runs jobs: the jobs, and the periodic tasks."""

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
        "forget-contacts": Sweep(_HOUR, lambda: forget_changes(services)),
    }
    return Plan(WORKFLOWS, pending, sweeps)


async def pending_work(services: Services, tenant: TenantId | None = None) -> list[Work]:
    """Return all unfinished work of jobs, of one tenant or of all, whether or not it was started."""
    sources = (pending, pending_notices, pending_sweeps, pending_letters, pending_builds)
    work = [Work(*item) for source in sources for item in await source(services)]
    return [item for item in work if tenant is None or item.tenant == tenant]


@audited("read-jobs")
async def list_jobs(
    services: Services, caller: Caller, *, states: Collection[JobState] = OPEN, of: UUID | None = None, limit: int = 50
) -> JobList:
    """List the jobs of the caller's tenant: first those that are not started, then the newest.

    Args:
        of: only those that work on this request or notice.

    Raises:
        Denied: the caller may not read jobs.
        InvalidInput: the limit is out of 1 to 500.
        Unavailable: a database does not answer.
    """
    check_page(limit, MOST, "jobs")
    await require_permission(services, caller, "vault:jobs", "read", audit_action="read-jobs")
    jobs = await services.jobs.find(WORKFLOWS, caller.tenant, states=states, of=of, limit=limit)
    if "pending" in states:
        jobs = [*await _not_started(services, caller.tenant, of), *jobs]
    entry = audit_entry(services, caller, action="read-jobs", decision="allowed")
    await services.audit_log.append(entry)
    return JobList(jobs=jobs[:limit], audit=entry.id)


async def _not_started(services: Services, tenant: TenantId, of: UUID | None) -> list[Job]:
    pending = [work for work in await pending_work(services, tenant) if of is None or work.id == of]
    if not pending:
        return []
    # Jobs that wait or have failed are pending work too; they are listed in their own state.
    started = await services.jobs.find(WORKFLOWS, tenant, states=OPEN, of=of, limit=MOST + len(pending))
    known = {(job.workflow, job.id, job.run) for job in started}
    return [
        Job(
            workflow=work.workflow,
            tenant=work.tenant,
            id=work.id,
            run=work.run,
            state="pending",
            step=WORKFLOWS[work.workflow].steps[0][0] if work.workflow in WORKFLOWS else None,
            attempts=0,
            since=None,
            next_at=None,
            code=None,
        )
        for work in pending
        if (work.workflow, work.id, work.run) not in known
    ]


class Ended(NamedTuple):
    """The end of a job that was run in the foreground."""

    work: Work
    seconds: float | None
    """The seconds after which it continues; None if it is done or has failed."""
    code: str | None
    """Why it failed."""


async def work_off(
    services: Services, tenant: TenantId | None = None, *, watch: Callable[[Work, str], None] | None = None
) -> AsyncIterator[Ended]:
    """Run pending jobs in the foreground, one after the other. A failed job does not stop the others.

    Args:
        tenant: only its jobs; all by default.
        watch: called with each job and step before it starts.
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
