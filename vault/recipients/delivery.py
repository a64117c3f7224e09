"""Deliver one notice: try, wait and try again, for a day; and the jobs that are due.

A notice is sent as Standard Webhooks 1.0 says. It contains no values, and is signed by a shared secret and by the
tenant's own key.

::

    webhook-id         msg_<notice>, and _<round> from the second round on; the same for every try of a round
    webhook-timestamp  seconds since 1970 of this try
    webhook-signature  v1,base64(HMAC-SHA-256(secret, content)) [the same by the previous secret] v1a,base64(Ed25519)
    content            webhook-id "." webhook-timestamp "." body

The Ed25519 key signs other documents too. None of those begins with ``msg_``, so a signature of one kind is never valid
for another.
"""

from __future__ import annotations

import hmac
import secrets as randomness
from base64 import b64encode
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from vault.access.authorization import audit_entry
from vault.access.callers import system_caller
from vault.clock import rfc3339
from vault.errors import InvalidInput, NotFound, RowTampered
from vault.ids import PrincipalId, TenantId, new_id
from vault.jobs.workflow import Workflow
from vault.messaging.http import NotPosted
from vault.recipients.store import due_notices, find_notice, find_webhook, save_notice, save_webhook
from vault.sensitive import Sensitive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Services
    from vault.crypto.derive import TokenKey
    from vault.crypto.row_mac import RowKeys
    from vault.crypto.signing import SigningKey
    from vault.recipients.store import RecipientNotice, StoredWebhook


DELAYS: Final = (5, 60, 300, 1_800, 7_200, 18_000, 25_200, 32_400)
"""Seconds between the tries, 23 and a half hours in total."""
JITTER: Final = 0.1
"""Relative random variation of a delay."""
LONGEST_WAIT: Final = 21_600
"""Seconds that a receiver may ask us to wait."""
LEASE: Final = timedelta(seconds=60)
"""How long a try excludes others: longer than a post may take."""
MOST: Final = 1_000
GONE: Final = 410


