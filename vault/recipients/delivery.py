"""The job that delivers one notice: try, wait, try again, for a day; and which of these jobs there should be.

A notice as it is sent: Standard Webhooks 1.0, thin, signed by a secret that both know and by the tenant's own key.

::

    webhook-id         msg_<notice>, and _<round> from the second round on; the same for every try of a round
    webhook-timestamp  seconds from 1970 of this try
    webhook-signature  v1,base64(HMAC-SHA-256(secret, content)) [the same by the secret before] v1a,base64(Ed25519)
    content            webhook-id "." webhook-timestamp "." body

The Ed25519 key signs other documents too. None of those begins with ``msg_``, so that no signature of one kind ever
passes for one of another.
"""

from __future__ import annotations

import hmac
import secrets as randomness
from base64 import b64encode
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from vault.access.authorization import audit_entry
from vault.access.callers import system_caller
from vault.clock import rfc3339
from vault.errors import InvalidInput, NotFound
from vault.ids import PrincipalId, TenantId
from vault.jobs.workflow import Workflow
from vault.messaging.http import NotPosted
from vault.recipients.store import due_notices, find_webhook, locked_notice, locked_webhook, save_notice, save_webhook
from vault.sensitive import Sensitive
from vault.subjects.store import pseudonym_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Entry
    from vault.context import Services
    from vault.crypto.derive import TokenKey
    from vault.crypto.signing import SigningKey
    from vault.messaging.http import Posted
    from vault.recipients.store import RecipientNotice, Webhook


DELAYS: Final = (5, 60, 300, 1_800, 7_200, 18_000, 25_200, 32_400)
"""Seconds between the tries: all of them together are 23 and a half hours."""
JITTER: Final = 0.1
"""By which part a delay is longer or shorter, so that what failed together does not come back together."""
LONGEST_WAIT: Final = 21_600
"""Seconds that a receiver may ask us to wait."""
LEASE: Final = timedelta(seconds=60)
"""For how long nobody else tries a notice that somebody is trying: longer than a post may take."""
MOST: Final = 1_000
GONE: Final = 410


class _Trial(NamedTuple):
    """A try that is under way."""

    notice: RecipientNotice
    webhook: Webhook


class _Outcome(NamedTuple):
    """What came of a try: the status of the answer, or why there was none."""

    status: int | None
    code: str | None
    retry_after: int | None = None

    @property
    def taken(self) -> bool:
        return self.code is None


async def deliver(services: Services, tenant: TenantId, notice: UUID) -> float | None:
    """Try to deliver a notice, if a try is due.

    A process that dies between the post and its record leaves the notice as it was: after the lease it is posted once
    more under the same ``webhook-id``, and the receiver passes over it.

    Returns:
        after how many seconds to try again; none where nothing is left to try.

    Raises:
        Unavailable: a database does not answer.
    """
    begun = await _begin(services, tenant, notice)
    if not isinstance(begun, _Trial):
        return begun
    outcome = await _post(services, tenant, begun)
    return await _record(services, tenant, begun, outcome)


NOTIFY: Final = Workflow("notify", (("deliver", deliver),))


async def pending_notices(services: Services) -> list[tuple[str, TenantId, UUID, int]]:
    """List the jobs that should run: name, tenant, id and run; those that wait for a later try have theirs already."""
    async with services.data.reading() as connection:
        due = await due_notices(connection, services.clock.now(), limit=MOST)
    return [(NOTIFY.name, TenantId(tenant), notice, round_) for tenant, notice, round_ in due]


async def _begin(services: Services, tenant: TenantId, notice: UUID) -> _Trial | float | None:
    """Take the next try, or tell when it is due."""
    now = services.clock.now()
    async with services.data.transaction() as connection:
        found = await locked_notice(connection, tenant, notice)
        if found is None or found.state != "pending" or found.next_at is None:
            return None
        if found.next_at > now:
            return (found.next_at - now).total_seconds()
        webhook = await find_webhook(connection, tenant, found.principal)
        unreachable = await _unreachable(services, connection, tenant, found, webhook)
        if webhook is None or unreachable is not None:
            waiting = found._replace(state="waiting", next_at=None, last_code=unreachable)
            await save_notice(connection, tenant, waiting)
            return None
        taken = found._replace(attempts=found.attempts + 1, next_at=now + LEASE)
        await save_notice(connection, tenant, taken)
    return _Trial(taken, webhook)


