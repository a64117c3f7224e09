"""Rate limits, shared by all nodes, so that no caller can read out the whole vault one permitted subject at a time.

All nodes share one budget for each principal, kind and minute. Each node leases a chunk of it from the database and
spends it in memory. A lease is never more than the rest of the budget, so all nodes together never exceed the limit.
"""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from sqlalchemy import delete

from vault.errors import InvalidInput, TooMany
from vault.principals.store import RateWindowRow
from vault.storage.columns import table_of
from vault.storage.query import insert_into

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.clock import Clock
    from vault.ids import Pseudonym, TenantId
    from vault.principals.principal import Principal
    from vault.storage.database import Database


_table = table_of(RateWindowRow)


class Limits:
    """How many subjects a principal may read, how often it may search and write, in each minute of the clock.

    It also counts the letters to one person within a day.

    The budget is counted in the database and spent from leases in memory: :meth:`try_take` is a dictionary look-up, and
    :meth:`take` queries the database only if a lease is used up. A node that stops loses its leases.

    Args:
        database: the main database, shared by all nodes.
        clock: nodes whose clocks differ use different windows for that long, each within the limit.
        reads: subjects a minute that one principal may read, one by one or in batches.
        searches: searches a minute that one principal may make.
        writes: calls a minute by which one principal may change anything, whether or not they succeed.
        letters: letters to one person within a day of UTC.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        reads: int = 60_000,
        searches: int = 120,
        writes: int = 6_000,
        letters: int = 20,
    ) -> None:
        if min(reads, searches, writes, letters) < 1:
            raise ValueError("a limit is at least 1")
        self._database = database
        self._clock = clock
        self._limits: dict[RateKind, int] = {"read": reads, "search": searches, "write": writes}
        self._letters = letters
        self._leases = Leases(0)
        self._leasing: dict[LeaseKey, asyncio.Task[None]] = {}

    def try_take(self, principal: Principal, kind: RateKind, n: int) -> bool:
        """Take ``n`` from this node's lease; if it returns False, nothing was taken: call :meth:`take`."""
        leases = self._leases
        if not leases.begins <= self._clock.now() < leases.ends:
            return False
        return leases.spend((principal.tenant, principal.id.int, kind), n)

    async def take(self, principal: Principal, kind: RateKind, n: int) -> None:
        """Take ``n`` from the principal's budget, leasing more of it if needed.

        Raises:
            TooMany: the budget of this minute is used up, or less than ``n`` is left of it; nothing was taken.
            InvalidInput: ``n`` is more than a whole minute's budget, so that waiting would not help.
            Unavailable: the database does not answer, so it is not known what is left.
        """
        self._check_size(kind, n)
        key: LeaseKey = (principal.tenant, principal.id.int, kind)
        while not self.try_take(principal, kind, n):
            self._roll()
            lease = self._leasing.get(key)
            if lease is None:
                if self._leases.left(key) >= n:
                    continue  # the minute turned between the two looks at the clock
                # Without a query: a caller over its limit must not cost the database more than one within it.
                if self._leases.is_exhausted(key):
                    raise self._too_many(key)
                lease = self._begin_lease(key, principal, n)
            # Shielded: others wait for the same lease, and what the database has counted must arrive here.
            await asyncio.shield(lease)

    async def take_letter(self, tenant: TenantId, person: Pseudonym) -> bool:
        """Count a letter to a person, on all nodes together; return whether it may be sent."""
        # The row has the end of its day, so that the sweep of earlier windows leaves it until then.
        day_ends = int(self._clock.now().timestamp()) // DAY * DAY + DAY
        async with self._database.transaction() as connection:
            used = await self._count(connection, (tenant, person, "letter"), day_ends, 1)
        return used <= self._letters

    def _roll(self) -> None:
        now = self._clock.now()
        if not self._leases.begins <= now < self._leases.ends:
            self._leases = Leases(window_start(now))
            self._leasing = {}

    def _begin_lease(self, key: LeaseKey, principal: Principal, n: int) -> asyncio.Task[None]:
        """Start one lease for all callers that wait for this budget; they share its failure too."""
        leasing = self._leasing
        lease = asyncio.create_task(self._lease(self._leases, key, principal, n))
        leasing[key] = lease

        def end(done: asyncio.Task[None]) -> None:
            del leasing[key]
            if not done.cancelled():
                done.exception()  # retrieved, so that asyncio does not log it if no caller waits any more

        lease.add_done_callback(end)
        return lease

    async def _lease(self, leases: Leases, key: LeaseKey, principal: Principal, n: int) -> None:
        limit = self._limits[key[2]]
        requested = chunk(limit, n - leases.left(key))
        async with self._database.transaction() as connection:
            # The sweep comes first, so that all transactions take their locks in the same order. The window before
            # this one stays, for nodes whose clocks are behind.
            if not leases.swept:
                await connection.execute(delete(_table).where(_table.c.window_start < leases.start - WINDOW))
            used = await self._count(connection, (principal.tenant, principal.id, key[2]), leases.start, requested)
        leases.swept = True
        leases.add(key, limit=limit, requested=requested, used=used)

    async def _count(
        self, connection: AsyncConnection, budget: tuple[str, UUID, str], start: int, requested: int
    ) -> int:
        """Add to the use of a window and return the sum, in one statement, so that no two nodes see the same sum."""
        tenant, owner, kind = budget
        row = {
            "tenant_id": tenant,
            "principal_id": owner,
            "kind": kind,
            "window_start": start,
            "used": requested,
        }
        statement = insert_into(_table, self._database.dialect).values(row)
        summed = statement.on_conflict_do_update(
            index_elements=list(_table.primary_key), set_={"used": _table.c.used + statement.excluded.used}
        ).returning(_table.c.used)
        used: int = (await connection.execute(summed)).scalar_one()
        return used

    def _check_size(self, kind: RateKind, n: int) -> None:
        if n < 1:
            raise ValueError("at least one is taken")
        if n > self._limits[kind]:
            raise InvalidInput(
                "this asks at once for more than the rate limit allows in a minute",
                code="beyond-rate-limit",
                hint=f"Ask for at most {self._limits[kind]} at once, or have the limit raised.",
            )

    def _too_many(self, key: LeaseKey) -> TooMany:
        kind = key[2]
        left = math.ceil((self._leases.ends - self._clock.now()).total_seconds())
        return TooMany(
            f"the rate limit of {self._limits[kind]} a minute for this {kind} is used up",
            retry_after=max(1, min(WINDOW, left)),
            first=self._leases.refuse(key),
            hint="Wait as long as is said, ask in smaller batches, or have the limit raised.",
        )


