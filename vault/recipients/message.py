"""A notice as it is sent: Standard Webhooks 1.0, thin, signed by a secret that both know and by the tenant's own key.

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
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from vault.clock import rfc3339
from vault.sensitive import Sensitive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from vault.crypto.derive import TokenKey
    from vault.crypto.signing import SigningKey
    from vault.recipients.requests_webhooks import Webhook
    from vault.recipients.store import RecipientNotice

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
