"""List what was corrected of a person's data, what is disputed, and what the person says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from pydantic import Field

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.callers import OPERATOR
from vault.access.recording import audited
from vault.consent.transaction import keys_of, missing
from vault.errors import Fault, InvalidInput
from vault.lifecycle.key_fence import open_fenced
from vault.rectification.store import State, open_details, rectifications_of
from vault.subjects.store import GONE, SubjectQuery
from vault.views import Moment, View

if TYPE_CHECKING:
    from vault.context import Caller, Services
    from vault.ids import SubjectId
    from vault.rectification.store import Rectification


class Disputes(View):
    """The dispute of each field, and whether the person's data is restricted."""

    disputes: Annotated[dict[str, UUID], Field(description="The id of the dispute, by field.")]
    state: Literal["active", "restricted"]


class DecidedDispute(View):
    """A dispute that was decided."""

    id: UUID
    state: State


class RectificationItem(View):
    """A value that was corrected or is disputed, or a statement of the person; without the values."""

    id: UUID
    request: UUID | None
    collection: str
    record: UUID
    field: Annotated[str, Field(description="`*` for a statement about no field in particular.")]
    state: State
    at: Moment
    closed_at: Annotated[Moment | None, Field(description="When a dispute was decided.")]
    statement: str | None
    reason: str | None


class RectificationPage(View):
    """Some rectifications, the oldest first."""

    results: list[RectificationItem]
    next: Annotated[str | None, Field(description="The `cursor` of the next page.")]
    audit: UUID


MOST = 200


@audited("read-requests")
async def list_rectifications(
    services: Services, caller: Caller, subject: SubjectId, *, cursor: str | None = None, limit: int = 50
) -> RectificationPage:
    """List a person's corrections, statements and disputes.

    Statements are opened for callers of the API, whom a rule has granted to read requests. At the command line they
    stay sealed.

    Raises:
        InvalidInput: the limit is out of 1 to 200, or the cursor is invalid.
        Denied: the caller may not read requests.
        NotFound: there is no such subject.
    """
    try:
        after = None if cursor is None else UUID(hex=cursor)
    except ValueError:
        fault = Fault("/cursor", "invalid-cursor", "Pass the previous page's `next` value unchanged.")
        raise InvalidInput("invalid cursor", faults=[fault], code="invalid-cursor") from None
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} rectifications", code="invalid-page")
    await require_permission(services, caller, "vault:requests", "read", audit_action="read-requests")
    (person,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
    exists = person is not None and person.state not in GONE
    rows: list[Rectification] = []
    if exists:
        async with services.data.reading() as connection:
            rows = await rectifications_of(connection, caller.tenant, subject, after=after, limit=limit + 1)
    results = await _opened(services, caller, subject, rows[:limit])
    entry = audit_entry(
        services,
        caller,
        action="read-requests",
        decision="allowed" if exists else "denied",
        code=None if exists else SUBJECT_NOT_FOUND.code,
        subjects=() if person is None else (person.pseudonym,),
    )
    await services.audit_log.append(entry)
    if not exists:
        async with services.data.reading() as connection:
            error = await missing(services, caller, connection, subject)
        error.audit = str(entry.id)
        raise error
    return RectificationPage(results=results, next=results[-1].id.hex if len(rows) > limit else None, audit=entry.id)


async def _opened(
    services: Services, caller: Caller, subject: SubjectId, rows: list[Rectification]
) -> list[RectificationItem]:
    """Return the views of rectifications. Only words are opened; former values stay sealed."""
    words: dict[UUID, dict[str, object]] = {}
    sealed = [row for row in rows if row.state != "corrected" and row.details is not None]
    if sealed and caller.principal.id != OPERATOR:
        words = await open_fenced(
            services,
            caller.tenant,
            subject,
            await keys_of(services, caller, subject),
            lambda current: {row.id: open_details(current, caller.tenant, subject, row) for row in sealed},
        )
    return [
        RectificationItem.from_object(
            row, statement=words.get(row.id, {}).get("statement"), reason=words.get(row.id, {}).get("reason")
        )
        for row in rows
    ]