@dataclass(frozen=True, slots=True)
class _Trial:
    """A try in progress."""

    notice: RecipientNotice
    webhook: StoredWebhook


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a try: the status of the answer, and why it failed."""

    status: int | None
    code: str | None
    retry_after: int | None = None

    @property
    def taken(self) -> bool:
        """Return whether the receiver accepted the message."""
        return self.code is None


async def deliver(services: Services, tenant: TenantId, notice: UUID) -> float | None:
    """Try to deliver a notice, if a try is due.

    If the process dies between the post and its record, the notice is posted again after the lease, under the same
    ``webhook-id``, which the receiver ignores.

    Returns:
        the seconds until the next try; None if there is none.

    Raises:
        Unavailable: a database does not answer.
    """
    trial = await _begin(services, tenant, notice)
    if not isinstance(trial, _Trial):
        return trial
    outcome = await post_message(services, tenant, trial.webhook, *notice_message(trial.notice))
    return await _record(services, tenant, trial, outcome)


NOTIFY: Final = Workflow("notify", (("deliver", deliver),))


async def pending_notices(services: Services) -> list[tuple[str, TenantId, UUID, int]]:
    """Return the due jobs: name, tenant, id and run. Notices with a later try have their job already."""
    async with services.data.reading() as connection:
        due = await due_notices(connection, services.clock.now(), limit=MOST)
    return [(NOTIFY.name, TenantId(tenant), notice, round_) for tenant, notice, round_ in due]


async def _begin(services: Services, tenant: TenantId, notice: UUID) -> _Trial | float | None:
    """Begin the next try, or return the seconds until it is due."""
    now, keys = services.clock.now(), await services.keyring.row_keys(tenant)
    async with services.data.transaction() as connection:
        stored = await find_notice(connection, tenant, notice, lock=True)
        if stored is None or stored.state != "pending" or stored.next_at is None:
            return None
        if stored.next_at > now:
            return (stored.next_at - now).total_seconds()
        webhook, unreachable = await _reachable(services, connection, keys, stored)
        if webhook is None or unreachable is not None:
            waiting = replace(stored, state="waiting", next_at=None, last_code=unreachable)
            await save_notice(connection, tenant, waiting)
            return None
        trial = _Trial(replace(stored, attempts=stored.attempts + 1, next_at=now + LEASE), webhook)
        await save_notice(connection, tenant, trial.notice)
    return trial


async def _reachable(
    services: Services, connection: AsyncConnection, keys: RowKeys, notice: RecipientNotice
) -> tuple[StoredWebhook | None, str | None]:
    """Return the webhook of an app, and the code of why it cannot be reached."""
    try:
        webhook = await find_webhook(connection, keys, notice.principal)
        return webhook, await _unreachable(services, connection, keys.tenant, notice, webhook)
    except RowTampered as error:  # the app can still fetch the notice
        return None, error.code


async def _unreachable(
    services: Services,
    connection: AsyncConnection,
    tenant: TenantId,
    notice: RecipientNotice,
    webhook: StoredWebhook | None,
) -> str | None:
    """Return the code of why an app cannot be reached; None if it can."""
    if webhook is None or webhook.state == "removed":
        return "no-webhook"
    if webhook.state == "disabled":
        return "webhook-disabled"
    try:
        app = await services.principals.get(connection, tenant, PrincipalId(notice.principal))
    except NotFound:
        return "no-app"
    return None if app.state == "active" else "app-disabled"


async def post_message(services: Services, tenant: TenantId, webhook: StoredWebhook, id: str, body: bytes) -> Outcome:  # noqa: A002
    """Sign a message, post it once, and return the outcome: anything but 2xx is a failure.

    Args:
        id: of the message, which names every try of it.
    """
    now = services.clock.now()
    secrets = secrets_of(await services.keyring.token_key(tenant), webhook, now)
    headers = signed_headers(id, body, secrets, await services.keyring.signing_key(tenant), now)
    try:
        posted = await services.post.send(webhook.url, body, headers)
    except NotPosted as error:
        return Outcome(None, error.code)
    except InvalidInput as error:  # the address was valid when it was set; the settings have changed since
        return Outcome(None, error.code)
    if posted.taken:
        return Outcome(posted.status, None)
    if posted.status == GONE:
        return Outcome(posted.status, "webhook-gone")
    code = "redirected" if 300 <= posted.status < 400 else "refused"  # redirects are never followed
    return Outcome(posted.status, code, posted.retry_after)


async def _record(services: Services, tenant: TenantId, trial: _Trial, outcome: Outcome) -> float | None:
    now = services.clock.now()
    async with services.data.transaction() as connection:
        if outcome.status == GONE and not await _disable(services, connection, tenant, trial.webhook):
            outcome = replace(outcome, status=None)  # The app has set another address since: try that one.
        stored = await find_notice(connection, tenant, trial.notice.id, lock=True)
        if stored is None or (stored.round, stored.attempts) != (trial.notice.round, trial.notice.attempts):
            return None  # Another process has started a new try since.
        notice = _after_try(stored, outcome, now)
        await save_notice(connection, tenant, notice)
        if notice.next_at is None:
            pseudonym = await services.subjects.pseudonym_of(connection, tenant, notice.subject)
            entry = audit_entry(
                services,
                system_caller(tenant),
                action="send-notice",
                decision="allowed" if outcome.taken else "failed",
                code=outcome.code,
                fields=notice.fields,
                subjects=() if pseudonym is None else (pseudonym,),
                target=notice.id,
            )
            await services.audit_log.append_in(connection, [entry])
    return None if notice.next_at is None else (notice.next_at - now).total_seconds()


def _after_try(notice: RecipientNotice, outcome: Outcome, now: datetime) -> RecipientNotice:
    """Return a notice after a try."""
    result = replace(notice, last_status=outcome.status, last_code=outcome.code, next_at=None)
    if outcome.taken:
        result = replace(result, delivered_at=now)
    if notice.state != "pending":
        return result  # the app acknowledged it before it answered
    if outcome.taken:
        return replace(result, state="delivered")
    if outcome.status == GONE:
        return replace(result, state="waiting")
    if notice.attempts > len(DELAYS):
        return replace(result, state="failed")
    # Notices that failed together are not retried together.
    spread = 1 + JITTER * (randomness.randbelow(2_001) - 1_000) / 1_000
    delay = max(DELAYS[notice.attempts - 1] * spread, min(outcome.retry_after or 0, LONGEST_WAIT))
    return replace(result, next_at=now + timedelta(seconds=delay))


async def _disable(services: Services, connection: AsyncConnection, tenant: TenantId, tried: StoredWebhook) -> bool:
    """Disable a webhook whose address is gone; return whether it is still the app's address."""
    # Read again under a lock: the app may have set another address while the notice was posted.
    keys = await services.keyring.row_keys(tenant)
    webhook = await find_webhook(connection, keys, tried.principal, lock=True)
    if webhook is None or webhook.url != tried.url:
        return False
    if webhook.state != "active":
        return True
    now = services.clock.now()
    gone = replace(webhook, state="disabled", why="webhook-gone", updated_at=now)
    await save_webhook(connection, keys, gone)
    entry = audit_entry(
        services,
        system_caller(tenant),
        action="set-webhook",
        decision="allowed",
        code="webhook-gone",
        target=tried.principal,
    )
    await services.audit_log.append_in(connection, [entry])
    return True


