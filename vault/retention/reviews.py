"""Reviews: values whose retention has ended and that wait for a decision, or are only stored.

A review is about one value; the value itself is not in it. People list reviews and decide about them, a sweep opens and
closes them, and reads ask for how long a decision keeps a value.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, delete, select, tuple_, update

from vault.access.authorization import audit_entry, require_permission
from vault.access.paging import check_page, cut
from vault.access.recording import audited, begin_once
from vault.consent.transaction import changing
from vault.errors import Fault, InvalidInput, NotFound
from vault.ids import RecordId, SubjectId, new_id
from vault.retention.tables import RETENTION_REVIEW
from vault.retention.views import RetentionReview, RetentionReviewPage
from vault.storage.query import Query, any_of, insert_into
from vault.subjects.store import mark_due

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.context import Caller, Services
    from vault.ids import TenantId
    from vault.storage.database import Database

State = Literal["open", "keep", "erase"]
Place = tuple[SubjectId, str, RecordId]
"""A record: its subject, its collection, and its id."""
Decision = Literal["erase", "keep"]
Reason = Literal["claim", "dispute", "ask-person", "other"]
"""Why a value is kept: a claim is open or near, the value is disputed, the subject is asked first, or another reason.

A code and no free text: a text about a person would have to be sealed.
"""
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
MOST: Final = 200
MOST_DAYS: Final = 3653
"""Ten years; after that it has to be reviewed again."""
AT_ONCE: Final = 500
_T: Final = RETENTION_REVIEW


class Review(msgspec.Struct, frozen=True):
    """One value's review.

    Attributes:
        record: the record's id.
        name: the value's name in its record's body: ``birth_date``, or for a generalised value ``birth_date.year``.
        kind: the action of :mod:`vault.catalogue.retention_actions` that retains the value.
        state: ``open``; ``keep`` until ``keep_until``; ``erase`` with the next sweep.
        ended_on: the last day on which the value was served.
        keep_until: the last day for which a decision keeps it.
        decided_by: the principal who decided.
    """

    id: UUID
    subject: SubjectId
    collection: str
    record: RecordId
    name: str
    kind: str
    state: State
    ended_on: date
    keep_until: date | None
    created_at: datetime
    decided_at: datetime | None
    decided_by: UUID | None

    @property
    def field(self) -> str:
        """Return the whole name of the value: ``profile.birth_date``."""
        return f"{self.collection}.{self.name}"

    def keeps(self, today: int) -> bool:
        """Return whether the value must not be deleted on a day (an ordinal)."""
        if self.state == "keep":
            return self.keep_until is not None and self.keep_until.toordinal() >= today
        return self.state == "open"


class NewReview(NamedTuple):
    """A review to be opened: the record, the value's name in the body, the action that retains it, and its last day."""

    place: Place
    name: str
    kind: str
    ended_on: date


def kept_by(reviews: Mapping[str, Review]) -> dict[str, int]:
    """Return the last day on which reviews keep values, by the values' names."""
    return {name: review.keep_until.toordinal() for name, review in reviews.items() if review.keep_until is not None}


@audited("read-retention")
async def list_reviews(
    services: Services,
    caller: Caller,
    *,
    states: Sequence[State] = ("open",),
    after: UUID | None = None,
    limit: int = 50,
) -> RetentionReviewPage:
    """List reviews: whose value, which field, when it ended, and what was decided. No value is opened.

    Args:
        after: the last review of the previous page.

    Raises:
        Denied: the caller may not see retention.
        InvalidInput: the limit is not within 1 to 200.
    """
    check_page(limit, MOST, "reviews")
    await require_permission(services, caller, "vault:retention", "read", audit_action="read-retention")
    async with services.data.reading() as connection:
        reviews = await fetch_reviews(connection, caller.tenant, states=states, after=after, limit=limit + 1)
    entry = audit_entry(
        services,
        caller,
        action="read-retention",
        decision="allowed",
        policy=services.policies.active(caller.tenant).version,
    )
    await services.audit_log.append(entry)
    page, cursor = cut(reviews, limit)
    return RetentionReviewPage(
        reviews=[RetentionReview.model_validate(review) for review in page],
        next=cursor,
        audit=entry.id,
    )


