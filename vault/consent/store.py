"""The tables of events and of open double opt-ins, and the queries on events.

Events are only ever added, by :func:`vault.consent.append.append_events`: it updates the state on the subject's row in
the same transaction.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from typing import TYPE_CHECKING
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import LargeBinary, String, select

from vault.consent.event import decode, encode
from vault.errors import NotFound
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.event import Event
    from vault.ids import SubjectId, TenantId
    from vault.storage.database import Database


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events of a person, newest first, and the id after which the next page begins."""

    events: list[Event]
    next: UUID | None


class ConsentEvents:
    """The events of all tenants in the main database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, connection: AsyncConnection, tenant: TenantId, events: Sequence[Event]) -> None:
        """Insert events within a transaction."""
        rows = [
            (
                tenant,
                event.subject,
                event.id,
                event.purpose,
                event.kind,
                event.occurred_at,
                event.recorded_at,
                encode(event),
            )
            for event in events
        ]
        await self._database.bulk(connection, EVENT, rows)

    async def history(
        self, tenant: TenantId, subject: SubjectId, *, before: UUID | None = None, limit: int = 100
    ) -> EventPage:
        """List a person's events, newest first."""
        statement = (
            select(EVENT.c.body)
            .where(EVENT.c.tenant_id == tenant, EVENT.c.subject_id == subject)
            .order_by(EVENT.c.id.desc())
            .limit(limit + 1)
        )
        if before is not None:
            statement = statement.where(EVENT.c.id < before)
        async with self._database.reading() as connection:
            bodies = (await connection.execute(statement)).scalars().all()
        events = [decode(body) for body in bodies[:limit]]
        return EventPage(events, events[-1].id if len(bodies) > limit else None)

    async def event(self, tenant: TenantId, subject: SubjectId, event: UUID) -> Event:
        """Fetch one event.

        Raises:
            NotFound: this person has no such event.
        """
        statement = select(EVENT.c.body).where(
            EVENT.c.tenant_id == tenant, EVENT.c.subject_id == subject, EVENT.c.id == event
        )
        async with self._database.reading() as connection:
            body = (await connection.execute(statement)).scalar_one_or_none()
        if body is None:
            raise NotFound("this person has no such event", code="consent-event-not-found")
        return decode(body)

    async def events_of(
        self, connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
    ) -> dict[SubjectId, list[Event]]:
        """Fetch all events of several people, each person's in their order."""
        statement = (
            select(EVENT.c.subject_id, EVENT.c.body)
            .where(EVENT.c.tenant_id == tenant, EVENT.c.subject_id.in_(subjects))
            .order_by(EVENT.c.id)
        )
        events: dict[SubjectId, list[Event]] = defaultdict(list)
        for subject, body in (await connection.execute(statement)).all():
            events[subject].append(decode(body))
        return events


class ConsentEventRow(DataTable, table=True):
    """One event: its canonical bytes, and the columns that queries need."""

    __tablename__ = "consent_event"

    tenant_id: str = column(String(64), primary_key=True)
    subject_id: UUID = column(Id, primary_key=True)
    id: UUID = column(Id, primary_key=True)
    purpose: str | None = column(String(64), nullable=True)
    kind: str = column(String(32))
    occurred_at: datetime = column(Moment)
    recorded_at: datetime = column(Moment)
    body: bytes = column(LargeBinary)


class ConfirmationRow(DataTable, table=True):
    """A double opt-in that waits for its token; only the digest of the token is stored."""

    __tablename__ = "consent_confirmation"

    tenant_id: str = column(String(64), primary_key=True)
    event_id: UUID = column(Id, primary_key=True)
    subject_id: UUID = column(Id)
    token_hash: bytes = column(LargeBinary(32))
    expires_at: datetime = column(Moment)
    used_at: datetime | None = column(Moment, nullable=True)


EVENT = table_of(ConsentEventRow)
CONFIRMATION = table_of(ConfirmationRow)
