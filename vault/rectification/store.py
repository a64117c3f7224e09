"""Values that were corrected, are disputed, or have a statement of the person's beside them. Rows in, rows out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from sqlalchemy import delete, insert, select, update

from vault.rectification.tables import RECTIFICATION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import SubjectId, TenantId

State = Literal["corrected", "stated", "disputed", "upheld", "refused"]
"""What became of a value: it was ``corrected``; the person's own statement was put beside it (``stated``, Art. 16); it
is ``disputed`` (Art. 18(1)(a)), and that dispute is decided: ``upheld``, the value was wrong, or ``refused``."""
EVERYTHING: Final = "*"
"""Stands for the field of a statement that is about no field in particular."""


class Rectification(NamedTuple):
    """One of them.

    Attributes:
        request: the request that brought it; none where staff noted it.
        collection: of the record.
        record: its id.
        field: within the collection; ``*`` for a statement about no field in particular.
        at: when it was corrected, stated or disputed.
        closed_at: when a dispute was decided.
        by: who recorded or, later, decided it.
        details: sealed: ``{"before", "after"}``, or ``{"statement", "reason"}``.
    """

    id: UUID
    request: UUID | None
    collection: str
    record: UUID
    field: str
    state: State
    at: datetime
    closed_at: datetime | None = None
    by: UUID | None = None
    details: bytes | None = None

    @property
    def whole(self) -> str:
        """Return the name of the field with its collection, such as ``profile.email``."""
        return f"{self.collection}.{self.field}"


_COLUMNS = ("id", "request_id", "collection", "record_id", "field", "state", "at", "closed_at", "by_id", "details")


async def add_rectifications(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, rows: Sequence[Rectification]
) -> None:
    """Insert them."""
    if rows:
        whose = {"tenant_id": tenant, "subject_id": subject}
        await connection.execute(
            insert(RECTIFICATION), [whose | dict(zip(_COLUMNS, each, strict=True)) for each in rows]
        )


async def rectifications_of(
    connection: AsyncConnection,
    tenant: TenantId,
    subject: SubjectId,
    *,
    after: UUID | None = None,
    limit: int | None = None,
) -> list[Rectification]:
    """List a person's, oldest first.

    Args:
        connection: to the main database.
        tenant: whose.
        subject: whose.
        after: id of the last one of the page before.
        limit: at most so many; all by default.
    """
    statement = _select().where(RECTIFICATION.c.tenant_id == tenant, RECTIFICATION.c.subject_id == subject)
    if after is not None:
        statement = statement.where(RECTIFICATION.c.id > after)
    found = await connection.execute(statement.order_by(RECTIFICATION.c.id).limit(limit))
    return [Rectification(*row) for row in found.all()]


async def locked_rectification(
    connection: AsyncConnection,
    tenant: TenantId,
    subject: SubjectId,
    id: UUID,  # noqa: A002 - its own id
) -> Rectification | None:
    """Fetch one that is about to be decided; none where there is none."""
    statement = _select().where(
        RECTIFICATION.c.tenant_id == tenant, RECTIFICATION.c.subject_id == subject, RECTIFICATION.c.id == id
    )
    row = (await connection.execute(statement.with_for_update())).one_or_none()
    return None if row is None else Rectification(*row)


async def change_rectification(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, changed: Rectification
) -> None:
    """Write what became of one."""
    values = dict(zip(_COLUMNS, changed, strict=True))
    await connection.execute(
        update(RECTIFICATION)
        .where(
            RECTIFICATION.c.tenant_id == tenant,
            RECTIFICATION.c.subject_id == subject,
            RECTIFICATION.c.id == values.pop("id"),
        )
        .values(**values)
    )


async def drop_rectifications(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> None:
    """Delete all of a person's."""
    await connection.execute(
        delete(RECTIFICATION).where(RECTIFICATION.c.tenant_id == tenant, RECTIFICATION.c.subject_id == subject)
    )


def _select() -> Any:
    return select(*(RECTIFICATION.c[name] for name in _COLUMNS))
