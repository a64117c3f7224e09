"""Notices to apps: an app fetches and acknowledges its own; staff list those to all apps and send reminders.

Apps that have not acknowledged are reminded daily, or at any time by staff.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from vault.access.authorization import audit_entry, require_permission
from vault.access.callers import OPERATOR
from vault.access.paging import check_page, cut
from vault.access.recording import audited
from vault.errors import Conflict, NotFound
from vault.recipients import store
from vault.recipients.delivery import NOTIFY
from vault.recipients.views import AppNotice, AppNoticePage, SentNotice, SentNoticePage

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Caller, Services
    from vault.ids import TenantId


Which = Literal["open", "all"]
MOST: Final = 500


def no_notice() -> NotFound:
    """Return the error for a notice that does not exist, or that the caller may not know of: one for both."""
    return NotFound("there is no such notice", code="recipient-notice-not-found", hint="check its id")


@audited("read-notices")
async def my_notices(
    services: Services, caller: Caller, *, which: Which = "open", after: UUID | None = None, limit: int = 100
) -> AppNoticePage:
    """List the notices to the calling app, the oldest first: those that it has not acknowledged, or all.

    Raises:
        InvalidInput: the limit is out of 1 to 500.
        TooMany: the caller has exceeded its rate.
    """
    check_page(limit, MOST, "notices")
    query = store.NoticeQuery(
        principal=caller.principal.id, states=store.OPEN if which == "open" else (), after=after, limit=limit + 1
    )
    async with services.data.reading() as connection:
        notices = await store.list_notices(connection, caller.tenant, query)
    await services.audit_log.append(audit_entry(services, caller, action="read-notices", decision="allowed"))
    page, cursor = cut(notices, limit)
    return AppNoticePage(notices=[AppNotice.from_object(notice) for notice in page], next=cursor)


@audited("read-notices")
async def list_sent(
    services: Services,
    caller: Caller,
    query: store.NoticeQuery,
    *,
    app: str | None = None,
) -> SentNoticePage:
    """List the notices to all apps, the oldest first, with their delivery.

    Args:
        app: the name of an app; None: all apps.

    Raises:
        Denied: the caller may not read them.
        InvalidInput: the limit is out of 1 to 500.
        NotFound: there is no such app.
    """
    check_page(query.limit, MOST, "notices")
    await require_permission(services, caller, "vault:notices", "read", audit_action="read-notices")
    keys = await services.keyring.row_keys(caller.tenant)
    async with services.data.reading() as connection:
        principals = await services.principals.list_principals(connection, caller.tenant)
        recipient = None if app is None else (await services.principals.find(connection, caller.tenant, app)).id
        wanted = replace(query, principal=recipient, limit=query.limit + 1)
        notices = await store.list_notices(connection, caller.tenant, wanted)
        webhooks = {webhook.principal: webhook.state for webhook in await store.list_webhooks(connection, keys)}
        pseudonym = await services.subjects.pseudonym_of(connection, caller.tenant, query.subject)
    entry = audit_entry(
        services,
        caller,
        action="read-notices",
        decision="allowed",
        subjects=() if pseudonym is None else (pseudonym,),
    )
    await services.audit_log.append(entry)
    names: dict[UUID, str] = {principal.id: principal.name for principal in principals}
    page, cursor = cut(notices, query.limit)
    return SentNoticePage(
        notices=[
            SentNotice.from_object(notice, app=names.get(notice.principal, ""), webhook=webhooks.get(notice.principal))
            for notice in page
        ],
        next=cursor,
    )


@audited("acknowledge-notice")
async def acknowledge(services: Services, caller: Caller, notice: UUID) -> AppNotice:
    """Note that an app has done what a notice asks for. A second time has no effect.

    The app does this itself. Staff who may send reminders can do it on behalf of an app that cannot answer any more,
    which is recorded in the audit log.

    Raises:
        NotFound: there is no such notice, or it is another app's.
    """
    async with services.data.transaction() as connection:
        stored = await store.find_notice(connection, caller.tenant, notice, lock=True)
        is_own = stored is not None and stored.principal == caller.principal.id
        # A caller without the permission must not learn whether another app's notice exists: one error for both.
        if stored is None or not (is_own or _may_chase(services, caller)):
            raise no_notice()
        if stored.state != "acknowledged":
            stored = replace(
                stored,
                state="acknowledged",
                next_at=None,
                acknowledged_at=services.clock.now(),
                acknowledged_by=caller.principal.id,
            )
            await store.save_notice(connection, caller.tenant, stored)
        await _audit(services, connection, caller, stored, None if is_own else "on-behalf")
    return AppNotice.from_object(stored)


def _may_chase(services: Services, caller: Caller) -> bool:
    """Return whether the caller may send reminders."""
    if caller.principal.id == OPERATOR:
        return True
    decisions = services.policies.active(caller.tenant).decisions
    return decisions.may(caller.principal.roles, "vault:notices", "chase").granted


FIRST: Final = timedelta(days=3)
"""How long after a notice the app is reminded."""
AGAIN: Final = timedelta(days=1)
"""How long after a reminder the next one is sent."""
AT_ONCE: Final = 200


async def chase_recipients(services: Services) -> int:
    """Remind the apps of all tenants that have not acknowledged within three days, and from then on daily.

    Notices that waited for a webhook are scheduled, if the app has one now. A second call has no effect.

    Returns:
        the number of reminders.

    Raises:
        Unavailable: the database does not answer; earlier reminders stay.
    """
    return sum([await _chase_tenant(services, tenant) for tenant in await services.keyring.tenants()])


@audited("send-notice")
async def chase(services: Services, caller: Caller, notice: UUID) -> AppNotice:
    """Remind an app of one notice, now.

    Raises:
        Denied: the caller may not send reminders.
        NotFound: there is no such notice.
        Conflict: it is acknowledged (``notice-acknowledged``), or there is nowhere to send it (``no-webhook``).
    """
    await require_permission(services, caller, "vault:notices", "chase", audit_action="send-notice")
    keys = await services.keyring.row_keys(caller.tenant)
    async with services.data.transaction() as connection:
        stored = await store.find_notice(connection, caller.tenant, notice, lock=True)
        if stored is None:
            raise no_notice()
        if stored.state == "acknowledged":
            raise Conflict("the app has acknowledged this notice", code="notice-acknowledged")
        webhook = await store.find_webhook(connection, keys, stored.principal)
        if webhook is None or webhook.state != "active":
            raise Conflict(
                "the app has no webhook to which a reminder could go",
                code="no-webhook",
                hint="ask who runs the app, and acknowledge the notice on their behalf",
            )
        chased = await _again(services, connection, caller.tenant, stored)
        await _audit(services, connection, caller, chased, "chased")
    await services.jobs.start(NOTIFY.name, caller.tenant, notice, run=chased.round)
    return AppNotice.from_object(chased)


async def _audit(
    services: Services, connection: AsyncConnection, caller: Caller, notice: store.RecipientNotice, code: str | None
) -> None:
    pseudonym = await services.subjects.pseudonym_of(connection, caller.tenant, notice.subject)
    entry = audit_entry(
        services,
        caller,
        action="send-notice" if code == "chased" else "acknowledge-notice",
        decision="allowed",
        code=code,
        subjects=() if pseudonym is None else (pseudonym,),
        target=notice.id,
    )
    await services.audit_log.append_in(connection, [entry])


async def _chase_tenant(services: Services, tenant: TenantId) -> int:
    now, keys = services.clock.now(), await services.keyring.row_keys(tenant)
    async with services.data.transaction() as connection:
        for webhook in await store.list_webhooks(connection, keys):
            if webhook.state == "active":
                await store.retry_notices(connection, tenant, webhook.principal, now, states=("waiting",))
    done = 0
    while True:
        async with services.data.transaction() as connection:
            due = await store.notices_to_chase(
                connection, tenant, made_before=now - FIRST, chased_before=now - AGAIN, limit=AT_ONCE
            )
            for notice in due:
                stored = await store.find_notice(connection, tenant, notice, lock=True)
                if stored is not None and stored.state in {"delivered", "failed"}:
                    await _again(services, connection, tenant, stored)
                    done += 1
        if len(due) < AT_ONCE:
            return done


async def _again(
    services: Services, connection: AsyncConnection, tenant: TenantId, notice: store.RecipientNotice
) -> store.RecipientNotice:
    now = services.clock.now()
    reminder = replace(
        notice,
        state="pending",
        next_at=now,
        round=notice.round + 1,
        attempts=0,
        chased_at=now,
        chases=notice.chases + 1,
    )
    await store.save_notice(connection, tenant, reminder)
    return reminder
