"""What was corrected or is disputed of the other entry's data, carried over to the person who stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.rectification.sealed import open_details, seal_details
from vault.rectification.store import add_rectifications, drop_rectifications, rectifications_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.merging.reseal import Move
    from vault.rectification.store import Rectification


async def carry_rectifications(connection: AsyncConnection, move: Move) -> None:
    """Seal them under the survivor's key; the other's are gone afterwards. Both people's rows are locked."""
    theirs = await rectifications_of(connection, move.tenant, move.duplicate.id)
    await drop_rectifications(connection, move.tenant, move.duplicate.id)
    await add_rectifications(connection, move.tenant, move.survivor.id, [_moved(move, each) for each in theirs])


def _moved(move: Move, rectification: Rectification) -> Rectification:
    """Keep the id and all that is said; a value of the profile is one of the survivor's profile now."""
    (tenant, survivor, duplicate, *_rest), details = move, None
    if rectification.details is not None:
        opened = open_details(duplicate.keys, tenant, duplicate.id, rectification)
        details = seal_details(survivor.keys, tenant, survivor.id, rectification.id, opened)
    record = survivor.id if rectification.record == duplicate.id else rectification.record
    return rectification._replace(record=record, details=details)
