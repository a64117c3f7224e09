"""List what was corrected of a person's data, what is disputed, and what the person says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.callers import OPERATOR
from vault.access.recording import audited
from vault.consent.transaction import missing
from vault.consent.validation import keys_of
from vault.errors import InvalidInput
from vault.lifecycle.key_fence import open_fenced
from vault.rectification.store import open_details, rectifications_of
from vault.subjects.store import GONE, Wanted

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import Caller, Services
    from vault.ids import SubjectId
    from vault.rectification.store import Rectification

MOST = 200


class Told(NamedTuple):
    """One of them, with the person's statement and the reason of a decision; what stood there before stays sealed."""

    rectification: Rectification
    statement: str | None
    reason: str | None


class Rectifications(NamedTuple):
    """A page, the oldest first, where to go on, and the audit entry of this look."""

    items: list[Told]
    next: UUID | None
    audit: UUID


@audited("read-requests")
async def list_rectifications(
    services: Services, caller: Caller, subject: SubjectId, *, after: UUID | None = None, limit: int = 50
) -> Rectifications:
    """List a person's corrections, statements and disputes.

    Statements are opened for callers of the API, whom a rule has granted to read requests, and not at the command
    line, which shows words of nobody's.

    Raises:
        InvalidInput: the limit is out of 1 to 200.
        Denied: no role of the caller's may read requests.
        NotFound: there is no such subject.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} rectifications", code="invalid-page")
    await require_permission(services, caller, "vault:requests", "read", audit_action="read-requests")
    (found,) = await services.subjects.find(Wanted(caller.tenant, (subject,), profile=False))
    there = found is not None and found.state not in GONE
    rows: list[Rectification] = []
    if there:
        async with services.data.reading() as connection:
            rows = await rectifications_of(connection, caller.tenant, subject, after=after, limit=limit + 1)
    items = await _opened(services, caller, subject, rows[:limit])
    made = audit_entry(
        services,
        caller,
        action="read-requests",
        decision="allowed" if there else "denied",
        code=None if there else SUBJECT_NOT_FOUND.code,
        subjects=() if found is None else (found.pseudonym,),
    )
    await services.audit_log.append(made)
    if not there:
        async with services.data.reading() as connection:
            error = await missing(services, caller, connection, subject)
        error.audit = str(made.id)
        raise error
    return Rectifications(items, items[-1].rectification.id if len(rows) > limit else None, made.id)


async def _opened(services: Services, caller: Caller, subject: SubjectId, rows: list[Rectification]) -> list[Told]:
    said = [each for each in rows if each.state != "corrected" and each.details is not None]
    if caller.principal.id == OPERATOR or not said:
        return [Told(each, None, None) for each in rows]
    keys = await keys_of(services, caller, subject)
    told = await open_fenced(
        services,
        caller.tenant,
        subject,
        keys,
        lambda own: {each.id: open_details(own, caller.tenant, subject, each) for each in said},
    )
    return [Told(each, told.get(each.id, {}).get("statement"), told.get(each.id, {}).get("reason")) for each in rows]