@audited("decide-review")
async def decide_review(
    services: Services,
    caller: Caller,
    review_id: UUID,
    *,
    decision: Decision,
    until: date | None = None,
    reason: Reason | None = None,
    on_commit: SaveResponse | None = None,
) -> RetentionReview:
    """Decide about a value whose retention has ended; the last of several decisions counts.

    A value to be erased goes with the next sweep, unless a law still demands it or a hold covers it. A value that is
    kept is reviewed again after its last day. Until then only purposes without a period of their own see it, such as
    answers to the subject.

    Args:
        until: the last day on which it is kept, in UTC.
        reason: why it is kept.
        on_commit: called in the transaction with the result; saves the response under an idempotency key.

    Raises:
        InvalidInput: ``keep`` without a future day or a reason, or ``erase`` with one of them.
        Denied: the caller may not decide.
        NotFound: there is no such review, or the subject is erased.
    """
    await require_permission(services, caller, "vault:retention", "decide", audit_action="decide-review")
    await begin_once(on_commit)
    day = _check(decision, until, reason, services.clock.now().date())
    async with services.data.reading() as connection:
        review = await find_review(connection, caller.tenant, review_id)
    if review is None:
        raise _review_not_found()
    async with changing(services, caller, "decide-review", review.subject, silent=True) as change:
        # Read it again under the lock on the subject's row: a sweep may have deleted the value and closed the review.
        if await find_review(change.connection, caller.tenant, review_id) is None:
            raise _review_not_found()
        values = {
            "state": decision,
            "keep_until": None if day is None else day.isoformat(),
            "decided_at": change.now,
            "decided_by": caller.principal.id,
        }
        mine = _T.c.tenant_id == caller.tenant, _T.c.id == review_id
        await change.connection.execute(update(_T).where(*mine).values(values))
        await mark_due(change.connection, caller.tenant, [review.subject], change.now)
        entry = audit_entry(
            services,
            caller,
            action="decide-review",
            decision="allowed",
            code=decision if reason is None else f"{decision}-{reason}",
            fields=(review.field,),
            subjects=(change.pseudonym,),
            target=review_id,
            policy=services.policies.active(caller.tenant).version,
        )
        await services.audit_log.append_in(change.connection, [entry])
        decided = await find_review(change.connection, caller.tenant, review_id)
        if decided is None:
            raise RuntimeError("the subject's row is locked, so the review cannot be deleted")
        view = RetentionReview.model_validate(decided)
        if on_commit is not None:
            await on_commit(change.connection, view)
    return view


def _check(decision: Decision, until: date | None, reason: Reason | None, today: date) -> date | None:
    """Check a decision, and return the last day on which the value is kept; None to erase it."""
    faults = []
    if decision == "erase":
        keys = {"/until": until, "/reason": reason}
        faults = [Fault(at, "invalid-decision", "only with `keep`") for at, value in keys.items() if value is not None]
    else:
        if until is None or not today < until <= today + timedelta(days=MOST_DAYS):
            faults.append(Fault("/until", "invalid-decision", f"a future day, within {MOST_DAYS:,} days"))
        if reason is None:
            faults.append(Fault("/reason", "invalid-decision", f"one of {', '.join(REASONS)}"))
    if faults:
        raise InvalidInput("the decision is invalid", faults=faults, code="invalid-decision")
    return until


def _review_not_found() -> NotFound:
    return NotFound(
        "there is no such review, or its value is gone",
        code="review-not-found",
        hint="GET /v1/retention/reviews lists them",
    )