async def _unreachable(
    services: Services, connection: AsyncConnection, tenant: TenantId, notice: RecipientNotice, webhook: Webhook | None
) -> str | None:
    """Say in one word why an app cannot be posted to."""
    if webhook is None or webhook.state == "removed":
        return "no-webhook"
    if webhook.state == "disabled":
        return "webhook-disabled"
    try:
        app = await services.principals.get(connection, tenant, PrincipalId(notice.principal))
    except NotFound:
        return "no-app"
    return None if app.state == "active" else "app-disabled"


async def _post(services: Services, tenant: TenantId, trial: _Trial) -> _Outcome:
    now = services.clock.now()
    by = secrets_of(await services.keyring.token_key(tenant), trial.webhook, now)
    message = notice_message(trial.notice, by, await services.keyring.signing_key(tenant), now)
    try:
        return outcome_of(await services.post.send(trial.webhook.url, message.body, message.headers))
    except (NotPosted, InvalidInput) as error:  # the address was right when it was set; the settings have changed since
        return _Outcome(None, error.code)


def outcome_of(posted: Posted) -> _Outcome:
    """Judge an answer: anything but a 2xx is a failure; a redirect is one too, for it is never followed."""
    if posted.taken:
        return _Outcome(posted.status, None)
    if posted.status == GONE:
        return _Outcome(posted.status, "webhook-gone")
    code = "redirected" if 300 <= posted.status < 400 else "refused"
    return _Outcome(posted.status, code, posted.retry_after)


async def _record(services: Services, tenant: TenantId, trial: _Trial, outcome: _Outcome) -> float | None:
    now = services.clock.now()
    async with services.data.transaction() as connection:
        if outcome.status == GONE and not await _disable(services, connection, tenant, trial.webhook):
            outcome = outcome._replace(status=None)  # the app has named another address meanwhile: try that one
        found = await locked_notice(connection, tenant, trial.notice.id)
        if found is None or (found.round, found.attempts) != (trial.notice.round, trial.notice.attempts):
            return None  # somebody began anew meanwhile, and goes on with it
        left = _left(found, outcome, now)
        await save_notice(connection, tenant, left)
        if left.next_at is None:
            await services.audit_log.append_in(connection, [await _entry(services, connection, tenant, left, outcome)])
    return None if left.next_at is None else (left.next_at - now).total_seconds()


def _left(notice: RecipientNotice, outcome: _Outcome, now: datetime) -> RecipientNotice:
    """Say what a notice is after a try; one that was acknowledged meanwhile stays so."""
    tried = notice._replace(last_status=outcome.status, last_code=outcome.code, next_at=None)
    if outcome.taken:
        tried = tried._replace(delivered_at=now)
    if notice.state != "pending":
        return tried
    if outcome.taken:
        return tried._replace(state="delivered")
    if outcome.status == GONE:
        return tried._replace(state="waiting")
    if notice.attempts > len(DELAYS):
        return tried._replace(state="failed")
    return tried._replace(next_at=now + timedelta(seconds=_delay(notice.attempts, outcome.retry_after)))


def _delay(attempts: int, retry_after: int | None) -> float:
    """Choose how long to wait after so many tries."""
    spread = 1 + JITTER * (randomness.randbelow(2_001) - 1_000) / 1_000
    return max(DELAYS[attempts - 1] * spread, min(retry_after or 0, LONGEST_WAIT))


