"""Read the audit log; each reading is recorded in it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.errors import InvalidInput
from vault.ids import Pseudonym
from vault.subjects.store import SubjectQuery

if TYPE_CHECKING:
    from uuid import UUID

    from vault.audit.log import Page
    from vault.context import Caller, Services
    from vault.ids import EntryId, SubjectId

MOST = 500


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which entries to list; ``before`` is the id that the page ends before, ``limit`` is 1 to 500."""

    subject: SubjectId | None = None
    principal: UUID | None = None
    action: str | None = None
    before: EntryId | None = None
    limit: int = 50


@audited("read-audit")
async def read_audit(
    services: Services,
    caller: Caller,
    query: AuditQuery,
) -> Page:
    """List audit entries of the caller's tenant, newest first, without the entry of this reading.

    Raises:
        Denied: the caller may not read the log.
        InvalidInput: the limit is out of 1 to 500.
    """
    if not 1 <= query.limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} entries", code="invalid-page")
    await require_permission(services, caller, "vault:audit", "read", audit_action="read-audit")
    pseudonym = None
    if query.subject is not None:
        (row,) = await services.subjects.find(SubjectQuery(caller.tenant, (query.subject,), profile=False))
        pseudonym = Pseudonym(query.subject) if row is None else row.pseudonym  # an unknown id matches no entry
    page = await services.audit_log.entries(
        caller.tenant,
        subject=pseudonym,
        principal=query.principal,
        action=query.action,
        before=query.before,
        limit=query.limit,
    )
    entry = audit_entry(
        services,
        caller,
        action="read-audit",
        decision="allowed",
        subjects=() if pseudonym is None or pseudonym == query.subject else (pseudonym,),
    )
    await services.audit_log.append(entry)
    return page
