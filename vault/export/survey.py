"""A first look over all records of a person: what there is and where it comes from. Nothing is opened for it.

Which of a person's values a package tells of: all that are kept, and not what goes with the next sweep.

What is over and yet kept, because a law demands it, a hold covers it, or it is restricted or waits for a decision, is
the person's to know of like all else (Art. 15(1) GDPR).
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, or_, select

from vault.catalogue.retention_actions import Effect, action_of
from vault.clock import from_microseconds, rfc3339, to_microseconds
from vault.export.schema import Keeping
from vault.retention.clocks import NO_CLOCKS, clocks_of
from vault.retention.ends import day_of, ends_of, values_of
from vault.retention.holds import held_by
from vault.retention.review_store import reviews_in
from vault.subjects.record_body import happened_at, unpack
from vault.subjects.tables import RECORD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from vault.consent.state import ConsentState, Held
    from vault.context import Services
    from vault.ids import SubjectId, TenantId
    from vault.policy.policy_set import PolicySet
    from vault.retention.clocks import Clocks
    from vault.retention.ends import Ends, Value
    from vault.retention.review_store import Place, Review
    from vault.subjects.record_body import Stored


ROWS_AT_A_TIME: Final = 250


@dataclass(slots=True)
class Group:
    """Some values: how many, and when the first and the last of them came in, in microseconds since 1970."""

    values: int = 0
    earliest: int | None = None
    latest: int | None = None

    def add(self, collected_at: int | None) -> None:
        """Count a value that came in at a moment."""
        self.include(Group(1, collected_at, collected_at))

    def include(self, other: Group) -> None:
        """Count the values of another group."""
        self.values += other.values
        self.earliest = min((at for at in (self.earliest, other.earliest) if at is not None), default=None)
        self.latest = max((at for at in (self.latest, other.latest) if at is not None), default=None)

    @property
    def first(self) -> str | None:
        """Return when the first of them came in."""
        return None if self.earliest is None else rfc3339(from_microseconds(self.earliest))

    @property
    def last(self) -> str | None:
        """Return when the last of them came in."""
        return None if self.latest is None else rfc3339(from_microseconds(self.latest))


@dataclass(slots=True)
class Survey:
    """What a person's records hold.

    Attributes:
        records: how many, by collection.
        groups: of values, by whole name of the field and name of the source (empty: unknown).
        newest: when the newest record of each collection happened, in microseconds since 1970.
    """

    records: Counter[str] = field(default_factory=Counter)
    groups: defaultdict[tuple[str, str], Group] = field(default_factory=lambda: defaultdict(Group))
    newest: dict[str, int] = field(default_factory=dict)

    def add(self, row: Any, body: Mapping[str, Stored], happened: int) -> None:
        """Count one record, with those of its values that a package tells of."""
        if body:
            self.records[row.collection] += 1
        for name, stored in body.items():
            self.groups[f"{row.collection}.{name}", stored.source or ""].add(stored.collected_at)
        self.newest[row.collection] = max(self.newest.get(row.collection, happened), happened)


async def survey(services: Services, tenant: TenantId, subject: SubjectId, until: datetime, still: Still) -> Survey:
    """Look over all that is still kept of the records that were there at a moment.

    Raises:
        CannotOpen: a record is none.
    """
    found = Survey()
    async for row in all_rows(services, tenant, subject, until):
        body = unpack(row.body)
        found.add(row, still.body(row, body, row.collection), happened_at(row, body))
    return found


async def all_rows(services: Services, tenant: TenantId, subject: SubjectId, until: datetime) -> AsyncIterator[Any]:
    """Go through all records that were there at a moment, collection by collection, a few hundred at a time."""
    wanted = and_(RECORD.c.tenant_id == tenant, RECORD.c.subject_id == subject, RECORD.c.created_at <= until)
    columns = (RECORD.c.collection, RECORD.c.id, RECORD.c.occurred_at, RECORD.c.created_at, RECORD.c.body)
    after: Any = None
    while True:
        statement = select(*columns).where(wanted).order_by(RECORD.c.collection, RECORD.c.id).limit(ROWS_AT_A_TIME)
        if after is not None:
            further = and_(RECORD.c.collection == after.collection, RECORD.c.id > after.id)
            statement = statement.where(or_(RECORD.c.collection > after.collection, further))
        async with services.data.reading() as connection:
            rows = (await connection.execute(statement)).all()
        for row in rows:
            yield row
        if len(rows) < ROWS_AT_A_TIME:
            return
        after = rows[-1]


async def newest_first(
    services: Services, tenant: TenantId, subject: SubjectId, collection: str, until: datetime
) -> AsyncIterator[Any]:
    """Go through the records of one collection that were there at a moment, the newest first."""
    before: Any = None
    while True:
        async with services.data.reading() as connection:
            rows = await services.subjects.page(
                connection, tenant, subject, collection, before=before, limit=ROWS_AT_A_TIME
            )
        for row in rows:
            if row.created_at <= until:
                yield row
        if len(rows) < ROWS_AT_A_TIME:
            return
        before = rows[-1].id
        await asyncio.sleep(0)  # others are served in between


@dataclass(frozen=True, slots=True)
class Still:
    """Tells what of a person is still kept.

    Attributes:
        subject: the person.
        ends: until when each value is kept.
        clocks: of the person.
        standing: with the holds.
        reviews: of the person's values.
        now: the present.
    """

    subject: SubjectId
    ends: Ends
    clocks: Clocks
    standing: ConsentState
    reviews: Mapping[Place, Mapping[str, Review]]
    now: datetime

    @classmethod
    async def of(
        cls,
        services: Services,
        tenant: TenantId,
        subject: SubjectId,
        policy_set: PolicySet,
        standing: ConsentState,
        now: datetime,
        *,
        retained: bool,
    ) -> Still:
        """Fetch what decides it."""
        clocks = (await clocks_of(services.data, tenant, [subject])).get(subject, NO_CLOCKS)
        async with services.data.reading() as connection:
            reviews = await reviews_in(connection, tenant, [subject])
        ends = ends_of(policy_set, standing, clocks, now, retained=retained)
        return cls(subject, ends, clocks, standing, reviews, now)

    def values(self, row: Any, body: Mapping[str, Stored], collection: str) -> dict[str, Value]:
        """Describe the values of a record."""
        reviews = self.reviews.get((self.subject, collection, row.id), {})
        kept = {name: each.keep_until.toordinal() for name, each in reviews.items() if each.keep_until is not None}
        return values_of(row, body, kept, collection=collection)

    def body(self, row: Any, body: Mapping[str, Stored], collection: str) -> dict[str, Stored]:
        """Return those values of a record that are kept, by the names under which they lie in its body."""
        values = self.values(row, body, collection)
        reviews = self.reviews.get((self.subject, collection, row.id), {})
        happened, now = day_of(happened_at(row, body)), to_microseconds(self.now)
        today, found = day_of(now), {}
        for name, stored in body.items():
            ending, review = self.ends.of(values[name]), reviews.get(name)
            waits = action_of(ending.then).effect is Effect.RETAIN if review is None else review.keeps(today)
            if waits or not ending.may_go(today) or held_by(self.standing, f"{collection}.{name}", happened):
                found[name] = stored
        return found

    def keeping(self, keep: Keeping, row: Any, body: Mapping[str, Stored], whole: str) -> Keeping:
        """Tell of what a hold covers that it has no end yet."""
        held: Held | None = held_by(self.standing, whole, day_of(happened_at(row, body)))
        return keep if held is None else Keeping(purpose=held.purpose)
