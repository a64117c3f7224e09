"""Keys that other nodes have destroyed, dropped from this node's memory within seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault.ids import SubjectId, TenantId
from vault.lifecycle.erasures import changed_since

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from vault.context import House

POLL_SECONDS: Final = 2.0
BACK: Final = timedelta(minutes=2)
"""How far back is looked: for longer than the clocks of two nodes differ, and than a key is kept opened."""


class ErasureWatch:
    """Looks for erasures that went on lately, wherever they run, and drops what this node keeps of those people.

    Without it a node would go on using an opened key until it has aged out, half a minute later.

    Args:
        house: this node's rooms.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._seen: dict[tuple[str, UUID], datetime] = {}

    async def look(self) -> int:
        """Look once; returns of how many people the keys were dropped."""
        since = self._house.clock.now() - BACK
        async with self._house.data.reading() as connection:
            changed = await changed_since(connection, since)
        found = 0
        for tenant, subject, moment, facts in changed:
            if self._seen.get((tenant, subject)) != moment:
                self._seen[tenant, subject] = moment
                found += 1
                for each in (subject, *facts.aliases):
                    self._house.keyring.evict(TenantId(tenant), SubjectId(each))
        self._seen = {key: moment for key, moment in self._seen.items() if moment >= since}
        return found
