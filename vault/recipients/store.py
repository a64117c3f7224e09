"""Notices to apps and webhooks: their tables and rows, and what an erasure and a merge do with them."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass, fields
from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from uuid import UUID

import msgspec
from sqlalchemy import Index, Integer, LargeBinary, String, insert, or_, select, update

from vault.crypto.row_mac import MacedTable
from vault.lifecycle.personal_data import RetainedData
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.crypto.row_mac import RowKeys
    from vault.ids import TenantId


class RecipientNoticeRow(DataTable, table=True):
    """A notice to an app that was shown data: ids and names of fields, and whether the app has acknowledged it."""

    __tablename__ = "recipient_notice"
    __table_args__ = (
        Index("ix_recipient_notice_principal", "tenant_id", "principal_id", "state"),
        Index("ix_recipient_notice_subject", "tenant_id", "subject_id"),
        Index("ix_recipient_notice_next", "state", "next_at"),
    )

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    principal_id: UUID = column(Id)
    subject_id: UUID = column(Id)
    request_id: UUID | None = column(Id, nullable=True)
    kind: str = column(String(32))
    state: str = column(String(16))
    created_at: datetime = column(Moment)
    round: int = column(Integer)
    attempts: int = column(Integer)
    next_at: datetime | None = column(Moment, nullable=True)
    last_status: int | None = column(Integer, nullable=True)
    last_code: str | None = column(String(32), nullable=True)
    delivered_at: datetime | None = column(Moment, nullable=True)
    acknowledged_at: datetime | None = column(Moment, nullable=True)
    acknowledged_by: UUID | None = column(Id, nullable=True)
    chased_at: datetime | None = column(Moment, nullable=True)
    chases: int = column(Integer)
    body: bytes = column(LargeBinary)


class WebhookRow(DataTable, table=True):
    """Where an app wants its notices sent. Secrets are derived, and not stored."""

    __tablename__ = "webhook"

    tenant_id: str = column(String(64), primary_key=True)
    principal_id: UUID = column(Id, primary_key=True)
    url: str = column(String(2000))
    state: str = column(String(16))
    secret_version: int = column(Integer)
    previous_until: datetime | None = column(Moment, nullable=True)
    created_at: datetime = column(Moment)
    updated_at: datetime = column(Moment)
    why: str | None = column(String(32), nullable=True)
    mac: bytes | None = column(LargeBinary, nullable=True)


RECIPIENT_NOTICE = table_of(RecipientNoticeRow)
WEBHOOK = table_of(WebhookRow)
WEBHOOKS = MacedTable(
    WEBHOOK,
    *("tenant_id", "principal_id", "url", "state", "secret_version", "previous_until", "created_at", "updated_at"),
    "why",
)

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
"""``pending``: to be posted; ``delivered``: the app accepted it, and has not acknowledged yet; ``waiting``: there is no
webhook, so the app has to fetch it; ``failed``: every try of a day failed; ``acknowledged``: done."""
KINDS: Final[tuple[str, ...]] = get_args(NoticeKind)
STATES: Final[tuple[str, ...]] = get_args(NoticeState)
OPEN: Final = ("pending", "delivered", "waiting", "failed")
"""States of notices that the app has not acknowledged."""

N = RECIPIENT_NOTICE.c


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    fields: tuple[str, ...] = ()
    former: tuple[UUID, ...] = ()


_encode = msgspec.json.Encoder(order="sorted").encode
_body = msgspec.json.Decoder(_Body)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientNotice:
    """One notice to one app.

    Attributes:
        kind: what happened.
        fields: names of the fields concerned that this app was shown, such as ``profile.email``.
        former: ids that were merged into this person, under which the app may know them.
        round: how often the delivery was started again; a job belongs to one round.
        attempts: tries of this round.
        last_status: the HTTP status of the last answer; None if there was none.
        last_code: why the last try failed.
        acknowledged_by: the app, or who acknowledged it on the app's behalf.
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


_SAME_NAMES: Final = {field.name for field in fields(RecipientNotice)} & set(N.keys())
"""Attributes that are columns of the same name."""


async def add_notices(connection: AsyncConnection, tenant: TenantId, notices: Sequence[RecipientNotice]) -> None:
    """Add notices to the outbox."""
    if notices:
        await connection.execute(
            insert(RECIPIENT_NOTICE), [{"tenant_id": tenant, **_columns(notice)} for notice in notices]
        )


async def save_notice(connection: AsyncConnection, tenant: TenantId, notice: RecipientNotice) -> None:
    """Update a locked notice."""
    await connection.execute(
        update(RECIPIENT_NOTICE).where(N.tenant_id == tenant, N.id == notice.id).values(**_columns(notice))
    )


async def find_notice(
    connection: AsyncConnection, tenant: TenantId, notice: UUID, *, lock: bool = False
) -> RecipientNotice | None:
    """Fetch a notice; None if it does not exist.

    Args:
        lock: for an update.
    """
    statement = select(RECIPIENT_NOTICE).where(N.tenant_id == tenant, N.id == notice)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return None if row is None else _notice(row)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeQuery:
    """Which notices to list: those to an app, about a person, of a request, or in some states; None or empty: all.

    Attributes:
        after: the last one of the page before.
    """

    principal: UUID | None = None
    subject: UUID | None = None
    request: UUID | None = None
    states: Collection[str] = ()
    after: UUID | None = None
    limit: int = 100


