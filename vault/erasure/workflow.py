"""The steps of an erasure, in order. A process may die in any of them: repeated, each step takes effect once.

1. ``begin``: one row for the erasure, however many requests there are.
2. ``take-away``: one transaction deletes what goes, reseals what stays, and notifies recipients.
3. ``destroy-keys``: the older keys are destroyed. From here on no copy opens, and no backup.
4. ``scrub``: deleted rows leave the databases' files.
5. ``check``: the files and rows are scanned, and nothing is found.
6. ``certify``: the certificate is signed, and the erasure ends.

Keys that other nodes have destroyed are evicted from this node's memory within seconds (:class:`KeyEviction`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from vault.erasure import verify
from vault.erasure.certificate import certify
from vault.erasure.execute import execute_erasure
from vault.erasure.start import SOON, begin_erasure, erasure_of
from vault.errors import Unavailable
from vault.ids import SubjectId, TenantId
from vault.lifecycle.erasures import changed_since

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from vault.context import Services
    from vault.jobs.workflow import Step


async def begin(services: Any, tenant: TenantId, request: UUID) -> float | None:
    """Begin the erasure, or join one that is under way."""
    return await begin_erasure(services, tenant, request)


async def take(services: Any, tenant: TenantId, request: UUID) -> float | None:
    """Execute the erasure; one that was given up in the meantime begins again."""
    try:
        erasure = await erasure_of(services, tenant, request)
    except Unavailable:
        return await begin_erasure(services, tenant, request) or SOON
    if erasure.state == "begun":
        await execute_erasure(services, tenant, erasure)
    return None


async def destroy(services: Any, tenant: TenantId, request: UUID) -> None:
    """Destroy the keys of what was deleted."""
    erasure = await erasure_of(services, tenant, request)
    if erasure.state == "taken":
        await verify.destroy_keys(services, tenant, erasure)


async def scrub(services: Any, tenant: TenantId, request: UUID) -> float | None:
    """Clean the databases' files."""
    erasure = await erasure_of(services, tenant, request)
    return await verify.scrub(services, tenant, erasure) if erasure.state == "destroyed" else None


async def check(services: Any, tenant: TenantId, request: UUID) -> float | None:
    """Verify that nothing remains."""
    erasure = await erasure_of(services, tenant, request)
    return await verify.check_remains(services, tenant, erasure) if erasure.state == "scrubbed" else None


async def attest(services: Any, tenant: TenantId, request: UUID) -> None:
    """Sign the certificate."""
    erasure = await erasure_of(services, tenant, request)
    if erasure.state == "checked":
        await certify(services, tenant, erasure)


ERASURE_STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("begin", begin),
    ("take-away", take),
    ("destroy-keys", destroy),
    ("scrub", scrub),
    ("check", check),
    ("certify", attest),
)


POLL_SECONDS: Final = 2.0
LOOK_BACK: Final = timedelta(minutes=2)
"""Longer than the clocks of two nodes differ, and than a key is cached."""


class KeyEviction:
    """Evicts the keys of subjects that any node has erased from this node's cache.

    Without it a node would use a cached key until it expires, half a minute later.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._seen: dict[tuple[str, UUID], datetime] = {}

    async def poll(self) -> int:
        """Evict the keys of recent erasures; returns of how many subjects."""
        since = self._services.clock.now() - LOOK_BACK
        async with self._services.data.reading() as connection:
            changed = await changed_since(connection, since)
        evicted = 0
        for tenant, subject, moment, facts in changed:
            if self._seen.get((tenant, subject)) != moment:
                self._seen[tenant, subject] = moment
                evicted += 1
                for each in (subject, *facts.aliases):
                    self._services.keyring.evict(TenantId(tenant), SubjectId(each))
        self._seen = {key: moment for key, moment in self._seen.items() if moment >= since}
        return evicted
