"""An app's webhook, to which its notices are sent, and its secret: set, show, rotate, remove, test.

An app manages its own webhook; a caller with the permission to manage webhooks names another app. Each operation on
one webhook raises:

- NotFound: there is no such app, or it has no webhook.
- InvalidInput: the caller is no app and names none.
- Denied: the caller names an app, and may not manage webhooks.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import IntegrityError

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.errors import Conflict, InvalidInput, NotFound
from vault.recipients.delivery import ping_message, post_message, shown_public, shown_secret
from vault.recipients.store import StoredWebhook, add_webhook, find_webhook, retry_notices, save_webhook
from vault.recipients.store import list_webhooks as fetch_webhooks
from vault.recipients.views import Webhook, WebhookList, WebhookTest, WebhookWithKeys

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Action
    from vault.context import Caller, Services
    from vault.principals.principal import Principal

OVERLAP: Final = timedelta(hours=24)
"""How long the previous secret signs as well: as long as a notice is tried."""


@audited("set-webhook")
async def set_webhook(services: Services, caller: Caller, url: str, *, app: str | None = None) -> WebhookWithKeys:
    """Set the address of an app's webhook, and send its waiting notices there.

    The first address, and one after a removal, gets a new secret. A changed address keeps the secret.

    Args:
        url: https; it is resolved and checked at each post.
        app: the name of another app; if None, the caller.

    Raises:
        InvalidInput: the address is invalid.
        Conflict: another call is setting this webhook.
    """
    await _require_right(services, caller, app, "set-webhook")
    services.post.check(url)
    keys = await services.keyring.row_keys(caller.tenant)
    try:
        async with services.data.transaction() as connection:
            principal = await _principal(services, connection, caller, app)
            now = services.clock.now()
            stored = await find_webhook(connection, keys, principal.id, lock=True)
            webhook, is_new = _with_url(stored, principal, url, now)
            await (add_webhook if stored is None else save_webhook)(connection, keys, webhook)
            await retry_notices(connection, caller.tenant, principal.id, now)
            await _audit(services, connection, caller, principal, "webhook-set")
    except IntegrityError:
        raise Conflict("another call is setting this webhook", code="in-flight", hint="try again") from None
    return await _view(services, caller, principal, webhook, with_secret=is_new)


def _with_url(
    stored: StoredWebhook | None, principal: Principal, url: str, now: datetime
) -> tuple[StoredWebhook, bool]:
    """Return the webhook with an address, and whether its secret is new."""
    if stored is None:
        return StoredWebhook(principal.id, url, "active", 1, None, now, now), True
    changed = replace(stored, url=url, state="active", updated_at=now, why=None)
    if stored.state != "removed":
        return changed, False
    return replace(changed, secret_version=stored.secret_version + 1, previous_until=None, created_at=now), True


@audited("set-webhook")
async def rotate_secret(services: Services, caller: Caller, *, app: str | None = None) -> WebhookWithKeys:
    """Give an app's webhook a new secret. For a day both secrets sign, so that the receiver can change over."""
    await _require_right(services, caller, app, "set-webhook")
    keys = await services.keyring.row_keys(caller.tenant)
    async with services.data.transaction() as connection:
        principal = await _principal(services, connection, caller, app)
        now = services.clock.now()
        stored = _require_webhook(await find_webhook(connection, keys, principal.id, lock=True))
        webhook = replace(
            stored, secret_version=stored.secret_version + 1, previous_until=now + OVERLAP, updated_at=now
        )
        await save_webhook(connection, keys, webhook)
        await _audit(services, connection, caller, principal, "secret-rotated")
    return await _view(services, caller, principal, webhook, with_secret=True)


@audited("set-webhook")
async def remove_webhook(services: Services, caller: Caller, *, app: str | None = None) -> None:
    """Remove an app's webhook. Its notices wait until it fetches them."""
    await _require_right(services, caller, app, "set-webhook")
    keys = await services.keyring.row_keys(caller.tenant)
    async with services.data.transaction() as connection:
        principal = await _principal(services, connection, caller, app)
        stored = _require_webhook(await find_webhook(connection, keys, principal.id, lock=True))
        removed = replace(
            stored, url="", state="removed", updated_at=services.clock.now(), previous_until=None, why=None
        )
        await save_webhook(connection, keys, removed)
        await _audit(services, connection, caller, principal, "webhook-removed")


