"""Where an app wants its notices sent, and the secret by which it knows them: set, shown, changed, removed, tried."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy.exc import IntegrityError

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import audited
from vault.errors import Conflict, InvalidInput, NotFound, VaultError
from vault.ids import new_id
from vault.messaging.http import NotPosted
from vault.recipients.delivery import outcome_of, secrets_of, shown_public, shown_secret, trial_message
from vault.recipients.store import Webhook, add_webhook, find_webhook, locked_webhook, save_webhook, send_anew
from vault.recipients.store import list_webhooks as fetch_webhooks

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Action
    from vault.context import Caller, Services
    from vault.principals.principal import Principal
    from vault.sensitive import Sensitive

OVERLAP: Final = timedelta(hours=24)
"""For how long the secret before signs too: as long as a notice is tried."""


class WebhookTold(NamedTuple):
    """A webhook as its app sees it.

    Attributes:
        app: its name.
        secret: shown once, when it is new.
        public_key: by which ``v1a`` signatures are checked: the tenant's, the same for all of its apps.
    """

    app: str
    webhook: Webhook
    public_key: str
    secret: Sensitive[str] | None = None

    @property
    def shown(self) -> str | None:
        """Return the secret in clear, for the one answer that shows it."""
        return None if self.secret is None else self.secret.reveal()


class Tried(NamedTuple):
    """What came of a test: whether it was taken, what status was answered, and why not."""

    taken: bool
    status: int | None
    code: str | None


@audited("set-webhook")
async def set_webhook(services: Services, caller: Caller, url: str, *, app: str | None = None) -> WebhookTold:
    """Say where an app wants its notices sent; what could not be sent so far is tried now.

    A new address of an app that has one keeps the secret. The first one, and one after a removal, gets a new secret.

    Args:
        caller: the app itself, or whoever may manage the webhooks of others.
        url: https; it is looked up and checked at each post.
        app: the name of another app; none: the caller's own.

    Raises:
        InvalidInput: the address does not have its form, or the caller is no app and names none.
        NotFound: there is no such app.
        Denied: the caller may not manage others' webhooks.
    """
    await _require_right(services, caller, app, "set-webhook")
    services.post.check(url)
    try:
        async with services.data.transaction() as connection:
            whose = await _whose(services, connection, caller, app)
            now = services.clock.now()
            there = await locked_webhook(connection, caller.tenant, whose.id)
            webhook, is_new = _with_url(there, whose, url, now)
            await (add_webhook if there is None else save_webhook)(connection, caller.tenant, webhook)
            await send_anew(connection, caller.tenant, whose.id, now)
            await _note(services, connection, caller, whose, "webhook-set")
    except IntegrityError:
        raise Conflict("the same app sets its webhook at this moment", code="in-flight", hint="try again") from None
    return await _told(services, caller, whose, webhook, with_secret=is_new)


def _with_url(there: Webhook | None, whose: Principal, url: str, now: datetime) -> tuple[Webhook, bool]:
    """Make the webhook with an address, and tell whether its secret is a new one."""
    if there is None:
        return Webhook(whose.id, url, "active", 1, None, now, now), True
    changed = there._replace(url=url, state="active", updated_at=now, why=None)
    if there.state != "removed":
        return changed, False
    return changed._replace(version=there.version + 1, previous_until=None, created_at=now), True


@audited("set-webhook")
async def rotate_secret(services: Services, caller: Caller, *, app: str | None = None) -> WebhookTold:
    """Give an app's webhook a new secret; for a day both sign, so that the receiver can change over without a gap.

    Raises:
        NotFound: there is no such app, or it has no webhook.
        InvalidInput: the caller is no app and names none.
        Denied: the caller may not manage others' webhooks.
    """
    await _require_right(services, caller, app, "set-webhook")
    async with services.data.transaction() as connection:
        whose = await _whose(services, connection, caller, app)
        now = services.clock.now()
        there = _there(await locked_webhook(connection, caller.tenant, whose.id))
        webhook = there._replace(version=there.version + 1, previous_until=now + OVERLAP, updated_at=now)
        await save_webhook(connection, caller.tenant, webhook)
        await _note(services, connection, caller, whose, "secret-rotated")
    return await _told(services, caller, whose, webhook, with_secret=True)


@audited("set-webhook")
async def remove_webhook(services: Services, caller: Caller, *, app: str | None = None) -> None:
    """Take an app's webhook away; its notices wait until it fetches them.

    Raises:
        NotFound: there is no such app, or it has no webhook.
        InvalidInput: the caller is no app and names none.
        Denied: the caller may not manage others' webhooks.
    """
    await _require_right(services, caller, app, "set-webhook")
    async with services.data.transaction() as connection:
        whose = await _whose(services, connection, caller, app)
        there = _there(await locked_webhook(connection, caller.tenant, whose.id))
        removed = there._replace(
            url="", state="removed", updated_at=services.clock.now(), previous_until=None, why=None
        )
        await save_webhook(connection, caller.tenant, removed)
        await _note(services, connection, caller, whose, "webhook-removed")


@audited("read-notices")
async def read_webhook(services: Services, caller: Caller, *, app: str | None = None) -> WebhookTold:
    """Show an app's webhook, without its secret.

    Raises:
        NotFound: there is no such app, or it has no webhook.
        InvalidInput: the caller is no app and names none.
        Denied: the caller may not manage others' webhooks.
        TooMany: the caller has used up its rate.
    """
    await services.limits.take(caller.principal, "read", 1)
    await _require_right(services, caller, app, "read-notices")
    whose, webhook = await _find(services, caller, app)
    made = audit_entry(services, caller, action="read-notices", decision="allowed", target=whose.id)
    await services.audit_log.append(made)
    return await _told(services, caller, whose, webhook, with_secret=False)


@audited("send-notice")
async def try_webhook(services: Services, caller: Caller, *, app: str | None = None) -> Tried:
    """Post an event that says nothing to an app's webhook, and tell what came of it.

    Raises:
        NotFound: there is no such app, or it has no webhook.
        InvalidInput: the caller is no app and names none.
        Denied: the caller may not manage others' webhooks.
        TooMany: the caller has used up its rate.
    """
    await services.limits.take(caller.principal, "search", 1)  # each posts to an address of the app's choice
    await _require_right(services, caller, app, "send-notice")
    whose, webhook = await _find(services, caller, app)
    now = services.clock.now()
    by = secrets_of(await services.keyring.token_key(caller.tenant), webhook, now)
    message = trial_message(new_id(), by, await services.keyring.signing_key(caller.tenant), now)
    try:
        outcome = outcome_of(await services.post.send(webhook.url, message.body, message.headers))
        tried = Tried(outcome.taken, outcome.status, outcome.code)
    except (NotPosted, InvalidInput) as error:
        tried = Tried(taken=False, status=None, code=error.code)
    made = audit_entry(
        services,
        caller,
        action="send-notice",
        decision="allowed" if tried.taken else "failed",
        code=tried.code or "webhook-test",
        target=whose.id,
    )
    await services.audit_log.append(made)
    return tried


@audited("read-notices")
async def list_webhooks(services: Services, caller: Caller) -> list[tuple[str, Webhook]]:
    """List the webhooks of all apps, each with the app's name.

    Raises:
        Denied: the caller may not manage webhooks.
    """
    await require_permission(services, caller, "vault:webhooks", "manage", audit_action="read-notices")
    async with services.data.reading() as connection:
        names = {each.id: each.name for each in await services.principals.list_principals(connection, caller.tenant)}
        found = await fetch_webhooks(connection, caller.tenant)
    await services.audit_log.append(audit_entry(services, caller, action="read-notices", decision="allowed"))
    return [(names[each.principal], each) for each in found if each.principal in names]  # type: ignore[index]


async def _require_right(services: Services, caller: Caller, app: str | None, audit_action: Action) -> None:
    """Its own webhook is every app's own business."""
    if app is not None:
        await require_permission(services, caller, "vault:webhooks", "manage", audit_action=audit_action)


