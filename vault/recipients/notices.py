"""Notices to apps: an app fetches and acknowledges its own; staff list those to all apps and send reminders.

Apps that have not acknowledged are reminded daily, or at any time by staff.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from vault.access.authorization import audit_entry, require_permission
from vault.access.callers import OPERATOR
from vault.access.recording import audited
from vault.errors import Conflict, InvalidInput, NotFound
from vault.recipients.delivery import NOTIFY
from vault.recipients.store import (
    OPEN,
    find_webhook,
    list_webhooks,
    locked_notice,
    notices_to_chase,
    retry_notices,
    save_notice,
)
from vault.recipients.store import list_notices as fetch_notices
from vault.recipients.views import AppNotice, AppNoticePage, SentNotice, SentNoticePage
from vault.subjects.store import pseudonym_of

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.recipients.store import RecipientNotice


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
    _check(limit)
    await services.limits.take(caller.principal, "read", 1)
    states = OPEN if which == "open" else ()
    async with services.data.reading() as connection:
        notices = await fetch_notices(
            connection, caller.tenant, principal=caller.principal.id, states=states, after=after, limit=limit + 1
        )
    await services.audit_log.append(audit_entry(services, caller, action="read-notices", decision="allowed"))
    return AppNoticePage(
        notices=[AppNotice.of(notice) for notice in notices[:limit]],
        next=notices[limit - 1].id if len(notices) > limit else None,
    )


@audited("read-notices")
async def list_sent(
    services: Services,
    caller: Caller,
    *,
    which: Which = "open",
    app: str | None = None,
    subject: UUID | None = None,
    request: UUID | None = None,
    after: UUID | None = None,
    limit: int = 100,
) -> SentNoticePage:
    """List the notices to all apps, the oldest first, with their delivery.

    Raises:
        Denied: the caller may not read them.
        InvalidInput: the limit is out of 1 to 500.
        NotFound: there is no such app.
    """
    _check(limit)
    await require_permission(services, caller, "vault:notices", "read", audit_action="read-notices")
    async with services.data.reading() as connection:
        principals = await services.principals.list_principals(connection, caller.tenant)
        recipient = None if app is None else (await services.principals.find(connection, caller.tenant, app)).id
        notices = await fetch_notices(
            connection,
            caller.tenant,
            principal=recipient,
            subject=subject,
            request=request,
            states=OPEN if which == "open" else (),
            after=after,
            limit=limit + 1,
        )
        webhooks = {webhook.principal: webhook.state for webhook in await list_webhooks(connection, caller.tenant)}
        pseudonym = await pseudonym_of(connection, caller.tenant, subject)
    entry = audit_entry(
        services,
        caller,
        action="read-notices",
        decision="allowed",
        subjects=() if pseudonym is None else (pseudonym,),
    )
    await services.audit_log.append(entry)
    names: dict[UUID, str] = {principal.id: principal.name for principal in principals}
    return SentNoticePage(
        notices=[
            SentNotice.with_delivery(notice, names.get(notice.principal, ""), webhooks.get(notice.principal))
            for notice in notices[:limit]
        ],
        next=notices[limit - 1].id if len(notices) > limit else None,
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
        stored = await locked_notice(connection, caller.tenant, notice)
        is_own = stored is not None and stored.principal == caller.principal.id
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
            await save_notice(connection, caller.tenant, stored)
        pseudonym = await pseudonym_of(connection, caller.tenant, stored.subject)
        entry = audit_entry(
            services,
            caller,
            action="acknowledge-notice",
            decision="allowed",
            code=None if is_own else "on-behalf",
            subjects=() if pseudonym is None else (pseudonym,),
            target=notice,
        )
        await services.audit_log.append_in(connection, [entry])
    return AppNotice.of(stored)


def _may_chase(services: Services, caller: Caller) -> bool:
    """Return whether the caller may send reminders; others must not learn whether a notice exists."""
    if caller.principal.id == OPERATOR:
        return True
    decisions = services.policies.active(caller.tenant).decisions
    return decisions.may(caller.principal.roles, "vault:notices", "chase").granted


def _check(limit: int) -> None:
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} notices", code="invalid-page")


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
    async with services.data.transaction() as connection:
        stored = await locked_notice(connection, caller.tenant, notice)
        if stored is None:
            raise no_notice()
        if stored.state == "acknowledged":
            raise Conflict("the app has acknowledged this notice", code="notice-acknowledged")
        await _require_webhook(connection, caller, stored)
        chased = await _again(services, connection, caller.tenant, stored)
        pseudonym = await pseudonym_of(connection, caller.tenant, stored.subject)
        entry = audit_entry(
            services,
            caller,
            action="send-notice",
            decision="allowed",
            code="chased",
            subjects=() if pseudonym is None else (pseudonym,),
            target=notice,
        )
        await services.audit_log.append_in(connection, [entry])
    await services.jobs.start(NOTIFY.name, caller.tenant, notice, run=chased.round)
    return AppNotice.of(chased)


async def _require_webhook(connection: AsyncConnection, caller: Caller, notice: RecipientNotice) -> None:
    webhook = await find_webhook(connection, caller.tenant, notice.principal)
    if webhook is None or webhook.state != "active":
        raise Conflict(
            "the app has no webhook to which a reminder could go",
            code="no-webhook",
            hint="ask who runs the app, and acknowledge the notice on their behalf",
        )


async def _chase_tenant(services: Services, tenant: TenantId) -> int:
    now = services.clock.now()
    async with services.data.transaction() as connection:
        for webhook in await list_webhooks(connection, tenant):
            if webhook.state == "active":
                await retry_notices(connection, tenant, webhook.principal, now, states=("waiting",))
    done = 0
    while True:
        async with services.data.transaction() as connection:
            due = await notices_to_chase(
                connection, tenant, made_before=now - FIRST, chased_before=now - AGAIN, limit=AT_ONCE
            )
            for notice in due:
                stored = await locked_notice(connection, tenant, notice)
                if stored is not None and stored.state in {"delivered", "failed"}:
                    await _again(services, connection, tenant, stored)
                    done += 1
        if len(due) < AT_ONCE:
            return done


async def _again(
    services: Services, connection: AsyncConnection, tenant: TenantId, notice: RecipientNotice
) -> RecipientNotice:
    now = services.clock.now()
    again = replace(
        notice,
        state="pending",
        next_at=now,
        round=notice.round + 1,
        attempts=0,
        chased_at=now,
        chases=notice.chases + 1,
    )
    await save_notice(connection, tenant, again)
    return again