@audited("read-notices")
async def read_webhook(services: Services, caller: Caller, *, app: str | None = None) -> WebhookWithKeys:
    """Show an app's webhook, without its secret."""
    await _require_right(services, caller, app, "read-notices")
    principal, webhook = await _find(services, caller, app)
    entry = audit_entry(services, caller, action="read-notices", decision="allowed", target=principal.id)
    await services.audit_log.append(entry)
    return await _view(services, caller, principal, webhook, with_secret=False)


@audited("send-notice")
async def try_webhook(services: Services, caller: Caller, *, app: str | None = None) -> WebhookTest:
    """Post an event without content to an app's webhook, and return the result.

    Raises:
        TooMany: the caller has used up its rate.
    """
    await services.limits.take(caller.principal, "search", 1)  # Each test posts to an address of the app's choice.
    await _require_right(services, caller, app, "send-notice")
    principal, webhook = await _find(services, caller, app)
    message = ping_message(services.clock.now())
    result = WebhookTest.from_object(await post_message(services, caller.tenant, webhook, *message))
    entry = audit_entry(
        services,
        caller,
        action="send-notice",
        decision="allowed" if result.taken else "failed",
        code=result.code or "webhook-test",
        target=principal.id,
    )
    await services.audit_log.append(entry)
    return result


@audited("read-notices")
async def list_webhooks(services: Services, caller: Caller) -> WebhookList:
    """List the webhooks of all apps.

    Raises:
        Denied: the caller may not manage webhooks.
    """
    await require_permission(services, caller, "vault:webhooks", "manage", audit_action="read-notices")
    async with services.data.reading() as connection:
        principals = await services.principals.list_principals(connection, caller.tenant)
        webhooks = await fetch_webhooks(connection, await services.keyring.row_keys(caller.tenant))
    await services.audit_log.append(audit_entry(services, caller, action="read-notices", decision="allowed"))
    names: dict[UUID, str] = {principal.id: principal.name for principal in principals}
    return WebhookList(
        webhooks=[
            Webhook.from_object(webhook, app=names[webhook.principal])
            for webhook in webhooks
            if webhook.principal in names
        ]
    )


async def _require_right(services: Services, caller: Caller, app: str | None, audit_action: Action) -> None:
    """Require the permission to manage webhooks, unless an app acts on its own."""
    if app is not None:
        await require_permission(services, caller, "vault:webhooks", "manage", audit_action=audit_action)


async def _principal(services: Services, connection: AsyncConnection, caller: Caller, app: str | None) -> Principal:
    """Return the app that is named, or else the calling app."""
    if app is not None:
        return await services.principals.find(connection, caller.tenant, app)
    try:
        return await services.principals.get(connection, caller.tenant, caller.principal.id)
    except NotFound:
        raise InvalidInput("only an app has a webhook", code="not-an-app", hint="name the app by `app`") from None


async def _find(services: Services, caller: Caller, app: str | None) -> tuple[Principal, StoredWebhook]:
    async with services.data.reading() as connection:
        principal = await _principal(services, connection, caller, app)
        keys = await services.keyring.row_keys(caller.tenant)
        return principal, _require_webhook(await find_webhook(connection, keys, principal.id))


def _require_webhook(stored: StoredWebhook | None) -> StoredWebhook:
    if stored is None or stored.state == "removed":
        raise NotFound("the app has no webhook", code="no-webhook", hint="set one with PUT /v1/webhook")
    return stored


async def _view(
    services: Services, caller: Caller, principal: Principal, webhook: StoredWebhook, *, with_secret: bool
) -> WebhookWithKeys:
    public = shown_public(await services.keyring.signing_key(caller.tenant))
    tokens = await services.keyring.token_key(caller.tenant)
    secret = shown_secret(tokens, webhook.principal, webhook.secret_version).reveal() if with_secret else None
    return WebhookWithKeys.from_object(webhook, app=principal.name, public_key=public, secret=secret)


async def _audit(
    services: Services, connection: AsyncConnection, caller: Caller, principal: Principal, code: str
) -> None:
    entry = audit_entry(services, caller, action="set-webhook", decision="allowed", code=code, target=principal.id)
    await services.audit_log.append_in(connection, [entry])
