"""The notices of an app as it fetches and acknowledges them, and those of all apps as staff looks after them.

Remind the apps that have not acknowledged: by the clock each day, or because somebody asks for it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

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
    save_notice,
    send_anew,
)
from vault.recipients.store import list_notices as fetch_notices
from vault.subjects.store import pseudonym_of

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.recipients.store import RecipientNotice


Which = Literal["open", "all"]
MOST: Final = 500


class Sent(NamedTuple):
    """A notice as staff sees it: with the app's name, and whether there is anywhere to post it."""

    notice: RecipientNotice
    app: str
    webhook: str | None


class Page(NamedTuple):
    """Some notices, the oldest first, and the id to go on after."""

    notices: list[RecipientNotice]
    next: UUID | None


class SentPage(NamedTuple):
    """The same for staff."""

    notices: list[Sent]
    next: UUID | None


def no_notice() -> NotFound:
    """Make the one error for a notice that is not there, or not the caller's to know of."""
    return NotFound("there is no such notice", code="recipient-notice-not-found", hint="check its id")


@audited("read-notices")
async def my_notices(
    services: Services, caller: Caller, *, which: Which = "open", after: UUID | None = None, limit: int = 100
) -> Page:
    """List the notices to the calling app, the oldest first: those that it has not acknowledged, or all.

    Raises:
        InvalidInput: the limit is out of 1 to 500.
        TooMany: the caller has used up its rate.
    """
    _check(limit)
    await services.limits.take(caller.principal, "read", 1)
    states = OPEN if which == "open" else ()
    async with services.data.reading() as connection:
        found = await fetch_notices(
            connection, caller.tenant, principal=caller.principal.id, states=states, after=after, limit=limit + 1
        )
    await services.audit_log.append(audit_entry(services, caller, action="read-notices", decision="allowed"))
    return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)


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
) -> SentPage:
    """List the notices to all apps, the oldest first: who was told what of whom, and who has not acknowledged.

    Raises:
        Denied: no role of the caller's may read them.
        InvalidInput: the limit is out of 1 to 500.
        NotFound: there is no such app.
    """
    _check(limit)
    await require_permission(services, caller, "vault:notices", "read", audit_action="read-notices")
    async with services.data.reading() as connection:
        apps = {each.id: each for each in await services.principals.list_principals(connection, caller.tenant)}
        whose = None if app is None else (await services.principals.find(connection, caller.tenant, app)).id
        found = await fetch_notices(
            connection,
            caller.tenant,
            principal=whose,
            subject=subject,
            request=request,
            states=OPEN if which == "open" else (),
            after=after,
            limit=limit + 1,
        )
        webhooks = {each.principal: each.state for each in await list_webhooks(connection, caller.tenant)}
        pseudonym = await pseudonym_of(connection, caller.tenant, subject)
    made = audit_entry(
        services,
        caller,
        action="read-notices",
        decision="allowed",
        subjects=() if pseudonym is None else (pseudonym,),
    )
    await services.audit_log.append(made)
    names = {key: each.name for key, each in apps.items()}
    shown = [
        Sent(each, names.get(each.principal, ""), webhooks.get(each.principal))  # type: ignore[call-overload]
        for each in found[:limit]
    ]
    return SentPage(shown, found[limit - 1].id if len(found) > limit else None)


@audited("acknowledge-notice")
async def acknowledge(
    services: Services, caller: Caller, notice: UUID, *, on_commit: SaveResponse | None = None
) -> RecipientNotice:
    """Note that an app has done what a notice asks of it; doing so again changes nothing.

    It is for the app itself. Whoever may chase can do it in the app's stead, for one that cannot answer any more; the
    audit log says so.

    Raises:
        NotFound: there is no such notice, or it is another app's.
    """
    async with services.data.transaction() as connection:
        found = await locked_notice(connection, caller.tenant, notice)
        own = found is not None and found.principal == caller.principal.id
        if found is None or not (own or _may_chase(services, caller)):
            raise no_notice()
        if found.state != "acknowledged":
            found = found._replace(
                state="acknowledged",
                next_at=None,
                acknowledged_at=services.clock.now(),
                acknowledged_by=caller.principal.id,
            )
            await save_notice(connection, caller.tenant, found)
        pseudonym = await pseudonym_of(connection, caller.tenant, found.subject)
        made = audit_entry(
            services,
            caller,
            action="acknowledge-notice",
            decision="allowed",
            code=None if own else "on-behalf",
            subjects=() if pseudonym is None else (pseudonym,),
            target=notice,
        )
        await services.audit_log.append_in(connection, [made])
        if on_commit is not None:
            await on_commit(connection, found)
    return found


