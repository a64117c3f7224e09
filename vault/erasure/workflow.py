"""The steps of an erasure, in order. Each may be killed anywhere and called again: together they happen once.

1. ``begin``: one row for the erasure, however many requests there are.
2. ``take-away``: one transaction deletes what goes, seals anew what stays, and tells recipients.
3. ``destroy-keys``: the older keys go. From here on no copy opens, and no backup.
4. ``scrub``: deleted rows leave the databases' files.
5. ``check``: the files and rows are looked through, and nothing is found.
6. ``certify``: the certificate is signed, and the erasure ends.

Keys that other nodes have destroyed, dropped from this node's memory within seconds.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from vault.erasure import verify as prove
from vault.erasure.certificate import certify
from vault.erasure.execute import take_away
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
    """Lay the erasure down, or join one that is under way."""
    return await begin_erasure(services, tenant, request)


async def take(services: Any, tenant: TenantId, request: UUID) -> float | None:
    """Take away what goes; an erasure that was given up before that is laid down anew."""
    try:
        erasure = await erasure_of(services, tenant, request)
    except Unavailable:
        return await begin_erasure(services, tenant, request) or SOON
    if erasure.state == "begun":
        await take_away(services, tenant, erasure)
    return None


async def destroy(services: Any, tenant: TenantId, request: UUID) -> None:
    """Destroy the keys of what has gone."""
    erasure = await erasure_of(services, tenant, request)
    if erasure.state == "taken":
        await prove.destroy_keys(services, tenant, erasure)


async def scrub(services: Any, tenant: TenantId, request: UUID) -> float | None:
    """Clean the databases' files."""
    erasure = await erasure_of(services, tenant, request)
    return await prove.scrub(services, tenant, erasure) if erasure.state == "destroyed" else None


async def check(services: Any, tenant: TenantId, request: UUID) -> float | None:
    """Look whether anything is left."""
    erasure = await erasure_of(services, tenant, request)
    return await prove.look(services, tenant, erasure) if erasure.state == "scrubbed" else None


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
BACK: Final = timedelta(minutes=2)
"""How far back is looked: for longer than the clocks of two nodes differ, and than a key is kept opened."""


class ErasureWatch:
    """Looks for erasures that went on lately, wherever they run, and drops what this node keeps of those people.

    Without it a node would go on using an opened key until it has aged out, half a minute later.

    Args:
        house: this node's rooms.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._seen: dict[tuple[str, UUID], datetime] = {}

    async def look(self) -> int:
        """Look once; returns of how many people the keys were dropped."""
        since = self._services.clock.now() - BACK
        async with self._services.data.reading() as connection:
            changed = await changed_since(connection, since)
        found = 0
        for tenant, subject, moment, facts in changed:
            if self._seen.get((tenant, subject)) != moment:
                self._seen[tenant, subject] = moment
                found += 1
                for each in (subject, *facts.aliases):
                    self._services.keyring.evict(TenantId(tenant), SubjectId(each))
        self._seen = {key: moment for key, moment in self._seen.items() if moment >= since}
        return found
