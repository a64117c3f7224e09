"""The audit log: append entries, durable before the response is sent, and list them.

The log fails closed: a call that cannot be recorded is refused.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Index, LargeBinary, String, func, literal, select, text
from sqlalchemy.exc import IntegrityError

from vault.audit.entry import KINDS, Entry, checked, decode, disclosure_of, id_after, id_before, leaf_hash, use_of
from vault.audit.order import PATIENCE, last_settled
from vault.audit.refusals import Refusals
from vault.clock import rfc3339
from vault.errors import Fault, InvalidInput, Unavailable
from vault.ids import EntryId, Pseudonym, new_id
from vault.storage.batcher import Batcher
from vault.storage.columns import DataTable, Id, Ids, Moment, Number, column, table_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Table, TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Disclosure, Use
    from vault.clock import Clock
    from vault.ids import TenantId
    from vault.storage.database import Database


NOT_ALLOWED: Final = "decision <> 'allowed'"


class AuditEntry(DataTable, table=True):
    """One entry: its canonical bytes, and the few columns by which people look for it."""

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index("ix_audit_entry_tenant_id_number", "tenant_id", "number", unique=True),
        Index("ix_audit_entry_tenant_id_action_number", "tenant_id", "action", "number"),
        Index("ix_audit_entry_tenant_id_principal_id_number", "tenant_id", "principal_id", "number"),
        Index("ix_audit_entry_tenant_id_purpose_number", "tenant_id", "purpose", "number"),
        # Nearly all entries are of allowed calls: those are found without an index, and cost none.
        Index(
            "ix_audit_entry_tenant_id_decision_number",
            *("tenant_id", "decision", "number"),
            sqlite_where=text(NOT_ALLOWED),
            postgresql_where=text(NOT_ALLOWED),
        ),
    )

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    at: datetime = column(Moment)
    principal_id: UUID | None = column(Id, nullable=True)
    action: str = column(String(32))
    decision: str = column(String(16))
    purpose: str | None = column(String(64), nullable=True)
    body: bytes = column(LargeBinary)
    leaf: bytes = column(LargeBinary(32))
    number: int = column(Number)


class AuditSubject(DataTable, table=True):
    """Leads from a pseudonym to its entries; on SQLite to batches too."""

    __tablename__ = "audit_subject"
    tenant_id: str = column(String(64), primary_key=True)
    pseudonym: UUID = column(Id, primary_key=True)
    entry_id: UUID = column(Id, primary_key=True)


class AuditBatch(DataTable, table=True):
    """Leads from pseudonyms to the entry of a batch: one row instead of a thousand. PostgreSQL only."""

    __tablename__ = "audit_batch"
    __table_args__ = (
        Index(
            "ix_audit_batch_pseudonyms",
            "pseudonyms",
            postgresql_using="gin",
            postgresql_with={"gin_pending_list_limit": 1024},
        ),
    )
    tenant_id: str = column(String(64), primary_key=True)
    entry_id: UUID = column(Id, primary_key=True)
    pseudonyms: list[UUID] = column(Ids)


ENTRY = table_of(AuditEntry)
SUBJECT = table_of(AuditSubject)
BATCH = table_of(AuditBatch)


FEW = 8
"""An entry of more subjects than this is a batch: on PostgreSQL it gets one row in an inverted index."""

SUBJECTS_A_COMMIT = 5_000
"""A commit is sent once it holds this many subjects, which bounds the memory of many large batches."""


USES_AT_A_TIME = 5_000
"""Entries fetched at a time for counting: some megabytes, far below the time limit of a query."""

DISCLOSURES_AT_A_TIME = 1_000
"""Entries fetched at a time to find the recipients of one person's data."""

DISCLOSING = ("read", "list", "search", "download-package")
"""The actions that show data; a package shows everything in it."""

SHORT: Final = 10_000
"""A period of at most so many entries is read whole; a longer one in the order of the log, until a page is full."""

MOST_IN_FLIGHT = 1_000_000
"""Most entries in one commit. None is left for a second commit, which the deadline would not cover."""


BEGINNING = EntryId(UUID(int=0))
"""The id of no entry: what comes after it is the whole log."""


