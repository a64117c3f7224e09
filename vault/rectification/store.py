"""Corrections, disputes and statements: their table and rows, and what belongs to them, sealed under the person's key.

As personal data they go with the values: an erasure deletes those of erased values, and a merge seals the duplicate's
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from uuid import UUID  # noqa: TC003 - as above

import msgspec
from sqlalchemy import LargeBinary, String, bindparam, delete, insert, select, update

from vault.clock import rfc3339
from vault.crypto.seal import record_aad
from vault.ids import new_id
from vault.lifecycle.personal_data import count_rows, rows_of
from vault.storage.columns import DataTable, Id, Moment, column, table_of
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.crypto.seal import SubjectKeys
    from vault.ids import PrincipalId, SubjectId, TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import ErasureContext, ExportContext, MergeContext, Sections


class RectificationRow(DataTable, table=True):
    """A value that was corrected or is disputed; ``details`` are sealed."""

    __tablename__ = "rectification"

    tenant_id: str = column(String(64), primary_key=True)
    subject_id: UUID = column(Id, primary_key=True)
    id: UUID = column(Id, primary_key=True)
    request_id: UUID | None = column(Id, nullable=True)
    collection: str = column(String(64))
    record_id: UUID = column(Id)
    field: str = column(String(64))
    state: str = column(String(16))
    at: datetime = column(Moment)
    closed_at: datetime | None = column(Moment, nullable=True)
    by_id: UUID | None = column(Id, nullable=True)
    details: bytes | None = column(LargeBinary, nullable=True)


RECTIFICATION = table_of(RectificationRow)


State = Literal["corrected", "stated", "disputed", "upheld", "refused"]
"""``corrected``; ``stated``: the person's own statement was added (Art. 16); ``disputed`` (Art. 18(1)(a)), and decided:
``upheld`` if the value was wrong, or ``refused``."""
EVERYTHING: Final = "*"
"""The field of a statement about no field in particular."""


class Rectification(NamedTuple):
    """A value that was corrected or is disputed, or a statement of the person.

    Attributes:
        request: the request that led to it; None if staff noted it.
        collection: of the record.
        record: its id.
        field: within the collection; ``*`` for a statement about no field in particular.
        at: when it was corrected, stated or disputed.
        closed_at: when a dispute was decided.
        by: who recorded it or, later, decided it.
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
        """The name of the field with its collection, such as ``profile.email``."""
        return f"{self.collection}.{self.field}"


_COLUMNS = ("id", "request_id", "collection", "record_id", "field", "state", "at", "closed_at", "by_id", "details")


async def add_rectifications(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, rows: Sequence[Rectification]
) -> None:
    """Insert rectifications."""
    if rows:
        key = {"tenant_id": tenant, "subject_id": subject}
        await connection.execute(insert(RECTIFICATION), [key | dict(zip(_COLUMNS, row, strict=True)) for row in rows])


async def rectifications_of(
    connection: AsyncConnection,
    tenant: TenantId,
    subject: SubjectId,
    *,
    after: UUID | None = None,
    limit: int | None = None,
) -> list[Rectification]:
    """Return a person's rectifications, oldest first.

    Args:
        after: id of the last one of the previous page.
        limit: all by default.
    """
    statement = _select().where(RECTIFICATION.c.tenant_id == tenant, RECTIFICATION.c.subject_id == subject)
    if after is not None:
        statement = statement.where(RECTIFICATION.c.id > after)
    rows = await connection.execute(statement.order_by(RECTIFICATION.c.id).limit(limit))
    return [Rectification(*row) for row in rows]


async def locked_rectification(
    connection: AsyncConnection,
    tenant: TenantId,
    subject: SubjectId,
    id: UUID,  # noqa: A002 - its own id
) -> Rectification | None:
    """Fetch a rectification for an update; None if it does not exist."""
    statement = _select().where(
        RECTIFICATION.c.tenant_id == tenant, RECTIFICATION.c.subject_id == subject, RECTIFICATION.c.id == id
    )
    row = (await connection.execute(statement.with_for_update())).one_or_none()
    return None if row is None else Rectification(*row)


async def change_rectification(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, changed: Rectification
) -> None:
    """Update a locked rectification."""
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


def _select() -> Select[tuple[Any, ...]]:
    return select(*(RECTIFICATION.c[name] for name in _COLUMNS))


COLLECTION = "rectification"
DETAILS = "details"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealer:
    """Makes rectifications of one person, at one moment, by one caller."""

    keys: SubjectKeys
    tenant: TenantId
    subject: SubjectId
    at: datetime
    by: PrincipalId
    request: UUID | None = None

    def correction(self, collection: str, record: UUID, field: str, before: object, after: object) -> Rectification:
        """Return a correction; a missing value is null."""
        return self._rectification("corrected", collection, record, field, {"before": before, "after": after})

    def statement(self, state: State, statement: str, field: str = EVERYTHING) -> Rectification:
        """Return a statement of the person, or the dispute of a field of the profile."""
        return self._rectification(state, PROFILE, self.subject, field, {"statement": statement})

    def _rectification(
        self, state: State, collection: str, record: UUID, field: str, details: dict[str, object]
    ) -> Rectification:
        id_ = new_id()
        sealed = seal_details(self.keys, self.tenant, self.subject, id_, details)
        return Rectification(id_, self.request, collection, record, field, state, self.at, by=self.by, details=sealed)


