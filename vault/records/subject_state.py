"""Read a subject's state and the revision of its profile, without a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.recording import audited
from vault.errors import NotFound, SubjectMerged
from vault.records.views import SubjectState
from vault.subjects.merged import merged_into
from vault.subjects.store import GONE, SubjectQuery

if TYPE_CHECKING:
    from vault.context import Caller, Services
    from vault.ids import SubjectId


@audited("read")
async def subject_state(services: Services, caller: Caller, subject: SubjectId) -> SubjectState:
    """Return a subject's state and the revision of its profile (for ``If-Match``).

    Raises:
        Denied: the caller may not see subjects.
        NotFound: there is no such subject, or it is erased.
        SubjectMerged: it was merged into another.
    """
    await require_permission(services, caller, "vault:subjects", "read", audit_action="read")
    await services.limits.take(caller.principal, "read", 1)
    (found,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
    revision = await services.subjects.profile_revision(caller.tenant, subject)
    exists = found is not None and found.state not in GONE and revision is not None
    into = None if exists or found is None else await _merged_into(services, caller, subject)
    entry = audit_entry(
        services,
        caller,
        action="read",
        decision="allowed" if exists else "denied",
        code=None if exists else SUBJECT_NOT_FOUND.code if into is None else SubjectMerged.code,
        subjects=() if found is None else (found.pseudonym,),
    )
    await services.audit_log.append(entry)
    if into is not None:
        raise SubjectMerged(into, audit=str(entry.id))
    if found is None or revision is None or not exists:
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code, audit=str(entry.id))
    return SubjectState(id=found.id, state=found.state, revision=revision)


async def _merged_into(services: Services, caller: Caller, subject: SubjectId) -> SubjectId | None:
    async with services.data.reading() as connection:
        return await merged_into(connection, caller.tenant, subject)
