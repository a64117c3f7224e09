"""Tell that a customer is there and at which revision the profile stands, without a single value."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.recording import audited
from vault.errors import NotFound, SubjectMerged
from vault.subjects.merged import merged_into
from vault.subjects.store import GONE, Wanted

if TYPE_CHECKING:
    from vault.context import Caller, Services
    from vault.ids import SubjectId


class SubjectState(NamedTuple):
    """What may be told of a subject without a purpose."""

    id: SubjectId
    state: str
    revision: int


@audited("read")
async def subject_state(services: Services, caller: Caller, subject: SubjectId) -> SubjectState:
    """Tell a subject's state and its profile's revision (for ``If-Match``).

    Raises:
        Denied: no role of the caller's may see subjects at all.
        NotFound: there is no such subject, or it is erased; SubjectMerged where it was merged into another.
    """
    await require_permission(services, caller, "vault:subjects", "read", audit_action="read")
    await services.limits.take(caller.principal, "read", 1)
    (found,) = await services.subjects.find(Wanted(caller.tenant, (subject,), profile=False))
    revision = await services.subjects.profile_revision(caller.tenant, subject)
    there = found is not None and found.state not in GONE and revision is not None
    into = None if there or found is None else await _merged_into(services, caller, subject)
    made = audit_entry(
        services,
        caller,
        action="read",
        decision="allowed" if there else "denied",
        code=None if there else SUBJECT_NOT_FOUND.code if into is None else SubjectMerged.code,
        subjects=() if found is None else (found.pseudonym,),
    )
    await services.audit_log.append(made)
    if into is not None:
        raise SubjectMerged(into, audit=str(made.id))
    if found is None or revision is None or not there:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code, audit=str(made.id))
    return SubjectState(found.id, found.state, revision)


async def _merged_into(services: Services, caller: Caller, subject: SubjectId) -> SubjectId | None:
    async with services.data.reading() as connection:
        return await merged_into(connection, caller.tenant, subject)
