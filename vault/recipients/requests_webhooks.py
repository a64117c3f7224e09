"""Where apps want their notices sent: rows in, rows out."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - a NamedTuple's annotations are read by whoever writes it as JSON
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import insert, select, update

from vault.recipients.tables import WEBHOOK

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import TenantId

WebhookState = Literal["active", "disabled", "removed"]
"""``disabled``: the receiver said that it is gone for good (410); ``removed``: the app took it away."""

W = WEBHOOK.c
_COLUMNS = (
    W.principal_id, W.url, W.state, W.secret_version, W.previous_until, W.created_at, W.updated_at, W.why,
)  # fmt: skip


class Webhook(NamedTuple):
    """One app's address.

    Attributes:
        version: of the secret; a secret is never used again once another one took its place.
        previous_until: until when what is sent is signed by the secret before as well.
        why: for what reason it is disabled.
    """

    principal: UUID
    url: str
    state: WebhookState
    version: int
    previous_until: datetime | None
    created_at: datetime
    updated_at: datetime
    why: str | None = None


async def find_webhook(connection: AsyncConnection, tenant: TenantId, principal: UUID) -> Webhook | None:
    """Fetch an app's webhook, one that was removed too; none where there never was one."""
    return await _one(connection, _of(tenant, principal))


async def locked_webhook(connection: AsyncConnection, tenant: TenantId, principal: UUID) -> Webhook | None:
    """Fetch an app's webhook that is about to change."""
    return await _one(connection, _of(tenant, principal).with_for_update())


async def list_webhooks(connection: AsyncConnection, tenant: TenantId) -> list[Webhook]:
    """List a tenant's webhooks but those that were removed."""
    statement = select(*_COLUMNS).where(W.tenant_id == tenant, W.state != "removed").order_by(W.principal_id)
    return [_webhook(row) for row in await connection.execute(statement)]


async def add_webhook(connection: AsyncConnection, tenant: TenantId, webhook: Webhook) -> None:
    """Insert an app's first webhook.

    Raises:
        sqlalchemy.exc.IntegrityError: it has one.
    """
    await connection.execute(insert(WEBHOOK), [{"tenant_id": tenant, **_values(webhook)}])


async def save_webhook(connection: AsyncConnection, tenant: TenantId, webhook: Webhook) -> None:
    """Write a webhook that is locked."""
    await connection.execute(
        update(WEBHOOK).where(W.tenant_id == tenant, W.principal_id == webhook.principal).values(**_values(webhook))
    )


def _of(tenant: TenantId, principal: UUID) -> Any:
    return select(*_COLUMNS).where(W.tenant_id == tenant, W.principal_id == principal)


async def _one(connection: AsyncConnection, statement: Any) -> Webhook | None:
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _webhook(row)


def _webhook(row: Any) -> Webhook:
    principal, *rest = row
    return Webhook(UUID(bytes=principal.bytes), *rest)


def _values(webhook: Webhook) -> dict[str, Any]:
    return dict(zip((column.name for column in _COLUMNS), webhook, strict=True))
