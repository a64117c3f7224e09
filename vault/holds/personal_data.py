"""Legal holds as personal data: which subjects they cover. A hold outlives an erasure, and moves in a merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.consent.model import unpack
from vault.lifecycle.personal_data import RetainedData
from vault.retention.holds import held, held_by, join_marks, move_people
from vault.retention.tables import HOLD_SUBJECT
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from sqlalchemy import Table

    from vault.lifecycle.personal_data import MergeContext

_ANY_DAY = 0
"""A hold covers values of the profile whenever its record happened."""


class HoldData(RetainedData):
    """Subjects under holds: ids only."""

    tables: tuple[Table, ...] = (HOLD_SUBJECT,)

    async def move(self, merge: MergeContext) -> None:
        """Put the survivor under the duplicate's holds.

        Raises:
            Conflict: a hold covers a value of the duplicate's that would be lost.
        """
        state = unpack(merge.duplicate_row.standing)
        if any(held_by(state, f"{PROFILE}.{name}", _ANY_DAY) for name in merge.conflicts):
            raise held()
        await move_people(merge.connection, merge.tenant, of=merge.duplicate, to=merge.survivor)
        # Read again: the consents that moved have changed the survivor's row.
        row = await merge.services.subjects.locked(merge.connection, merge.tenant, merge.survivor)
        if state.holds and row is not None:
            await join_marks(merge.services.subjects, merge.connection, row, state.holds)
