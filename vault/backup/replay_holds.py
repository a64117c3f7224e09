"""Place and lift once more the holds that were placed and lifted after a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from vault.holds import restore_lines as holds_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from vault.context import House
    from vault.ids import TenantId
    from vault.lifecycle.restore_lines import Joined


async def hold_again(house: House, tenant: TenantId, body: bytes, joined: Joined) -> None:
    """Do what a line of a hold tells of; it covers those too who were merged since into whom it covers.

    Args:
        house: the rooms.
        tenant: whose.
        body: of the line.
        joined: who was merged into whom since the backup.

    Raises:
        Unavailable: the database does not answer.
    """
    line = holds_lines.read_hold(body)

    def all_of(people: Iterable[UUID]) -> tuple[UUID, ...]:
        return tuple(dict.fromkeys(other for each in people for other in joined.of(tenant, each)))

    line = replace(line, added=all_of(line.added), removed=all_of(line.removed))
    await holds_lines.hold_again(house, tenant, msgspec.json.encode(line))
