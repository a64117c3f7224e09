"""The clocks of people who are read: those who are asked for at the same moment are fetched by one query."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from vault.retention.store import NO_CLOCKS, clocks_of
from vault.storage.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault.ids import SubjectId, TenantId
    from vault.retention.clocks import Clocks
    from vault.storage.database import Database


class ClockReader:
    """Fetches clocks; those of one person each that wait at the same moment travel together.

    Args:
        database: the main one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batcher: Batcher[tuple[TenantId, SubjectId], Clocks] = Batcher(self._fetch_together)

    async def of(self, tenant: TenantId, subjects: Sequence[SubjectId]) -> dict[SubjectId, Clocks]:
        """Fetch people's clocks; who has none has :data:`~vault.retention.store.NO_CLOCKS`."""
        if len(subjects) == 1:
            return {subjects[0]: await self._batcher.submit((tenant, subjects[0]))}
        found = await clocks_of(self._database, tenant, subjects)
        return {each: found.get(each, NO_CLOCKS) for each in subjects}

    async def _fetch_together(self, waiting: list[tuple[TenantId, SubjectId]]) -> list[Clocks]:
        people: defaultdict[TenantId, set[SubjectId]] = defaultdict(set)
        for tenant, subject in waiting:
            people[tenant].add(subject)
        found = {tenant: await clocks_of(self._database, tenant, list(each)) for tenant, each in people.items()}
        return [found[tenant].get(subject, NO_CLOCKS) for tenant, subject in waiting]