async def _disable(services: Services, connection: AsyncConnection, tenant: TenantId, tried: Webhook) -> bool:
    """Post no more to an address that is gone; tells whether it still is the app's address."""
    webhook = await locked_webhook(connection, tenant, tried.principal)
    if webhook is None or webhook.url != tried.url:
        return False
    if webhook.state != "active":
        return True
    now = services.clock.now()
    await save_webhook(connection, tenant, webhook._replace(state="disabled", why="webhook-gone", updated_at=now))
    made = audit_entry(
        services,
        system_caller(tenant),
        action="set-webhook",
        decision="allowed",
        code="webhook-gone",
        target=tried.principal,
    )
    await services.audit_log.append_in(connection, [made])
    return True


async def _entry(
    services: Services, connection: AsyncConnection, tenant: TenantId, notice: RecipientNotice, outcome: _Outcome
) -> Entry:
    pseudonym = await pseudonym_of(connection, tenant, notice.subject)
    return audit_entry(
        services,
        system_caller(tenant),
        action="send-notice",
        decision="allowed" if outcome.taken else "failed",
        code=outcome.code,
        fields=notice.fields,
        subjects=() if pseudonym is None else (pseudonym,),
        target=notice.id,
    )


SECRET: Final = "whsec_"  # noqa: S105 - the prefix by which such a secret is known
PUBLIC: Final = "whpk_"
TEST: Final = "webhook.test"

_encode = msgspec.json.Encoder(order="sorted", uuid_format="canonical").encode


class Message(NamedTuple):
    """What is posted."""

    body: bytes
    headers: dict[str, str]


def secret_of(tokens: TokenKey, principal: UUID, version: int) -> bytes:
    """Derive the secret of an app's webhook: 32 bytes. It lies nowhere; each version is another one."""
    return tokens.digest("webhook-secret", principal.bytes + version.to_bytes(4, "big"))


def shown_secret(tokens: TokenKey, principal: UUID, version: int) -> Sensitive[str]:
    """Write a webhook's secret the way receivers' libraries take it."""
    return Sensitive(SECRET + b64encode(secret_of(tokens, principal, version)).decode())


def shown_public(key: SigningKey) -> str:
    """Write the public half of the tenant's key the way receivers' libraries take it."""
    return PUBLIC + b64encode(key.public).decode()


def secrets_of(tokens: TokenKey, webhook: Webhook, now: datetime) -> list[bytes]:
    """List the secrets by which to sign: the current one, and for a while after a change the one before."""
    versions = [webhook.version]
    if webhook.previous_until is not None and now < webhook.previous_until and webhook.version > 1:
        versions.append(webhook.version - 1)
    return [secret_of(tokens, webhook.principal, version) for version in versions]


def notice_message(notice: RecipientNotice, secrets: Sequence[bytes], key: SigningKey, now: datetime) -> Message:
    """Write a notice: ids and names of fields, no value."""
    data: dict[str, Any] = {
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
    body = _encode({"type": notice.kind, "timestamp": rfc3339(notice.created_at), "data": data})
    return _signed(message_id(notice), body, secrets, key, now)


def message_id(notice: RecipientNotice) -> str:
    """Name a message: a receiver that has seen it passes over it, so that a reminder needs a name of its own."""
    return f"msg_{notice.id.hex}" + (f"_{notice.round}" if notice.round else "")


def trial_message(id: UUID, secrets: Sequence[bytes], key: SigningKey, now: datetime) -> Message:  # noqa: A002
    """Write a message that says nothing, by which a receiver can try itself."""
    body = _encode({"type": TEST, "timestamp": rfc3339(now), "data": {}})
    return _signed(f"msg_{id.hex}", body, secrets, key, now)


def _signed(name: str, body: bytes, secrets: Sequence[bytes], key: SigningKey, now: datetime) -> Message:
    timestamp = str(int(now.timestamp()))
    content = f"{name}.{timestamp}.".encode() + body
    signatures = [f"v1,{b64encode(hmac.digest(secret, content, 'sha256')).decode()}" for secret in secrets]
    signatures.append(f"v1a,{b64encode(key.sign(content)).decode()}")
    headers = {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }
    return Message(body, headers)