def _may_chase(services: Services, caller: Caller) -> bool:
    """Tell whether the caller looks after notices of others; who does not, learns nothing of them."""
    if caller.principal.id == OPERATOR:
        return True
    decisions = services.policies.active(caller.tenant).decisions
    return decisions.may(caller.principal.roles, "vault:notices", "chase").granted


def _check(limit: int) -> None:
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} notices", code="invalid-page")


FIRST: Final = timedelta(days=3)
"""How long an app may take before it is reminded."""
AGAIN: Final = timedelta(days=1)
"""How long after a reminder comes the next."""
AT_ONCE: Final = 200


async def chase_recipients(services: Services) -> int:
    """Remind the apps of all tenants of what they have not acknowledged within three days, and from then on daily.

    What could not be posted because an app had no address is tried where it has one now. Done twice, it does nothing
    the second time.

    Returns:
        how many reminders go out.

    Raises:
        Unavailable: the database does not answer; what was done stays.
    """
    return sum([await _chase_tenant(services, tenant) for tenant in await services.keyring.tenants()])


@audited("send-notice")
async def chase(services: Services, caller: Caller, notice: UUID) -> RecipientNotice:
    """Remind an app of one notice, now.

    Raises:
        Denied: no role of the caller's may chase.
        NotFound: there is no such notice.
        Conflict: it is acknowledged (``notice-acknowledged``), or there is nowhere to send it (``no-webhook``).
    """
    await require_permission(services, caller, "vault:notices", "chase", audit_action="send-notice")
    async with services.data.transaction() as connection:
        found = await locked_notice(connection, caller.tenant, notice)
        if found is None:
            raise no_notice()
        if found.state == "acknowledged":
            raise Conflict("the app has acknowledged this notice", code="notice-acknowledged")
        await _require_webhook(connection, caller, found)
        chased = await _again(services, connection, caller.tenant, found)
        pseudonym = await pseudonym_of(connection, caller.tenant, found.subject)
        made = audit_entry(
            services,
            caller,
            action="send-notice",
            decision="allowed",
            code="chased",
            subjects=() if pseudonym is None else (pseudonym,),
            target=notice,
        )
        await services.audit_log.append_in(connection, [made])
    await services.jobs.start(NOTIFY.name, caller.tenant, notice, run=chased.round)
    return chased


async def _require_webhook(connection: AsyncConnection, caller: Caller, notice: RecipientNotice) -> None:
    webhook = await find_webhook(connection, caller.tenant, notice.principal)
    if webhook is None or webhook.state != "active":
        raise Conflict(
            "the app has no webhook to which a reminder could go",
            code="no-webhook",
            hint="ask whoever runs the app; what they answer can be noted by acknowledging it for them",
        )


async def _chase_tenant(services: Services, tenant: TenantId) -> int:
    now = services.clock.now()
    async with services.data.transaction() as connection:
        for webhook in await list_webhooks(connection, tenant):
            if webhook.state == "active":
                await send_anew(connection, tenant, webhook.principal, now, states=("waiting",))
    done = 0
    while True:
        async with services.data.transaction() as connection:
            due = await notices_to_chase(
                connection, tenant, made_before=now - FIRST, chased_before=now - AGAIN, limit=AT_ONCE
            )
            for notice in due:
                found = await locked_notice(connection, tenant, notice)
                if found is not None and found.state in {"delivered", "failed"}:
                    await _again(services, connection, tenant, found)
                    done += 1
        if len(due) < AT_ONCE:
            return done


async def _again(
    services: Services, connection: AsyncConnection, tenant: TenantId, notice: RecipientNotice
) -> RecipientNotice:
    now = services.clock.now()
    again = notice._replace(
        state="pending", next_at=now, round=notice.round + 1, attempts=0, chased_at=now, chases=notice.chases + 1
    )
    await save_notice(connection, tenant, again)
    return again
