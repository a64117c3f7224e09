"""Values that were corrected, are disputed, or have a statement of the person's beside them. Rows in, rows out.

What was corrected, and what the person says of it: sealed under the person's own key, beside the names of fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
from sqlalchemy import delete, insert, select, update

from vault.crypto.seal import record_aad
from vault.ids import new_id
from vault.rectification.tables import RECTIFICATION
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.crypto.seal import SubjectKeys
    from vault.ids import PrincipalId, SubjectId, TenantId


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


COLLECTION = "rectification"
DETAILS = "details"


class Sealer:
    """Makes rectifications of one person, at one moment, brought by one caller."""

    def __init__(
        self,
        keys: SubjectKeys,
        tenant: TenantId,
        subject: SubjectId,
        *,
        at: datetime,
        by: PrincipalId,
        request: UUID | None = None,
    ) -> None:
        self._keys = keys
        self._tenant = tenant
        self._subject = subject
        self._at = at
        self._by = by
        self._request = request

    def corrected(self, collection: str, record: UUID, field: str, before: Any, after: Any) -> Rectification:
        """Make a correction; a value that was not there, or is not any more, is null."""
        return self._made("corrected", collection, record, field, {"before": before, "after": after})

    def said(self, state: State, statement: str, field: str = EVERYTHING) -> Rectification:
        """Make a statement of the person's, or the dispute of a field of the profile."""
        return self._made(state, PROFILE, self._subject, field, {"statement": statement})

    def _made(self, state: State, collection: str, record: UUID, field: str, details: dict[str, Any]) -> Rectification:
        made = new_id()
        sealed = seal_details(self._keys, self._tenant, self._subject, made, details)
        return Rectification(
            made, self._request, collection, record, field, state, self._at, by=self._by, details=sealed
        )


def seal_details(
    keys: SubjectKeys, tenant: TenantId, subject: SubjectId, rectification: UUID, details: dict[str, Any]
) -> bytes:
    """Seal what belongs to a rectification: ``{"before", "after"}``, or ``{"statement", "reason"}``."""
    return keys.seal(DETAILS, msgspec.json.encode(details), record_aad(tenant, subject, COLLECTION, rectification))


def open_details(
    keys: SubjectKeys, tenant: TenantId, subject: SubjectId, rectification: Rectification
) -> dict[str, Any]:
    """Open what belongs to a rectification; empty where there is nothing.

    Raises:
        CannotOpen: the bytes were tampered with or belong elsewhere.
    """
    if rectification.details is None:
        return {}
    where = record_aad(tenant, subject, COLLECTION, rectification.id)
    opened: dict[str, Any] = msgspec.json.decode(keys.open(DETAILS, rectification.details, where))
    return opened