DAY = 86_400
WINDOW = 60
"""Length of a window in seconds; every window starts on a full minute of UTC."""

_SHARES = 20

RateKind = Literal["read", "search", "write"]
LeaseKey: TypeAlias = tuple[str, int, RateKind]
"""Tenant, principal id as a number (it hashes ten times as fast as a UUID), kind."""


def window_start(now: datetime) -> int:
    """Return the start of the window that holds this moment, in seconds since 1970."""
    return int(now.timestamp()) // WINDOW * WINDOW


def chunk(limit: int, missing: int) -> int:
    """Return how much to lease if ``missing`` are needed: a twentieth of the limit, or more if necessary.

    That is at most 20 queries a minute, and a node holds at most a twentieth unused while another has none left.
    """
    return max(missing, limit // _SHARES, 1)


def granted(limit: int, requested: int, used: int) -> int:
    """Return how much of a request the budget covers; ``used`` is the sum after this request."""
    return max(0, min(requested, limit - (used - requested)))


class Leases:
    """The leases of this node in one window. A new window is a new object, so there is nothing to clear."""

    __slots__ = ("_exhausted", "_left", "_refused", "begins", "ends", "start", "swept")

    def __init__(self, start: int) -> None:
        self.start = start
        self.begins = datetime.fromtimestamp(start, UTC)
        self.ends = datetime.fromtimestamp(start + WINDOW, UTC)
        self.swept = False  # whether this node has deleted the windows before this one
        self._left: dict[LeaseKey, int] = {}
        self._exhausted: set[LeaseKey] = set()
        self._refused: set[LeaseKey] = set()

    def spend(self, key: LeaseKey, n: int) -> bool:
        """Spend ``n`` if that much is left here; else change nothing."""
        left = self._left.get(key, 0)
        if not 0 < n <= left:
            return False
        self._left[key] = left - n
        return True

    def left(self, key: LeaseKey) -> int:
        """Return what is left here."""
        return self._left.get(key, 0)

    def is_exhausted(self, key: LeaseKey) -> bool:
        """Return whether the shared budget is known to be used up."""
        return key in self._exhausted

    def add(self, key: LeaseKey, *, limit: int, requested: int, used: int) -> None:
        """Add the database's answer to a request; ``used`` is the shared sum after it."""
        self._left[key] = self._left.get(key, 0) + granted(limit, requested, used)
        if used >= limit:
            self._exhausted.add(key)

    def refuse(self, key: LeaseKey) -> bool:
        """Record a refusal; return whether it is the first for this key in the window."""
        first = key not in self._refused
        self._refused.add(key)
        return first