def seal_details(
    keys: SubjectKeys, tenant: TenantId, subject: SubjectId, rectification: UUID, details: dict[str, object]
) -> bytes:
    """Seal the details of a rectification: ``{"before", "after"}``, or ``{"statement", "reason"}``."""
    return keys.seal(DETAILS, msgspec.json.encode(details), record_aad(tenant, subject, COLLECTION, rectification))


def open_details(
    keys: SubjectKeys, tenant: TenantId, subject: SubjectId, rectification: Rectification
) -> dict[str, object]:
    """Open the details of a rectification; empty if there are none.

    Raises:
        CannotOpen: the bytes were tampered with or belong elsewhere.
    """
    if rectification.details is None:
        return {}
    aad = record_aad(tenant, subject, COLLECTION, rectification.id)
    opened: dict[str, object] = msgspec.json.decode(keys.open(DETAILS, rectification.details, aad))
    return opened


_THIS = RECTIFICATION.c.subject_id == bindparam("of"), RECTIFICATION.c.id == bindparam("this")


class CorrectionSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value that was corrected or is disputed. ``details`` contains the values before and after."""

    id: str
    field: str
    record: str
    state: str
    at: str
    closed_at: str | None = None
    details: dict[str, object] | None = None


class RectificationData:
    """Values that were corrected or are disputed."""

    tables: tuple[Table, ...] = (RECTIFICATION,)
    retained: tuple[Table, ...] = ()

    async def erase(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete them."""
        await erasing.connection.execute(delete(RECTIFICATION).where(*rows_of(RECTIFICATION, erasing.tenant, subjects)))

    async def reseal(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete those of erased values, and seal the others again."""
        statement = select(RECTIFICATION).where(*rows_of(RECTIFICATION, erasing.tenant, subjects))
        erased, resealed = [], []
        for row in (await erasing.connection.execute(statement)).all():
            this = {"of": row.subject_id, "this": row.id}
            if erasing.is_erased(row.subject_id, row.collection, row.record_id, row.field):
                erased.append(this)
            elif row.details is not None:
                details = erasing.resealers[row.subject_id].reseal(COLLECTION, row.id, DETAILS, row.details)
                resealed.append({**this, "sealed": details})
        of_tenant = RECTIFICATION.c.tenant_id == erasing.tenant
        if erased:
            await erasing.connection.execute(delete(RECTIFICATION).where(of_tenant, *_THIS), erased)
        if resealed:
            change = update(RECTIFICATION).where(of_tenant, *_THIS).values(details=bindparam("sealed"))
            await erasing.connection.execute(change, resealed)

    async def move(self, merge: MergeContext) -> None:
        """Seal the duplicate's under the survivor's key."""
        moved = await rectifications_of(merge.connection, merge.tenant, merge.duplicate)
        await merge.connection.execute(
            delete(RECTIFICATION).where(*rows_of(RECTIFICATION, merge.tenant, [merge.duplicate]))
        )
        rows = [_moved(merge, rectification) for rectification in moved]
        await add_rectifications(merge.connection, merge.tenant, merge.survivor, rows)

    async def export(self, package: ExportContext) -> Sections:
        """List corrected and disputed values, with the values before and after and the subject's statements."""
        async with package.services.data.reading() as connection:
            rectifications = await rectifications_of(connection, package.tenant, package.subject)
        summaries = [
            CorrectionSummary(
                id=str(rectification.id),
                field=rectification.whole,
                record=str(rectification.record),
                state=rectification.state,
                at=rfc3339(rectification.at),
                closed_at=None if rectification.closed_at is None else rfc3339(rectification.closed_at),
                details=None
                if package.is_about_others(rectification.whole)
                else open_details(package.keys, package.tenant, package.subject, rectification),
            )
            for rectification in rectifications
            if package.is_requested(rectification.whole)
        ]
        return {"corrections": summaries}

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count them all."""
        return await count_rows(connection, tenant, erasure, RECTIFICATION)


def _moved(merge: MergeContext, rectification: Rectification) -> Rectification:
    """Keep the id and the details; a value of the duplicate's profile is one of the survivor's profile now."""
    details = rectification.details
    if details is not None:
        details = merge.resealer.reseal(COLLECTION, rectification.id, DETAILS, details)
    record = merge.survivor if rectification.record == merge.duplicate else rectification.record
    return rectification._replace(record=record, details=details)
