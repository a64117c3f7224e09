"""The audit log, for those who may read it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Response

from vault.api.answers import answer
from vault.api.doors import Rooms, SignedIn
from vault.api.schemas import common as bodies
from vault.governance.audit_log import read_audit
from vault.ids import EntryId, SubjectId

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("/entries", response_model=bodies.AuditPage)
async def entries(
    house: Rooms,
    caller: SignedIn,
    subject: UUID | None = None,
    principal: UUID | None = None,
    action: Annotated[str | None, Query(max_length=32)] = None,
    before: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """List audit entries, newest first; `before` takes the `next` of the page before."""
    page = await read_audit(
        house,
        caller,
        subject=None if subject is None else SubjectId(subject),
        principal=principal,
        action=action,
        before=None if before is None else EntryId(before),
        limit=limit,
    )
    listed: list[Any] = [msgspec.to_builtins(each) for each in page.entries]
    return answer({"entries": listed, "next": None if page.next is None else str(page.next)})