async def _whose(services: Services, connection: AsyncConnection, caller: Caller, app: str | None) -> Principal:
    """Find the app that is meant."""
    if app is not None:
        return await services.principals.find(connection, caller.tenant, app)
    try:
        return await services.principals.get(connection, caller.tenant, caller.principal.id)
    except NotFound:
        raise InvalidInput(
            "only an app has a webhook", code="not-an-app", hint="name the app that is meant by `app`"
        ) from None


async def _find(services: Services, caller: Caller, app: str | None) -> tuple[Principal, Webhook]:
    async with services.data.reading() as connection:
        whose = await _whose(services, connection, caller, app)
        return whose, _there(await find_webhook(connection, caller.tenant, whose.id))


def _there(found: Webhook | None) -> Webhook:
    if found is None or found.state == "removed":
        raise no_webhook()
    return found


def no_webhook() -> VaultError:
    """Make the error for an app that has no webhook."""
    return NotFound("the app has no webhook", code="no-webhook", hint="set one with PUT /v1/webhook")


async def _told(
    services: Services, caller: Caller, whose: Principal, webhook: Webhook, *, with_secret: bool
) -> WebhookTold:
    public = shown_public(await services.keyring.signing_key(caller.tenant))
    tokens = await services.keyring.token_key(caller.tenant)
    secret = shown_secret(tokens, webhook.principal, webhook.version) if with_secret else None
    return WebhookTold(whose.name, webhook, public, secret)


async def _note(services: Services, connection: AsyncConnection, caller: Caller, whose: Principal, code: str) -> None:
    made = audit_entry(services, caller, action="set-webhook", decision="allowed", code=code, target=whose.id)
    await services.audit_log.append_in(connection, [made])
