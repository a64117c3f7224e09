"""The letter about a changed e-mail address, to the address at which the person was reached before.

Each letter is a durable job: it is found by what is still untold, so that a crash after the change loses no letter. One
that cannot be sent is tried again until the address proves the person, and no longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vault.contacts.changes import mark_notified, untold_change, untold_changes
from vault.jobs.workflow import Work, Workflow
from vault.letters.send import notify_formerly

if TYPE_CHECKING:
    from uuid import UUID

    from vault.context import Services
    from vault.ids import TenantId

FIRST_RETRY: Final = 600.0
LONGEST_RETRY: Final = 86_400.0
MOST: Final = 500
"""Letters that are started at a time."""


async def tell_changed(services: Services, tenant: TenantId, change_id: UUID) -> float | None:
    """Send the letter, and let the former address go; after a failure return the seconds until the next try."""
    async with services.data.reading() as connection:
        change = await untold_change(connection, tenant, change_id)
    if change is None:
        return None
    outcome = await notify_formerly(services, tenant, change)
    now = services.clock.now()
    if outcome in {"sent", "no-contact"}:
        async with services.data.transaction() as connection:
            await mark_notified(connection, tenant, change, now)
        return None
    # The wait doubles with the time that has passed.
    return min(max(FIRST_RETRY, (now - change.changed_at).total_seconds()), LONGEST_RETRY)


TELL_CHANGED: Final = Workflow("tell-contact-changed", (("send", tell_changed),))


async def pending_letters(services: Services) -> list[Work]:
    """Return the letters that are still to be sent. A vault without a mail relay has none."""
    if not services.mail.configured:
        return []
    async with services.data.reading() as connection:
        untold = await untold_changes(connection, limit=MOST)
    return [Work(TELL_CHANGED.name, tenant, change) for tenant, change in untold]
