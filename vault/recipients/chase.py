"""Remind the apps that have not acknowledged: by the clock each day, or because somebody asks for it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vault.access.authorization import entry
from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.errors import Conflict
from vault.recipients.delivery import NOTIFY
from vault.recipients.notices import no_notice
from vault.recipients.requests_webhooks import find_webhook, list_webhooks
from vault.recipients.store import locked_notice, notices_to_chase, save_notice, send_anew
from vault.subjects.pseudonyms import pseudonym_of

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Caller, House
    from vault.ids import TenantId
    from vault.recipients.store import RecipientNotice

FIRST: Final = timedelta(days=3)
"""How long an app may take before it is reminded."""
AGAIN: Final = timedelta(days=1)
"""How long after a reminder comes the next."""
AT_ONCE: Final = 200


async def chase_recipients(house: House) -> int:
    """Remind the apps of all tenants of what they have not acknowledged within three days, and from then on daily.

    What could not be posted because an app had no address is tried where it has one now. Done twice, it does nothing
    the second time.

    Returns:
        how many reminders go out.

    Raises:
        Unavailable: the database does not answer; what was done stays.
    """
    return sum([await _chase_tenant(house, tenant) for tenant in await house.keyring.tenants()])


@on_record("send-notice")
async def chase(house: House, caller: Caller, notice: UUID) -> RecipientNotice:
    """Remind an app of one notice, now.

    Raises:
        Denied: no role of the caller's may chase.
        NotFound: there is no such notice.
        Conflict: it is acknowledged (``notice-acknowledged``), or there is nowhere to send it (``no-webhook``).
    """
    await require_right(house, caller, "vault:notices", "chase", audited_as="send-notice")
    async with house.data.transaction() as connection:
        found = await locked_notice(connection, caller.tenant, notice)
        if found is None:
            raise no_notice()
        if found.state == "acknowledged":
            raise Conflict("the app has acknowledged this notice", code="notice-acknowledged")
        await _require_webhook(connection, caller, found)
        chased = await _again(house, connection, caller.tenant, found)
        pseudonym = await pseudonym_of(connection, caller.tenant, found.subject)
        made = entry(
            house,
            caller,
            action="send-notice",
            decision="allowed",
            code="chased",
            subjects=() if pseudonym is None else (pseudonym,),
            target=notice,
        )
        await house.ledger.append_in(connection, [made])
    await house.jobs.start(NOTIFY.name, caller.tenant, notice, run=chased.round)
    return chased


async def _require_webhook(connection: AsyncConnection, caller: Caller, notice: RecipientNotice) -> None:
    webhook = await find_webhook(connection, caller.tenant, notice.principal)
    if webhook is None or webhook.state != "active":
        raise Conflict(
            "the app has no webhook to which a reminder could go",
            code="no-webhook",
            hint="ask whoever runs the app; what they answer can be noted by acknowledging it for them",
        )


async def _chase_tenant(house: House, tenant: TenantId) -> int:
    now = house.clock.now()
    async with house.data.transaction() as connection:
        for webhook in await list_webhooks(connection, tenant):
            if webhook.state == "active":
                await send_anew(connection, tenant, webhook.principal, now, states=("waiting",))
    done = 0
    while True:
        async with house.data.transaction() as connection:
            due = await notices_to_chase(
                connection, tenant, made_before=now - FIRST, chased_before=now - AGAIN, limit=AT_ONCE
            )
            for notice in due:
                found = await locked_notice(connection, tenant, notice)
                if found is not None and found.state in {"delivered", "failed"}:
                    await _again(house, connection, tenant, found)
                    done += 1
        if len(due) < AT_ONCE:
            return done


async def _again(
    house: House, connection: AsyncConnection, tenant: TenantId, notice: RecipientNotice
) -> RecipientNotice:
    now = house.clock.now()
    again = notice._replace(
        state="pending", next_at=now, round=notice.round + 1, attempts=0, chased_at=now, chases=notice.chases + 1
    )
    await save_notice(connection, tenant, again)
    return again