SECRET: Final = "whsec_"  # noqa: S105 - a prefix, not a secret
PUBLIC: Final = "whpk_"
TEST: Final = "webhook.test"

_encode = msgspec.json.Encoder(order="sorted", uuid_format="canonical").encode


def secret_of(tokens: TokenKey, principal: UUID, version: int) -> bytes:
    """Derive a version of the secret of an app's webhook: 32 bytes. It is not stored."""
    return tokens.digest("webhook-secret", principal.bytes + version.to_bytes(4, "big"))


def shown_secret(tokens: TokenKey, principal: UUID, version: int) -> Sensitive[str]:
    """Encode a webhook's secret for receivers' libraries."""
    return Sensitive(SECRET + b64encode(secret_of(tokens, principal, version)).decode())


def shown_public(key: SigningKey) -> str:
    """Encode the tenant's public key for receivers' libraries."""
    return PUBLIC + b64encode(key.public).decode()


def secrets_of(tokens: TokenKey, webhook: StoredWebhook, now: datetime) -> list[bytes]:
    """Return the secrets that sign: the current one, and for a while after a rotation the previous one."""
    versions = [webhook.secret_version]
    if webhook.previous_until is not None and now < webhook.previous_until and webhook.secret_version > 1:
        versions.append(webhook.secret_version - 1)
    return [secret_of(tokens, webhook.principal, version) for version in versions]


def notice_message(notice: RecipientNotice) -> tuple[str, bytes]:
    """Return the id and the body of a notice's message: ids and names of fields, no values."""
    data: dict[str, object] = {
        "notice": notice.id,
        "subject": notice.subject,
        "fields": notice.fields,
        "request": notice.request,
        "acknowledge": f"/v1/notices/{notice.id}:acknowledge",
    }
    if notice.former:
        data["former"] = notice.former
    if notice.chases:
        data["reminder"] = notice.chases
    # Receivers ignore an id that they have seen, so a reminder needs its own.
    id_ = f"msg_{notice.id.hex}" + (f"_{notice.round}" if notice.round else "")
    return id_, _encode({"type": notice.kind, "timestamp": rfc3339(notice.created_at), "data": data})


def ping_message(now: datetime) -> tuple[str, bytes]:
    """Return the id and the body of a message without content, for a test of the receiver."""
    return f"msg_{new_id().hex}", _encode({"type": TEST, "timestamp": rfc3339(now), "data": {}})


def signed_headers(id: str, body: bytes, secrets: Sequence[bytes], key: SigningKey, now: datetime) -> dict[str, str]:  # noqa: A002
    """Return the headers of a message, with its signatures."""
    timestamp = str(int(now.timestamp()))
    content = f"{id}.{timestamp}.".encode() + body
    signatures = [f"v1,{b64encode(hmac.digest(secret, content, 'sha256')).decode()}" for secret in secrets]
    signatures.append(f"v1a,{b64encode(key.sign(content)).decode()}")
    return {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }
