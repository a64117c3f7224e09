"""Holds in the restore ledger: a line is written before a change of a hold commits, and replayed after a restore.

A line contains the hold and ids, and no value of a subject.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from vault.holds.resume_erasures import release
from vault.ids import SubjectId
from vault.retention.holds import (
    LegalHold,
    add_hold,
    add_subjects,
    find_hold,
    put_marks,
    remove_subjects,
    save_hold,
    subjects_of,
)
from vault.subjects.merged import locked_subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Services
    from vault.ids import TenantId
    from vault.lifecycle.restore_ledger import Kind

AT_ONCE: Final = 1_000
"""Subjects in one line."""


class HoldLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hold after one change, and the subjects that the change added or removed."""

    hold: LegalHold
    added: tuple[UUID, ...] = ()
    removed: tuple[UUID, ...] = ()


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(HoldLine).decode


async def log_hold(
    services: Services, tenant: TenantId, hold: LegalHold, *, added: Sequence[UUID] = (), removed: Sequence[UUID] = ()
) -> None:
    """Write lines that a hold was placed, changed or lifted; call it in the transaction that does so.

    Raises:
        Unavailable: the ledger does not answer; then the change must not commit.
    """
    most = max(len(added), len(removed), 1)
    lines = [
        HoldLine(hold, tuple(added[start : start + AT_ONCE]), tuple(removed[start : start + AT_ONCE]))
        for start in range(0, most, AT_ONCE)
    ]
    kind: Kind = "hold-lifted" if hold.state == "lifted" else "hold"
    await services.restore_ledger.add(tenant, kind, services.clock.now(), [(None, _encode(line)) for line in lines])


def read_line(body: bytes) -> HoldLine:
    """Decode a line."""
    return _decode(body)


async def replay_hold(services: Services, tenant: TenantId, body: bytes) -> None:
    """Apply a line to a restored database; applying it again changes nothing.

    Nothing is written to the ledger, which has the line.
    """
    line = read_line(body)
    async with services.data.transaction() as connection:
        before = await find_hold(connection, tenant, line.hold.id, lock=True)
        if before is None:
            await add_hold(connection, tenant, line.hold)
        elif before.state == "lifted":
            return
        else:
            await save_hold(connection, tenant, line.hold)
        if line.hold.state == "lifted":
            await _release(services, connection, tenant, line.hold, await subjects_of(connection, tenant, line.hold.id))
        else:
            await _follow(services, connection, tenant, line)


async def _follow(services: Services, connection: AsyncConnection, tenant: TenantId, line: HoldLine) -> None:
    covered = await subjects_of(connection, tenant, line.hold.id)
    removed = sorted({*map(SubjectId, line.removed)} & {*covered})
    await _release(services, connection, tenant, line.hold, removed)
    wanted = sorted({*covered, *map(SubjectId, line.added)} - {*removed})
    rows = await locked_subjects(connection, tenant, wanted)
    new = [subject for subject in rows if subject not in covered]
    await remove_subjects(connection, tenant, line.hold.id, new)  # rows of erasures that continued after a release
    await add_subjects(connection, tenant, line.hold.id, new)
    await put_marks(connection, tenant, rows, line.hold)


async def _release(
    services: Services, connection: AsyncConnection, tenant: TenantId, hold: LegalHold, people: Sequence[SubjectId]
) -> None:
    await release(services, connection, tenant, hold.id, await locked_subjects(connection, tenant, people))
