"""The store of reviews: values whose retention has ended and that wait for a decision, or are only stored.

A review is about one value: ``field`` is the value's name in its record's body (``birth_date``, or for a generalised
value ``birth_date.year``). The value itself is not in the review.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from sqlalchemy import bindparam, delete, select, tuple_, update

from vault.ids import RecordId, SubjectId, new_id
from vault.retention.tables import RETENTION_REVIEW
from vault.storage.query import Query, any_of, insert_into

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import TenantId
    from vault.storage.database import Database

State = Literal["open", "keep", "erase"]
Place = tuple[SubjectId, str, RecordId]
"""A record: its subject, its collection, and its id."""
AT_ONCE: Final = 500
_T: Final = RETENTION_REVIEW


class Review(NamedTuple):
    """One value's review.

    Attributes:
        id: of the review.
        subject: the value's subject.
        collection: the collection of its record.
        record: the record's id.
        field: the value's name in the body.
        kind: the action of :mod:`vault.catalogue.retention_actions` that retains the value.
        state: ``open``; ``keep`` until ``keep_until``; ``erase`` with the next sweep.
        ended_on: the last day on which the value was served.
        keep_until: the last day for which a decision keeps it.
        created_at: when it was opened.
        decided_at: when it was decided.
        decided_by: the principal who decided.
    """

    id: UUID
    subject: SubjectId
    collection: str
    record: RecordId
    field: str
    kind: str
    state: State
    ended_on: date
    keep_until: date | None
    created_at: datetime
    decided_at: datetime | None
    decided_by: UUID | None

    @property
    def name(self) -> str:
        """Return the whole name of the value: ``profile.birth_date``."""
        return f"{self.collection}.{self.field}"

    def keeps(self, today: int) -> bool:
        """Return whether the value must not be deleted on a day (an ordinal)."""
        if self.state == "keep":
            return self.keep_until is not None and self.keep_until.toordinal() >= today
        return self.state == "open"


class NewReview(NamedTuple):
    """A review to be opened: the record, the value's name in the body, the action that retains it, and its last day."""

    place: Place
    field: str
    kind: str
    ended_on: date


_COLUMNS: Final = (
    _T.c.id,
    _T.c.subject_id,
    _T.c.collection,
    _T.c.record_id,
    _T.c.field,
    _T.c.kind,
    _T.c.state,
    _T.c.ended_on,
    _T.c.keep_until,
    _T.c.created_at,
    _T.c.decided_at,
    _T.c.decided_by,
)
_KEPT: Final = Query(
    select(_T.c.subject_id, _T.c.collection, _T.c.record_id, _T.c.field, _T.c.keep_until).where(
        _T.c.tenant_id == bindparam("tenant"), any_of(_T.c.subject_id, "subjects"), _T.c.state == "keep"
    )
)


