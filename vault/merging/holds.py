"""Legal holds on two people who are one: both people's holds go on, on the person who stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vault.consent.state import unpack
from vault.retention.hold_store import move_people
from vault.retention.holds import held_by
from vault.retention.holds_marks import join_marks
from vault.retention.holds_writes import held
from vault.subjects.changes import locked_subject
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.merging.reseal import Move


async def carry_holds(connection: AsyncConnection, move: Move, theirs: Any, conflicts: Sequence[str]) -> None:
    """Put the one who stays under the other's holds; both people's rows are locked.

    Args:
        connection: the open transaction, in which consents are carried over already.
        move: from whom to whom.
        theirs: the other's row.
        conflicts: fields of which the survivor's value stays, and the other's is lost.

    Raises:
        Conflict: a hold covers a value that would be lost.
    """
    holds = unpack(theirs.standing).holds
    if any(held_by(unpack(theirs.standing), f"{PROFILE}.{name}", 0) for name in conflicts):  # of a profile, any day
        raise held()
    await move_people(connection, move.tenant, of=move.duplicate.id, to=move.survivor.id)
    mine = await locked_subject(connection, move.tenant, move.survivor.id)
    if holds and mine is not None:
        await join_marks(connection, move.tenant, mine, holds)
