"""What a hold covers is not overwritten: the old value would be lost, and it is the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from vault.consent.state import NOTHING, unpack
from vault.errors import Conflict
from vault.retention.applying import day_of
from vault.retention.holds import CODE, held_by
from vault.subjects.rows import EXTERNAL_IDS
from vault.subjects.tables import SUBJECT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.state import Standing
    from vault.ids import SubjectId, TenantId


async def standing_to_write(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> Standing:
    """Return where a person stands, and let nobody change it until the transaction ends.

    A hold that is placed at this moment waits for the write, or the write for the hold, and then sees it.
    """
    statement = select(SUBJECT.c.standing).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
    row = (await connection.execute(statement.with_for_update(read=True))).one_or_none()
    return NOTHING if row is None else unpack(row.standing)


def require_free(
    standing: Standing, collection: str, happened: int, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Go on only where no value that a hold covers would be lost.

    Args:
        standing: the person's, locked.
        collection: of the record.
        happened: when it happened, in microseconds since 1970.
        before: the values that are there, of the fields that are written.
        after: what they would become; a field that is left out would be empty.

    Raises:
        Conflict: one would be. An id of another system is only ever added to.
    """
    if not standing.holds:
        return
    lost = [name for name in before if name != EXTERNAL_IDS and before[name] != after.get(name)]
    if any(held_by(standing, f"{collection}.{name}", day_of(happened)) for name in lost):
        raise held()


def held_already(
    standing: Standing, collection: str, happened: int, before: Mapping[str, Any], after: Mapping[str, Any]
) -> set[str]:
    """Name the values under a hold that are written as they are: where they came from, and when, stays with them."""
    same = [name for name in before if name in after and before[name] == after[name]]
    return {name for name in same if held_by(standing, f"{collection}.{name}", day_of(happened))}


def held() -> Conflict:
    """Make the error for a value that may not be overwritten."""
    return Conflict(
        "a legal hold covers a value that would be overwritten, and the value has to stay as it is",
        code=CODE,
        hint="`cdv holds list` tells who answers for the hold; new records can be added all the same",
    )