_COLUMNS: Final = (
    _T.c.id,
    _T.c.subject_id.label("subject"),
    _T.c.collection,
    _T.c.record_id.label("record"),
    _T.c.field.label("name"),
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


async def fetch_kept_days(
    database: Database, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[Place, dict[str, int]]:
    """Fetch the last day on which reviews keep values, by record and name in the body; one query, for reads."""
    days: defaultdict[Place, dict[str, int]] = defaultdict(dict)
    for subject, collection, record, name, until in await database.fetch(_KEPT, tenant=tenant, subjects=list(subjects)):
        days[subject, collection, record][name] = date.fromisoformat(until).toordinal()
    return dict(days)


async def reviews_in(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[Place, dict[str, Review]]:
    """Fetch all reviews of subjects, by record and name in the body."""
    statement = select(*_COLUMNS).where(_T.c.tenant_id == tenant, _T.c.subject_id.in_(subjects))
    reviews: defaultdict[Place, dict[str, Review]] = defaultdict(dict)
    for row in (await connection.execute(statement)).all():
        review = msgspec.convert(row, Review, from_attributes=True)
        reviews[review.subject, review.collection, review.record][review.name] = review
    return dict(reviews)


async def open_reviews(
    connection: AsyncConnection, tenant: TenantId, reviews: Sequence[NewReview], now: datetime
) -> None:
    """Open reviews.

    A review that is already open or decided is not changed, unless it kept its value until a day that has passed:
    then it is opened again.
    """
    # In one order, so that two sweeps cannot deadlock.
    rows = [
        {
            "tenant_id": tenant,
            "id": new_id(),
            "subject_id": review.place[0],
            "collection": review.place[1],
            "record_id": review.place[2],
            "field": review.name,
            "kind": review.kind,
            "state": "open",
            "ended_on": review.ended_on.isoformat(),
            "keep_until": None,
            "created_at": now,
            "decided_at": None,
            "decided_by": None,
        }
        for review in sorted(reviews, key=lambda review: (str(review.place), review.name))
    ]
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
    return None if row is None else msgspec.convert(row, Review, from_attributes=True)


async def fetch_reviews(
    connection: AsyncConnection, tenant: TenantId, *, states: Sequence[State], after: UUID | None, limit: int
) -> list[Review]:
    """Fetch reviews in some states, the oldest first."""
    statement = select(*_COLUMNS).where(_T.c.tenant_id == tenant, _T.c.state.in_(states)).order_by(_T.c.id).limit(limit)
    if after is not None:
        statement = statement.where(_T.c.id > after)
    rows = (await connection.execute(statement)).all()
    return [msgspec.convert(row, Review, from_attributes=True) for row in rows]


async def close_reviews(
    connection: AsyncConnection, tenant: TenantId, gone: Iterable[tuple[Place, Iterable[str]]]
) -> None:
    """Delete the reviews of values that are deleted, or that something claims again."""
    keys = [(*place, name) for place, names in gone for name in names]
    where = tuple_(_T.c.subject_id, _T.c.collection, _T.c.record_id, _T.c.field)
    for start in range(0, len(keys), AT_ONCE // 2):
        await connection.execute(
            delete(_T).where(_T.c.tenant_id == tenant, where.in_(keys[start : start + AT_ONCE // 2]))
        )


async def clear_reviews(connection: AsyncConnection, tenant: TenantId, subjects: Iterable[SubjectId]) -> None:
    """Delete all reviews of subjects who are erased."""
    await connection.execute(delete(_T).where(_T.c.tenant_id == tenant, _T.c.subject_id.in_(list(subjects))))


async def move_reviews(connection: AsyncConnection, tenant: TenantId, *, of: SubjectId, to: SubjectId) -> None:
    """Move a merged subject's reviews to the survivor, with the records.

    Reviews of the profile do not move: the next sweep evaluates the merged profile.
    """
    moving = _T.c.tenant_id == tenant, _T.c.subject_id == of
    await connection.execute(delete(_T).where(*moving, _T.c.record_id == of))
    await connection.execute(update(_T).where(*moving).values(subject_id=to))
