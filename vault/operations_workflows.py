"""Which job carries out which kind of request, and what is under way and needs one.

This stands beside the packages of operations and not in one of them, because it alone knows them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from vault.erasure.workflow import ERASURE_STEPS
from vault.export.package_job import PACKAGE_STEPS
from vault.holds.resume_erasures import RESUME, pending_resumes
from vault.jobs.workflow import Workflow
from vault.letters.tell_requester import LETTERS, tell_completed
from vault.rectification.steps import CARRY_OUT
from vault.requests.steps import complete_request, guarded, start_request
from vault.requests.store import list_requests

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from vault.context import House
    from vault.ids import TenantId
    from vault.jobs.workflow import Step
    from vault.requests.model import Request

PAGE: Final = 200
UNDER_WAY: Final = ("approved", "in_progress")
"""States in which a request has a job."""


class Pending(NamedTuple):
    """A job that ought to be there: the name of its workflow, and what it works on."""

    workflow: str
    tenant: TenantId
    id: UUID
    run: int


_OWN: Final[Mapping[str, tuple[tuple[str, Step], ...]]] = {
    "access": PACKAGE_STEPS,
    "portability": PACKAGE_STEPS,
    "erasure": ERASURE_STEPS,
    **CARRY_OUT,
}
"""What each kind of request does between its beginning and its end."""


def _workflow(kind: str) -> Workflow:
    own = tuple((name, guarded(step)) for name, step in _OWN[kind])
    # A package has a letter of its own; and of somebody who is erased there is no address left to write to.
    letter = (("tell", tell_completed),) if kind in CARRY_OUT else ()
    return Workflow(kind, (("start", start_request), *own, ("complete", complete_request), *letter))


WORKFLOWS: Final[Mapping[str, Workflow]] = {
    **{kind: _workflow(kind) for kind in _OWN},
    # A review of an automated decision is a person's work: it is begun here, and completed by whoever looked into it.
    "review": Workflow("review", (("start", start_request),)),
    **LETTERS,
    RESUME.name: RESUME,
}
"""The jobs of requests, where a request's kind is the name of its workflow, those of the letters about them, and the
one of erasures that a hold has stopped."""


async def pending(house: House) -> list[Pending]:
    """List the requests that ought to have a job, and the erasures that a hold has stopped, of all tenants."""
    found: list[Pending] = []
    for tenant in await house.keyring.tenants():
        after: tuple[str, UUID] | None = None
        while True:
            async with house.data.reading() as connection:
                page = await list_requests(connection, tenant, states=UNDER_WAY, after=after, limit=PAGE)
            found += [Pending(each.kind, tenant, each.id, each.run) for each in page if _needs_job(each)]
            if len(page) < PAGE:
                break
            after = (page[-1].due.on.isoformat(), page[-1].id)
    return [*found, *(Pending(*each) for each in await pending_resumes(house))]


def _needs_job(request: Request) -> bool:
    return request.kind != "review" or request.state == "approved"
