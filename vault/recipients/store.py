"""Notices to apps, as they lie in the outbox, and where the apps want them sent: rows in, rows out.

Where apps want their notices sent: rows in, rows out.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotations  # noqa: TC003 - a NamedTuple's annotations are read by whoever writes it as JSON
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args
from uuid import UUID

import msgspec
from sqlalchemy import insert, or_, select, update

from vault.recipients.tables import RECIPIENT_NOTICE, WEBHOOK

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import TenantId


NoticeKind = Literal[
    "subject.erased",
    "subject.rectified",
    "subject.restricted",
    "subject.restriction-lifted",
    "subject.objected",
    "subject.withdrawn",
]
"""What happened to a person's data."""
NoticeState = Literal["pending", "delivered", "waiting", "failed", "acknowledged"]
"""``pending``: a post is to be tried; ``delivered``: the app took it, and has not acknowledged; ``waiting``: there is
nowhere to post it, the app has to fetch it; ``failed``: every try of a day failed; ``acknowledged``: done."""
KINDS: Final[tuple[str, ...]] = get_args(NoticeKind)
STATES: Final[tuple[str, ...]] = get_args(NoticeState)
OPEN: Final = ("pending", "delivered", "waiting", "failed")
"""What the app has not acknowledged."""

N = RECIPIENT_NOTICE.c


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    fields: tuple[str, ...] = ()
    former: tuple[UUID, ...] = ()


_encode = msgspec.json.Encoder(order="sorted").encode
_body = msgspec.json.Decoder(_Body)


class RecipientNotice(NamedTuple):
    """One notice to one app.

    Attributes:
        kind: what happened.
        fields: names of the fields concerned that this app was shown, such as ``profile.email``.
        former: ids that were merged into this person, under which the app may know them.
        round: how often its delivery was begun anew; a job belongs to one round.
        attempts: tries of this round.
        next_at: when the next try is due; none where there is none to come.
        last_status: what the app's server answered last; none where it gave no answer.
        last_code: why the last try failed.
        acknowledged_by: the app, or whoever noted it for the app.
        chases: how often the app was reminded.
    """

    id: UUID
    principal: UUID
    subject: UUID
    request: UUID | None
    kind: NoticeKind
    state: NoticeState
    created_at: datetime
    round: int = 0
    attempts: int = 0
    next_at: datetime | None = None
    last_status: int | None = None
    last_code: str | None = None
    delivered_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: UUID | None = None
    chased_at: datetime | None = None
    chases: int = 0
    fields: tuple[str, ...] = ()
    former: tuple[UUID, ...] = ()


async def add_notices(connection: AsyncConnection, tenant: TenantId, notices: Sequence[RecipientNotice]) -> None:
    """Put new notices into the outbox."""
    if notices:
        await connection.execute(
            insert(RECIPIENT_NOTICE), [{"tenant_id": tenant, **_columns(each)} for each in notices]
        )


async def save_notice(connection: AsyncConnection, tenant: TenantId, notice: RecipientNotice) -> None:
    """Write a notice that is locked."""
    await connection.execute(
        update(RECIPIENT_NOTICE).where(N.tenant_id == tenant, N.id == notice.id).values(**_columns(notice))
    )


async def find_notice(connection: AsyncConnection, tenant: TenantId, notice: UUID) -> RecipientNotice | None:
    """Fetch a notice; none where there is none."""
    statement = select(RECIPIENT_NOTICE).where(N.tenant_id == tenant, N.id == notice)
    return _notice_or_none((await connection.execute(statement)).one_or_none())


async def locked_notice(connection: AsyncConnection, tenant: TenantId, notice: UUID) -> RecipientNotice | None:
    """Fetch a notice that is about to change; none where there is none."""
    statement = select(RECIPIENT_NOTICE).where(N.tenant_id == tenant, N.id == notice).with_for_update()
    return _notice_or_none((await connection.execute(statement)).one_or_none())


async def list_notices(
    connection: AsyncConnection,
    tenant: TenantId,
    *,
    principal: UUID | None = None,
    subject: UUID | None = None,
    request: UUID | None = None,
    states: Collection[str] = (),
    after: UUID | None = None,
    limit: int = 100,
) -> list[RecipientNotice]:
    """List notices, the oldest first: those to an app, about a person, of a request, in some states."""
    statement = select(RECIPIENT_NOTICE).where(N.tenant_id == tenant)
    if principal is not None:
        statement = statement.where(N.principal_id == principal)
    if subject is not None:
        statement = statement.where(N.subject_id == subject)
    if request is not None:
        statement = statement.where(N.request_id == request)
    if states:
        statement = statement.where(N.state.in_(sorted(states)))
    if after is not None:
        statement = statement.where(N.id > after)
    return [_notice(row) for row in await connection.execute(statement.order_by(N.id).limit(limit))]


async def due_notices(connection: AsyncConnection, now: datetime, *, limit: int) -> list[tuple[str, UUID, int]]:
    """List the notices of all tenants whose next try is due: tenant, id and round, the longest overdue first."""
    statement = select(N.tenant_id, N.id, N.round).where(N.state == "pending", N.next_at <= now)
    found = await connection.execute(statement.order_by(N.next_at).limit(limit))
    return [(row.tenant_id, row.id, row.round) for row in found]


async def send_anew(
    connection: AsyncConnection,
    tenant: TenantId,
    principal: UUID,
    now: datetime,
    *,
    states: Sequence[NoticeState] = ("waiting", "failed"),
) -> int:
    """Let what could not be posted to an app be tried again, for it has an address now; returns how many."""
    done = await connection.execute(
        update(RECIPIENT_NOTICE)
        .where(N.tenant_id == tenant, N.principal_id == principal, N.state.in_(states))
        .values(state="pending", next_at=now, round=N.round + 1, attempts=0)
    )
    return done.rowcount


async def notices_to_chase(
    connection: AsyncConnection, tenant: TenantId, *, made_before: datetime, chased_before: datetime, limit: int
) -> list[UUID]:
    """List the notices that were taken, or could not be delivered, long ago, and that nobody has acknowledged."""
    statement = select(N.id).where(
        N.tenant_id == tenant,
        N.state.in_(["delivered", "failed"]),
        N.created_at <= made_before,
        or_(N.chased_at.is_(None), N.chased_at <= chased_before),
    )
    return list((await connection.execute(statement.order_by(N.id).limit(limit))).scalars())


def _columns(notice: RecipientNotice) -> dict[str, Any]:
    facts = notice._asdict()
    body = _Body(facts.pop("fields"), facts.pop("former"))
    for name in ("principal", "subject", "request"):
        facts[f"{name}_id"] = facts.pop(name)
    return {**facts, "body": _encode(body)}


def _notice(row: Any) -> RecipientNotice:
    body = _body.decode(row.body)
    facts = {name: getattr(row, name) for name in RecipientNotice._fields if hasattr(row, name)}
    return RecipientNotice(
        **facts,
        principal=row.principal_id,
        subject=row.subject_id,
        request=row.request_id,
        fields=body.fields,
        former=body.former,
    )


def _notice_or_none(row: Any) -> RecipientNotice | None:
    return None if row is None else _notice(row)


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
