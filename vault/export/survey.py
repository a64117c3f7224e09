"""Find out what a package can contain, without opening a value.

:class:`RetainedValues` selects the values to export: everything that is retained, except what the next sweep deletes.
An expired value that is kept because of a law, a hold, a restriction or a pending review is personal data like any
other, and therefore exported (Art. 15(1) GDPR). :func:`survey` counts these values by field and source.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, or_, select

from vault.catalogue.retention_actions import Effect, action_of
from vault.clock import from_microseconds, rfc3339, to_microseconds
from vault.consent.model import unpack as unpack_consent_state
from vault.export.schema import RetentionEnd
from vault.ids import SubjectId
from vault.retention.clocks import NO_CLOCKS, clocks_of
from vault.retention.ends import day_of, ends_of, values_of
from vault.retention.holds import held_by
from vault.retention.reviews import kept_by, reviews_in
from vault.subjects.rows import happened_at, unpack
from vault.subjects.store import PageQuery
from vault.subjects.tables import RECORD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from vault.consent.model import ConsentState
    from vault.context import Services
    from vault.ids import TenantId
    from vault.retention.clocks import Clocks
    from vault.retention.ends import Ends, Value
    from vault.retention.reviews import Place, Review
    from vault.storage.columns import AnyRow
    from vault.subjects.rows import Stored


ROWS_AT_A_TIME: Final = 250


@dataclass(slots=True)
class ValueGroup:
    """Some values: how many, and when the first and the last were collected, in microseconds since 1970."""

    values: int = 0
    earliest: int | None = None
    latest: int | None = None

    def include(self, other: ValueGroup) -> None:
        """Count the values of another group."""
        self.values += other.values
        self.earliest = min((at for at in (self.earliest, other.earliest) if at is not None), default=None)
        self.latest = max((at for at in (self.latest, other.latest) if at is not None), default=None)

    @property
    def first(self) -> str | None:
        """Return when the first value was collected."""
        return None if self.earliest is None else rfc3339(from_microseconds(self.earliest))

    @property
    def last(self) -> str | None:
        """Return when the last value was collected."""
        return None if self.latest is None else rfc3339(from_microseconds(self.latest))


@dataclass(slots=True)
class Survey:
    """What a subject's records contain.

    Attributes:
        records: counts by collection.
        groups: the values, by whole field name and source (empty: unknown).
        newest: when the newest record of each collection happened, in microseconds since 1970.
    """

    records: Counter[str] = field(default_factory=Counter)
    groups: defaultdict[tuple[str, str], ValueGroup] = field(default_factory=lambda: defaultdict(ValueGroup))
    newest: dict[str, int] = field(default_factory=dict)

    def add(self, row: AnyRow, body: Mapping[str, Stored], happened: int) -> None:
        """Count one record with its retained values."""
        if body:
            self.records[row.collection] += 1
        for name, stored in body.items():
            value = ValueGroup(1, stored.collected_at, stored.collected_at)
            self.groups[f"{row.collection}.{name}", stored.source or ""].include(value)
        self.newest[row.collection] = max(self.newest.get(row.collection, happened), happened)


async def survey(services: Services, tenant: TenantId, retained: RetainedValues) -> Survey:
    """Count the retained values of the records that existed at ``retained.now``.

    Raises:
        CannotOpen: a stored record is malformed.
    """
    result = Survey()
    async for row in all_rows(services, tenant, retained.subject, retained.now):
        body = unpack(row.body)
        result.add(row, retained.body(row, body, row.collection), happened_at(row, body))
    return result


async def all_rows(services: Services, tenant: TenantId, subject: SubjectId, until: datetime) -> AsyncIterator[AnyRow]:
    """Iterate over the records that were created until a moment, by collection and id, in pages."""
    records = and_(RECORD.c.tenant_id == tenant, RECORD.c.subject_id == subject, RECORD.c.created_at <= until)
    columns = (RECORD.c.collection, RECORD.c.id, RECORD.c.occurred_at, RECORD.c.created_at, RECORD.c.body)
    after: AnyRow | None = None
    while True:
        statement = select(*columns).where(records).order_by(RECORD.c.collection, RECORD.c.id).limit(ROWS_AT_A_TIME)
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
) -> AsyncIterator[AnyRow]:
    """Iterate over the records of one collection that were created until a moment, newest first, in pages."""
    before = None
    while True:
        async with services.data.reading() as connection:
            query = PageQuery(subject, collection, before, ROWS_AT_A_TIME)
            rows = await services.subjects.page(connection, tenant, query)
        for row in rows:
            if row.created_at <= until:
                yield row
        if len(rows) < ROWS_AT_A_TIME:
            return
        before = rows[-1].id
        await asyncio.sleep(0)  # let other tasks run


@dataclass(frozen=True, slots=True)
class RetainedValues:
    """Decides which values of a subject are retained.

    Attributes:
        ends: when each value's retention ends.
        consent_state: with the holds.
        reviews: of the subject's values.
        erased: whether the subject was erased, and only what a law requires is left.
        now: the present.
    """

    subject: SubjectId
    ends: Ends
    clocks: Clocks
    consent_state: ConsentState
    reviews: Mapping[Place, Mapping[str, Review]]
    erased: bool
    now: datetime

    @classmethod
    async def load(cls, services: Services, tenant: TenantId, row: AnyRow, now: datetime) -> RetainedValues:
        """Fetch the facts that decide it, for a subject's row."""
        subject, consent_state, erased = SubjectId(row.id), unpack_consent_state(row.standing), row.state == "retained"
        clocks = (await clocks_of(services.data, tenant, [subject])).get(subject, NO_CLOCKS)
        async with services.data.reading() as connection:
            reviews = await reviews_in(connection, tenant, [subject])
        policy_set = services.policies.active(tenant).policy_set
        ends = ends_of(policy_set, consent_state, clocks, now, retained=erased)
        return cls(subject, ends, clocks, consent_state, reviews, erased, now)

    def values(self, row: AnyRow, body: Mapping[str, Stored], collection: str) -> dict[str, Value]:
        """Describe the values of a record, for retention."""
        reviews = self.reviews.get((self.subject, collection, row.id), {})
        return values_of(row, body, kept_by(reviews), collection=collection)

    def body(self, row: AnyRow, body: Mapping[str, Stored], collection: str) -> dict[str, Stored]:
        """Return the retained values of a record, by their names in its body."""
        values = self.values(row, body, collection)
        reviews = self.reviews.get((self.subject, collection, row.id), {})
        happened, today = day_of(happened_at(row, body)), day_of(to_microseconds(self.now))
        retained = {}
        for name, stored in body.items():
            ending, review = self.ends.of(values[name]), reviews.get(name)
            pending = action_of(ending.then).effect is Effect.RETAIN if review is None else review.keeps(today)
            if pending or not ending.may_go(today) or held_by(self.consent_state, f"{collection}.{name}", happened):
                retained[name] = stored
        return retained

    def with_hold(self, end: RetentionEnd, row: AnyRow, body: Mapping[str, Stored], field: str) -> RetentionEnd:
        """Return the end of a value's retention; a hold that covers the value has no end yet."""
        hold = held_by(self.consent_state, field, day_of(happened_at(row, body)))
        return end if hold is None else RetentionEnd(purpose=hold.purpose)