async def kept_days(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[Place, dict[str, int]]:
    """Return the last day on which reviews keep values, by record and name in the body."""
    columns = (_T.c.subject_id, _T.c.collection, _T.c.record_id, _T.c.field, _T.c.keep_until)
    statement = select(*columns).where(_T.c.tenant_id == tenant, _T.c.subject_id.in_(subjects), _T.c.state == "keep")
    return _by_place((await connection.execute(statement)).all())


async def fetch_kept_days(
    database: Database, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[Place, dict[str, int]]:
    """Fetch :func:`kept_days` by one query, outside a transaction: for reads."""
    return _by_place(await database.fetch(_KEPT, tenant=tenant, subjects=list(subjects)))


async def reviews_in(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[Place, dict[str, Review]]:
    """Fetch all reviews of subjects, by record and name in the body."""
    statement = select(*_COLUMNS).where(_T.c.tenant_id == tenant, _T.c.subject_id.in_(subjects))
    reviews: defaultdict[Place, dict[str, Review]] = defaultdict(dict)
    for row in (await connection.execute(statement)).all():
        review = _review(row)
        reviews[review.subject, review.collection, review.record][review.field] = review
    return dict(reviews)


async def open_reviews(
    connection: AsyncConnection, tenant: TenantId, reviews: Sequence[NewReview], now: datetime
) -> None:
    """Open reviews.

    A review that is already open or decided is not changed, unless it kept its value until a day that has passed:
    then it is opened again.
    """
    rows = [_row(tenant, each, now) for each in sorted(reviews, key=lambda each: (str(each.place), each.field))]
    for start in range(0, len(rows), AT_ONCE):
        statement = insert_into(_T, connection.dialect.name).values(rows[start : start + AT_ONCE])
        reopened = {
            name: statement.excluded[name] for name in ("kind", "state", "ended_on", "keep_until", "created_at")
        }
        over = (_T.c.state == "keep") & (_T.c.keep_until < now.date().isoformat())
        keys = ["tenant_id", "subject_id", "collection", "record_id", "field"]
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=keys, set_=reopened | {"decided_at": None, "decided_by": None}, where=over
            )
        )


async def find_review(connection: AsyncConnection, tenant: TenantId, review: UUID) -> Review | None:
    """Fetch one review."""
    row = (await connection.execute(select(*_COLUMNS).where(_T.c.tenant_id == tenant, _T.c.id == review))).first()
    return None if row is None else _review(row)


async def list_reviews(
    connection: AsyncConnection, tenant: TenantId, *, states: Sequence[State], after: UUID | None, limit: int
) -> list[Review]:
    """List reviews in some states, the oldest first."""
    statement = select(*_COLUMNS).where(_T.c.tenant_id == tenant, _T.c.state.in_(states)).order_by(_T.c.id).limit(limit)
    if after is not None:
        statement = statement.where(_T.c.id > after)
    return [_review(row) for row in (await connection.execute(statement)).all()]


async def decide_review(
    connection: AsyncConnection,
    tenant: TenantId,
    review: UUID,
    *,
    keep_until: date | None,
    now: datetime,
    by: UUID,
) -> None:
    """Store a decision: keep until a day, or with None erase."""
    values: Mapping[str, Any] = {
        "state": "erase" if keep_until is None else "keep",
        "keep_until": None if keep_until is None else keep_until.isoformat(),
        "decided_at": now,
        "decided_by": by,
    }
    await connection.execute(update(_T).where(_T.c.tenant_id == tenant, _T.c.id == review).values(values))


async def close_reviews(
    connection: AsyncConnection, tenant: TenantId, gone: Iterable[tuple[Place, Iterable[str]]]
) -> None:
    """Delete the reviews of values that are deleted, or that something claims again."""
    keys = [(*place, field) for place, fields in gone for field in fields]
    where = tuple_(_T.c.subject_id, _T.c.collection, _T.c.record_id, _T.c.field)
    for start in range(0, len(keys), AT_ONCE // 2):
        some = keys[start : start + AT_ONCE // 2]
        await connection.execute(delete(_T).where(_T.c.tenant_id == tenant, where.in_(some)))


async def clear_reviews(connection: AsyncConnection, tenant: TenantId, subjects: Iterable[SubjectId]) -> None:
    """Delete all reviews of subjects who are erased."""
    await connection.execute(delete(_T).where(_T.c.tenant_id == tenant, _T.c.subject_id.in_(list(subjects))))


async def move_reviews(connection: AsyncConnection, tenant: TenantId, *, of: SubjectId, to: SubjectId) -> None:
    """Move a merged subject's reviews to the survivor, with the records.

    Reviews of the profile do not move: the next sweep evaluates the merged profile.
    """
    of_profile = (_T.c.tenant_id == tenant) & (_T.c.subject_id == of) & (_T.c.record_id == of)
    await connection.execute(delete(_T).where(of_profile))
    await connection.execute(
        update(_T).where(_T.c.tenant_id == tenant, _T.c.subject_id == of).values({"subject_id": to})
    )


def _row(tenant: TenantId, ended: NewReview, now: datetime) -> dict[str, Any]:
    subject, collection, record = ended.place
    return {
        "tenant_id": tenant,
        "id": new_id(),
        "subject_id": subject,
        "collection": collection,
        "record_id": record,
        "field": ended.field,
        "kind": ended.kind,
        "state": "open",
        "ended_on": ended.ended_on.isoformat(),
        "keep_until": None,
        "created_at": now,
        "decided_at": None,
        "decided_by": None,
    }


def _review(row: Any) -> Review:
    return Review(
        id=row.id,
        subject=row.subject_id,
        collection=row.collection,
        record=row.record_id,
        field=row.field,
        kind=row.kind,
        state=row.state,
        ended_on=date.fromisoformat(row.ended_on),
        keep_until=None if row.keep_until is None else date.fromisoformat(row.keep_until),
        created_at=row.created_at,
        decided_at=row.decided_at,
        decided_by=row.decided_by,
    )


def _by_place(rows: Iterable[Any]) -> dict[Place, dict[str, int]]:
    days: defaultdict[Place, dict[str, int]] = defaultdict(dict)
    for subject, collection, record, field, until in rows:
        days[subject, collection, record][field] = date.fromisoformat(until).toordinal()
    return dict(days)
