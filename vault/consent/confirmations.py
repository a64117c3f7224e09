"""The second half of a double opt-in: a token that goes to the person's own address and comes back once.

``cdvc_<event>_<secret>``: the event's id in 32 hex digits, and 32 random bytes in base64url without padding. Of the
token the vault keeps the SHA-256: with 256 bits of randomness there is nothing to guess.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from sqlalchemy import insert, select, update

from vault.consent.recorded import Confirmation
from vault.consent.tables import CONFIRMATION
from vault.ids import SubjectId, TenantId

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.event import Event
    from vault.consent.transaction import Change

_SHAPE = re.compile(r"cdvc_([0-9a-f]{32})_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_NOBODY = hashlib.sha256(secrets.token_bytes(32)).digest()
"""The digest of a token that nobody has: an unknown one is compared with it, and costs what a known one does."""


class Waiting(NamedTuple):
    """A request that waits to be confirmed."""

    tenant: TenantId
    subject: SubjectId
    event: UUID


async def ask_to_confirm(change: Change, requested: Event) -> Confirmation:
    """Make the token of a request, in the transaction that records the request."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    token = f"cdvc_{requested.id.hex}_{secret}"
    rules = change.house.policies.active(change.caller.tenant).policy_set.consent
    expires_at = change.now + rules.confirm
    row = {
        "tenant_id": change.caller.tenant,
        "event_id": requested.id,
        "subject_id": change.subject,
        "token_hash": _digest(token),
        "expires_at": expires_at,
        "used_at": None,
    }
    await change.connection.execute(insert(CONFIRMATION), [row])
    return Confirmation(token, expires_at)


async def waiting(connection: AsyncConnection, tenants: list[TenantId], token: str, now: datetime) -> Waiting | None:
    """Find the request that a token confirms; none where it is unknown, used or expired."""
    shaped = _SHAPE.fullmatch(token)
    row: Any = None
    if shaped is not None:
        statement = select(CONFIRMATION).where(
            CONFIRMATION.c.tenant_id.in_(tenants), CONFIRMATION.c.event_id == UUID(hex=shaped[1])
        )
        row = (await connection.execute(statement)).one_or_none()
    right = hmac.compare_digest(_digest(token), _NOBODY if row is None else bytes(row.token_hash))
    if row is None or not right or row.used_at is not None or now >= row.expires_at:
        return None
    return Waiting(TenantId(row.tenant_id), SubjectId(row.subject_id), row.event_id)


async def use(connection: AsyncConnection, found: Waiting, now: datetime) -> bool:
    """Use a token up; False where somebody else has done so meanwhile."""
    used = await connection.execute(
        update(CONFIRMATION)
        .where(
            CONFIRMATION.c.tenant_id == found.tenant,
            CONFIRMATION.c.event_id == found.event,
            CONFIRMATION.c.used_at.is_(None),
        )
        .values(used_at=now)
    )
    return used.rowcount == 1


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