class Page(NamedTuple):
    """Some entries, and the id of the last one if there are more in that direction."""

    entries: list[Entry]
    next: EntryId | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries to list; what is None admits all.

    Attributes:
        since: the first moment of the entries.
        until: the moment before which they are.
    """

    subject: Pseudonym | None = None
    principal: UUID | None = None
    action: str | None = None
    purpose: str | None = None
    decision: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def window(self) -> list[ColumnElement[bool]]:
        """Return conditions on ids that all entries of the period meet, and few others: those of a day around it."""
        conditions = []
        if self.since is not None:
            conditions.append(ENTRY.c.id >= id_before(self.since))
        if self.until is not None:
            conditions.append(ENTRY.c.id < id_after(self.until))
        return conditions

    def conditions(self) -> list[ColumnElement[bool] | TextClause]:
        """Return the conditions on an entry, without that on its subjects."""
        # The entries of a person are few and found by their ids. Those of an app or an action may be most of the log,
        # and SQLite would walk through them all because they are in order: an expression keeps it from their indexes.
        column_of: Callable[[Any], Any] = (lambda found: found) if self.subject is None else _without_index
        columns = {"principal_id": self.principal, "action": self.action, "purpose": self.purpose}
        conditions: list[ColumnElement[bool] | TextClause] = [
            column_of(ENTRY.c[name]) == value for name, value in columns.items() if value is not None
        ]
        if self.decision is not None:
            conditions.append(column_of(ENTRY.c.decision) == self.decision)
            if self.decision != "allowed" and self.subject is None:
                conditions.append(text(NOT_ALLOWED))  # as the index has it, or it is not used
        if self.since is not None:
            conditions.append(ENTRY.c.at >= self.since)
        if self.until is not None:
            conditions.append(ENTRY.c.at < self.until)
        return [*conditions, *self.window()]


def _without_index(found: Any) -> Any:
    return func.coalesce(found, found)


EVERYTHING: Final = Selection()


class _Rows(NamedTuple):
    entry: tuple[Any, ...]
    subjects: list[UUID]

    @property
    def _at(self) -> tuple[TenantId, EntryId]:
        return self.entry[0], self.entry[1]

    def alone(self) -> list[tuple[object, ...]]:
        """Return a row for each subject."""
        tenant, entry = self._at
        return [(tenant, pseudonym, entry) for pseudonym in self.subjects]

    def together(self) -> tuple[object, ...]:
        """Return one row for all subjects."""
        return (*self._at, self.subjects)


class AuditLog:
    """The audit log of all tenants.

    Args:
        deadline: seconds after which an append that is not durable fails, and the call with it.
        patience: seconds for which a page waits for transactions that append.
    """

    def __init__(self, database: Database, clock: Clock, *, deadline: float = 2.0, patience: float = PATIENCE) -> None:
        self._database = database
        self._clock = clock
        self._deadline = deadline
        self._patience = patience
        self._batcher: Batcher[_Rows, None] = Batcher(self._commit, most=MOST_IN_FLIGHT)
        self.refusals = Refusals(self, clock)

    def entry(self, *, id: UUID | None = None, **facts: Any) -> Entry:  # noqa: A002 - the name of the field
        """Return an entry with the current time; see :class:`vault.audit.entry.Entry` for the facts."""
        return Entry(id=id or new_id(), at=rfc3339(self._clock.now()), **facts)

    async def append(self, entry: Entry) -> EntryId:
        """Append one entry. Entries that wait at the same moment share one commit.

        Returns:
            the entry's id, once it is durable.

        Raises:
            Unavailable: the entry is not known to be durable; nothing may be shown.
            EntryRefused: the entry is invalid.
        """
        try:
            await self._batcher.submit(_rows(entry))
        # After a timeout the entry may be durable all the same. That is not known, so nothing is shown.
        except (Unavailable, TimeoutError, IntegrityError) as error:
            raise Unavailable(
                "the audit log cannot be written, so nothing was shown or changed",
                code="audit-unavailable",
                hint="try again; if the error persists, check the log and the disk space of the database",
            ) from error
        return EntryId(entry.id)

    async def append_refusal(self, entry: Entry) -> EntryId:
        """Append an entry about a refused call, or count it: see :class:`vault.audit.refusals.Refusals`."""
        return await self.refusals.append(entry)

    async def append_in(self, connection: AsyncConnection, entries: Sequence[Entry]) -> None:
        """Append entries in the transaction of the change that they record: both are committed, or neither."""
        await self._database.insert(connection, self.rows_of(entries))

    def rows_of(self, entries: Sequence[Entry]) -> dict[Table, list[tuple[object, ...]]]:
        """Return the rows of entries, for a commit that the audit log does not make itself."""
        return self._tables([_rows(entry) for entry in entries])

    async def has(self, tenant: TenantId, entry: UUID) -> bool:
        """Return whether an entry exists."""
        statement = select(ENTRY.c.id).where(ENTRY.c.tenant_id == tenant, ENTRY.c.id == entry)
        async with self._database.reading() as connection:
            return (await connection.execute(statement)).first() is not None

    async def entries(
        self,
        tenant: TenantId,
        selection: Selection = EVERYTHING,
        *,
        before: EntryId | None = None,
        after: EntryId | None = None,
        limit: int = 50,
    ) -> Page:
        """List those of a tenant's entries that are selected, in the order of the log.

        They are the newest first, optionally those before an entry; or those after an entry, the oldest first. What
        readers may rely on is said in :mod:`vault.audit.order`.

        Raises:
            InvalidInput: the log has no entry with the id of ``before`` or ``after``.
        """
        last = await last_settled(self._database, patience=self._patience)
        statement = select(ENTRY.c.body).where(ENTRY.c.tenant_id == tenant, *selection.conditions())
        if selection.subject is not None:
            statement = statement.where(ENTRY.c.id.in_(self._naming(tenant, selection.subject)))
        async with self._database.reading() as connection:
            # A sum has no index: where the period has few entries, they are looked up by it, and then put in order.
            number = ENTRY.c.number + 0 if await _is_short(connection, tenant, selection) else ENTRY.c.number
            statement = statement.order_by(number.desc() if after is None else number)
            if last is not None:
                statement = statement.where(number <= last)
            if before is not None:
                statement = statement.where(number < await _number_of(connection, tenant, before))
            if after is not None:
                statement = statement.where(number > await _number_of(connection, tenant, after))
            bodies = (await connection.execute(statement.limit(limit + 1))).scalars().all()
        entries = [decode(body) for body in bodies[:limit]]
        return Page(entries, EntryId(entries[-1].id) if len(bodies) > limit else None)

    async def uses(self, tenant: TenantId, since: datetime, until: datetime) -> AsyncIterator[list[Use]]:
        """Walk the granted uses of a tenant's data between two moments, both included, oldest first, in chunks.

        Each chunk is a short transaction of its own, so no write waits for a walk through a long log.
        """
        at = id_before(since)
        granted_uses = (
            ENTRY.c.tenant_id == tenant,
            ENTRY.c.at.between(since, until),
            ENTRY.c.action.in_(list(KINDS)),
            ENTRY.c.decision.in_(["allowed", "partly"]),
        )
        while True:
            statement = select(ENTRY.c.id, ENTRY.c.body).where(*granted_uses, ENTRY.c.id > at).order_by(ENTRY.c.id)
            async with self._database.reading() as connection:
                rows = (await connection.execute(statement.limit(USES_AT_A_TIME))).all()
            if rows:
                yield [use_of(row.body) for row in rows]
                at = rows[-1].id
            if len(rows) < USES_AT_A_TIME:
                return

    async def disclosures(
        self, connection: AsyncConnection, tenant: TenantId, subject: Pseudonym
    ) -> AsyncIterator[list[Disclosure]]:
        """Walk the entries that disclosed data of a person, oldest first, in chunks.

        It reads on the given connection, so that a change of a person and the search for its recipients share a
        transaction.
        """
        at = UUID(int=0)
        while True:
            # Two steps: a join could make the planner walk the whole log and look up the subjects of each entry.
            naming = self._naming(tenant, subject, after=at).order_by("entry_id").limit(DISCLOSURES_AT_A_TIME)
            ids = (await connection.execute(naming)).scalars().all()
            statement = select(ENTRY.c.body).where(
                ENTRY.c.tenant_id == tenant,
                ENTRY.c.id.in_(ids),
                ENTRY.c.action.in_(DISCLOSING),
                ENTRY.c.decision.in_(["allowed", "partly"]),
            )
            ordered = statement.order_by(ENTRY.c.id)
            disclosures = [disclosure_of(body) for body in (await connection.execute(ordered)).scalars()]
            yield [disclosure for disclosure in disclosures if str(subject) not in disclosure.withheld]
            if len(ids) < DISCLOSURES_AT_A_TIME:
                return
            at = ids[-1]

    async def disclosed(
        self, connection: AsyncConnection, tenant: TenantId, subjects: Sequence[UUID]
    ) -> set[Pseudonym]:
        """Return those of some people whose data was disclosed, by an entry of the log."""
        disclosing = (ENTRY.c.action.in_(DISCLOSING), ENTRY.c.decision.in_(["allowed", "partly"]))
        alone = (
            select(SUBJECT.c.pseudonym)
            .join(ENTRY, (ENTRY.c.tenant_id == SUBJECT.c.tenant_id) & (ENTRY.c.id == SUBJECT.c.entry_id))
            .where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.pseudonym.in_(subjects), *disclosing)
        )
        found = set((await connection.execute(alone.distinct())).scalars())
        if self._database.dialect == "postgresql":
            overlap = BATCH.c.pseudonyms.op("&&")(literal(list(subjects), Ids()))
            together = (
                select(BATCH.c.pseudonyms)
                .join(ENTRY, (ENTRY.c.tenant_id == BATCH.c.tenant_id) & (ENTRY.c.id == BATCH.c.entry_id))
                .where(BATCH.c.tenant_id == tenant, overlap, *disclosing)
            )
            async for pseudonyms in await connection.stream_scalars(together):
                found.update(pseudonyms)
        return {Pseudonym(pseudonym) for pseudonym in found & set(subjects)}

    async def _commit(self, waiting: list[_Rows]) -> list[None]:
        # An entry waits for at most the commit before it and its own, so each gets half of the deadline.
        async with asyncio.timeout(self._deadline / 2):
            for part in _parts(waiting):
                await self._database.append(self._tables(part))
        return [None] * len(waiting)

    def _tables(self, rows: list[_Rows]) -> dict[Table, list[tuple[object, ...]]]:
        most = FEW if self._database.dialect == "postgresql" else MOST_IN_FLIGHT
        return {
            ENTRY: [row.entry for row in rows],
            SUBJECT: [subject for row in rows if len(row.subjects) <= most for subject in row.alone()],
            BATCH: [row.together() for row in rows if len(row.subjects) > most],
        }

    def _naming(self, tenant: TenantId, subject: Pseudonym, *, after: UUID | None = None) -> Any:
        """Select the ids of the entries that name a subject, optionally those after an entry."""
        alone = select(SUBJECT.c.entry_id).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.pseudonym == subject)
        inside = BATCH.c.pseudonyms.op("@>")(literal([subject], Ids()))
        together = select(BATCH.c.entry_id).where(BATCH.c.tenant_id == tenant, inside)
        if after is not None:
            alone, together = alone.where(SUBJECT.c.entry_id > after), together.where(BATCH.c.entry_id > after)
        return alone if self._database.dialect == "sqlite" else alone.union_all(together)


async def _is_short(connection: AsyncConnection, tenant: TenantId, selection: Selection) -> bool:
    """Return whether a period is given and has few entries; ids alone are looked at."""
    window = selection.window()
    if not window:
        return False
    ids = select(ENTRY.c.id).where(ENTRY.c.tenant_id == tenant, *window).order_by(ENTRY.c.id)
    return (await connection.execute(ids.limit(1).offset(SHORT))).first() is None


async def _number_of(connection: AsyncConnection, tenant: TenantId, entry: EntryId) -> int:
    if entry == BEGINNING:
        return 0
    statement = select(ENTRY.c.number).where(ENTRY.c.tenant_id == tenant, ENTRY.c.id == entry)
    number: int | None = (await connection.execute(statement)).scalar_one_or_none()
    if number is None:
        fault = Fault("", "invalid-cursor", "Pass the id of an entry, such as the previous page's `next`, unchanged.")
        raise InvalidInput("The audit log has no entry with this id.", faults=[fault], code="invalid-cursor")
    return number


def _rows(unchecked: Entry) -> _Rows:
    entry, at, body = checked(unchecked)
    return _Rows(
        (
            *(entry.tenant, entry.id, at, entry.principal, entry.action, entry.decision, entry.purpose),
            *(body, leaf_hash(body)),
        ),
        # A batch may name a person twice, and their row in the index is unique.
        list(dict.fromkeys(entry.subjects)),
    )


def _parts(waiting: list[_Rows]) -> list[list[_Rows]]:
    parts: list[list[_Rows]] = [[]]
    held = 0
    for row in waiting:
        if held > SUBJECTS_A_COMMIT:
            parts.append([])
            held = 0
        parts[-1].append(row)
        held += len(row.subjects)
    return parts