async def list_notices(
    connection: AsyncConnection, tenant: TenantId, query: NoticeQuery, *, lock: bool = False
) -> list[RecipientNotice]:
    """Return notices, the oldest first.

    Args:
        lock: for an update.
    """
    statement = select(RECIPIENT_NOTICE).where(N.tenant_id == tenant)
    for column_, value in (
        (N.principal_id, query.principal),
        (N.subject_id, query.subject),
        (N.request_id, query.request),
    ):
        if value is not None:
            statement = statement.where(column_ == value)
    if query.states:
        statement = statement.where(N.state.in_(sorted(query.states)))
    if query.after is not None:
        statement = statement.where(N.id > query.after)
    statement = statement.order_by(N.id).limit(query.limit)
    return [_notice(row) for row in await connection.execute(statement.with_for_update() if lock else statement)]


async def due_notices(connection: AsyncConnection, now: datetime, *, limit: int) -> list[tuple[str, UUID, int]]:
    """Return the notices of all tenants whose next try is due, the longest overdue first: tenant, id and round."""
    statement = select(N.tenant_id, N.id, N.round).where(N.state == "pending", N.next_at <= now)
    rows = await connection.execute(statement.order_by(N.next_at).limit(limit))
    return [(row.tenant_id, row.id, row.round) for row in rows]


async def retry_notices(
    connection: AsyncConnection,
    tenant: TenantId,
    principal: UUID,
    now: datetime,
    *,
    states: Sequence[NoticeState] = ("waiting", "failed"),
) -> int:
    """Schedule the notices that could not be posted to an app again; return how many."""
    done = await connection.execute(
        update(RECIPIENT_NOTICE)
        .where(N.tenant_id == tenant, N.principal_id == principal, N.state.in_(states))
        .values(state="pending", next_at=now, round=N.round + 1, attempts=0)
    )
    return done.rowcount


async def notices_to_chase(
    connection: AsyncConnection, tenant: TenantId, *, made_before: datetime, chased_before: datetime, limit: int
) -> list[UUID]:
    """Return the ids of old notices that the app has not acknowledged."""
    statement = select(N.id).where(
        N.tenant_id == tenant,
        N.state.in_(["delivered", "failed"]),
        N.created_at <= made_before,
        or_(N.chased_at.is_(None), N.chased_at <= chased_before),
    )
    return list((await connection.execute(statement.order_by(N.id).limit(limit))).scalars())


def _columns(notice: RecipientNotice) -> dict[str, Any]:
    values = asdict(notice)
    body = _Body(values.pop("fields"), values.pop("former"))
    for name in ("principal", "subject", "request"):
        values[f"{name}_id"] = values.pop(name)
    return {**values, "body": _encode(body)}


def _notice(row: Any) -> RecipientNotice:
    body = _body.decode(row.body)
    return RecipientNotice(
        **{name: getattr(row, name) for name in _SAME_NAMES},
        principal=row.principal_id,
        subject=row.subject_id,
        request=row.request_id,
        fields=body.fields,
        former=body.former,
    )


WebhookState = Literal["active", "disabled", "removed"]
"""``disabled``: the receiver answered 410 Gone; ``removed``: by the app."""

W = WEBHOOK.c


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """An app's webhook.

    Attributes:
        secret_version: a replaced secret is never used again.
        previous_until: until when the previous secret signs as well.
        why: why it is disabled.
    """

    principal: UUID
    url: str
    state: WebhookState
    secret_version: int
    previous_until: datetime | None
    created_at: datetime
    updated_at: datetime
    why: str | None = None


async def find_webhook(
    connection: AsyncConnection, keys: RowKeys, principal: UUID, *, lock: bool = False
) -> StoredWebhook | None:
    """Fetch an app's webhook, also a removed one; None if it never had one.

    Args:
        keys: of the tenant's MACs.
        lock: for an update.

    Raises:
        RowTampered: the vault did not write the row.
    """
    statement = select(*WEBHOOKS.columns).where(W.tenant_id == keys.tenant, W.principal_id == principal)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).one_or_none()
    if row is None:
        return None
    WEBHOOKS.check(keys, row)
    return _webhook(row)


async def list_webhooks(connection: AsyncConnection, keys: RowKeys) -> list[StoredWebhook]:
    """Return a tenant's webhooks, except removed ones and those that the vault did not write."""
    statement = (
        select(*WEBHOOKS.columns).where(W.tenant_id == keys.tenant, W.state != "removed").order_by(W.principal_id)
    )
    return [_webhook(row) for row in await connection.execute(statement) if WEBHOOKS.is_genuine(keys, row)]


async def add_webhook(connection: AsyncConnection, keys: RowKeys, webhook: StoredWebhook) -> None:
    """Insert an app's first webhook.

    Raises:
        sqlalchemy.exc.IntegrityError: the app has a webhook already.
    """
    await connection.execute(insert(WEBHOOK), [_webhook_row(keys, webhook)])


async def save_webhook(connection: AsyncConnection, keys: RowKeys, webhook: StoredWebhook) -> None:
    """Update a locked webhook."""
    this = W.tenant_id == keys.tenant, W.principal_id == webhook.principal
    await connection.execute(update(WEBHOOK).where(*this).values(_webhook_row(keys, webhook)))


def _webhook(row: Any) -> StoredWebhook:
    _tenant, principal, *rest, _mac = row
    return StoredWebhook(UUID(bytes=principal.bytes), *rest)


def _webhook_row(keys: RowKeys, webhook: StoredWebhook) -> dict[str, Any]:
    return WEBHOOKS.seal(keys, dict(zip(WEBHOOKS.covered, (keys.tenant, *astuple(webhook)), strict=True)))


class RecipientData(RetainedData):
    """Notices of corrections, erasures and restrictions (Art. 19 GDPR).

    Recipients have to learn of an erasure after it happened. After a merge they go on to know the subject by the
    duplicate's id.
    """

    tables: tuple[Table, ...] = (RECIPIENT_NOTICE,)
