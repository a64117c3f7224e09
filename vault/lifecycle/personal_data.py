"""Personal data by capability: what an erasure, a sweep, a merge and an access package do with it.

Each capability that keeps something about subjects implements :class:`PersonalData`, and ``vault.workflows`` lists
the implementations. Erasures, sweeps, merges, access packages and the check before a certificate loop over them, as
``services.personal_data``. A test asks the schema: every table with a subject's id has exactly one owner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import delete, func, select

from vault.crypto.seal import record_aad
from vault.lifecycle.erasures import ERASURE, erasures_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from msgspec import Struct
    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Caller, Services
    from vault.crypto.row_mac import RowKeys
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId
    from vault.lifecycle.erasures import Erasure

    Sections = Mapping[str, Sequence[Struct]]
    IsErased = Callable[[UUID, str, UUID, str], bool]
    """Tells whether a value is erased: by subject, collection, record and name in the record's body."""


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A subject with the data keys that open and seal its values."""

    id: SubjectId
    keys: SubjectKeys


@dataclass(frozen=True, slots=True)
class Resealer:
    """Opens what is sealed for one subject, and seals it again.

    In an erasure both are the same subject, and the newest data key seals. In a merge, what opens with the duplicate's
    keys is sealed with the survivor's, for the survivor.
    """

    tenant: TenantId
    source: KeyHolder
    target: KeyHolder

    @classmethod
    def renewed(cls, tenant: TenantId, subject: SubjectId, keys: SubjectKeys) -> Resealer:
        """Return the resealer of a subject that has a new data key."""
        holder = KeyHolder(subject, keys)
        return cls(tenant, holder, holder)

    def reseal(self, collection: str, record: UUID, name: str, sealed: bytes) -> bytes:
        """Seal a value again.

        Raises:
            CannotOpen: the value does not open.
        """
        plain = self.source.keys.open(name, sealed, record_aad(self.tenant, self.source.id, collection, record))
        return self.target.keys.seal(name, plain, record_aad(self.tenant, self.target.id, collection, record))


@dataclass(frozen=True, slots=True)
class ErasureContext:
    """One transaction that erases. The subjects' requests and rows are locked.

    Attributes:
        connection: the open transaction.
        tenant: the tenant of all subjects.
        row_keys: its keys of the MACs over rows.
        is_erased: which values are erased of subjects that go on.
        resealers: one for each subject of which something stays.
        unlinked: subjects whose ids in other systems are erased.
        erasures: ids of the erasures that are carried out, and of those that they resume. What was written about their
            requests stays for as long as the subject has a data key.
    """

    connection: AsyncConnection
    tenant: TenantId
    row_keys: RowKeys
    is_erased: IsErased
    resealers: Mapping[SubjectId, Resealer] = field(default_factory=dict)
    unlinked: Collection[SubjectId] = ()
    erasures: Collection[UUID] = ()


@dataclass(slots=True)
class MergeContext:
    """One transaction that merges a duplicate into a survivor. The requests and rows of both are locked.

    The last five attributes pass results from one step to the next ones.

    Attributes:
        entry: id of the audit entry of the merge.
        birth_date: in the merged profile; None if there is none.
        conflicts: names of the profile's fields of which both had a value; the survivor's stays.
        dropped_erasures: erasures of the duplicate that had not taken anything yet.
        events: the duplicate's consent events that moved, with their new ids.
        reverify: requests that need a new proof of identity: id and revision.
    """

    services: Services
    caller: Caller
    connection: AsyncConnection
    resealer: Resealer
    survivor_row: Any
    duplicate_row: Any
    entry: UUID
    now: datetime
    birth_date: object = None
    conflicts: Sequence[str] = ()
    dropped_erasures: frozenset[UUID] = frozenset()
    events: dict[UUID, UUID] = field(default_factory=dict)
    reverify: list[tuple[UUID, int]] = field(default_factory=list)

    @property
    def tenant(self) -> TenantId:
        """Return the tenant of both."""
        return self.resealer.tenant

    @property
    def survivor(self) -> SubjectId:
        """Return the subject that stays."""
        return self.resealer.target.id

    @property
    def duplicate(self) -> SubjectId:
        """Return the subject that is merged into the survivor."""
        return self.resealer.source.id


@dataclass(frozen=True, slots=True)
class ExportContext:
    """An access package that is being built (Art. 15 GDPR).

    Attributes:
        keys: the subject's data keys.
        language: of the package's texts: ``en``, ``de`` or ``fr``.
        is_requested: tells whether a field is in the scope of the request.
        is_about_others: tells whether values of a field are about other people, to whom a package must do no harm
            (Art. 15(4)).
    """

    services: Services
    tenant: TenantId
    subject: SubjectId
    keys: SubjectKeys
    language: str
    is_requested: Callable[[str], bool]
    is_about_others: Callable[[str], bool]


class PersonalData(Protocol):
    """What one capability keeps about subjects.

    Attributes:
        tables: of the main database, that this capability owns and that hold something about a subject.
        retained: those of the tables whose rows stay after the erasure of a whole subject. Such a row holds ids, names
            of fields and times, and no value of the subject's.
    """

    @property
    def tables(self) -> tuple[Table, ...]:
        """Return the tables."""

    @property
    def retained(self) -> tuple[Table, ...]:
        """Return the tables whose rows stay."""

    async def erase(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete the data of subjects that are erased as a whole."""

    async def reseal(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Seal again the data of subjects that are erased in part, and delete what belongs to the erased values.

        Raises:
            CannotOpen: a value that stays does not open.
        """

    async def move(self, merge: MergeContext) -> None:
        """Move the duplicate's data to the survivor.

        Raises:
            CannotOpen: a value does not open.
            Conflict: a hold covers a value that would be lost.
        """

    async def export(self, package: ExportContext) -> Sections:
        """Return what an access package contains besides the records: lists of items, by their key in data.json.

        A key that the package does not know is shown under ``more``.

        Raises:
            CannotOpen: a sealed value does not open.
        """

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count the rows that the erasure of a whole subject should have deleted, or should have rid of values.

        Where something was kept (``erasure.key_version``), rows that came in after the erasure do not count.
        """


def owned_tables(owners: Iterable[PersonalData]) -> tuple[Table, ...]:
    """List the tables of all owners: those from which deleted rows have to leave the database's files."""
    return tuple(table for owner in owners for table in owner.tables)


def rows_of(table: Table, tenant: TenantId, subjects: Sequence[UUID]) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that select the rows of subjects."""
    return table.c.tenant_id == tenant, table.c.subject_id.in_(subjects)


async def count_rows(
    connection: AsyncConnection, tenant: TenantId, erasure: Erasure, *tables: Table, older: str | None = None
) -> int:
    """Count the rows of an erased subject.

    Args:
        older: a column with a moment. Where something of the subject was kept, only rows from before the erasure count.
    """
    total = 0
    for table in tables:
        statement = select(func.count()).select_from(table).where(*rows_of(table, tenant, [erasure.subject]))
        if older is not None and erasure.key_version is not None:
            statement = statement.where(table.c[older] < erasure.facts.erased_at)
        total += (await connection.execute(statement)).scalar_one()
    return total


def is_stale(sealed_with: int, erasure: Erasure) -> bool:
    """Tell whether something was sealed with a data key that an erasure has destroyed, by the key's version."""
    return erasure.key_version is None or sealed_with < erasure.key_version


class RetainedData:
    """Base of owners whose rows all stay after an erasure: ids, names of fields and times, and nothing sealed."""

    tables: tuple[Table, ...] = ()

    @property
    def retained(self) -> tuple[Table, ...]:
        """Return all tables."""
        return self.tables

    async def erase(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Keep everything."""

    async def reseal(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Keep everything."""

    async def move(self, merge: MergeContext) -> None:
        """Keep everything under the duplicate's id."""

    async def export(self, package: ExportContext) -> Sections:  # noqa: ARG002 - the protocol's, as those below
        """Return nothing: the rows hold no value of the subject's."""
        return {}

    async def remains(
        self,
        connection: AsyncConnection,  # noqa: ARG002
        tenant: TenantId,  # noqa: ARG002
        erasure: Erasure,  # noqa: ARG002
    ) -> int:
        """Return 0: nothing of these rows has to go."""
        return 0


class LifecycleData(RetainedData):
    """Erasures: the proof that they happened. The address of a letter that is still to be sent goes before the keys."""

    tables: tuple[Table, ...] = (ERASURE,)

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count the erasures that still have an address."""
        theirs = *rows_of(ERASURE, tenant, [erasure.subject]), ERASURE.c.addressee.is_not(None)
        return (await connection.execute(select(func.count()).select_from(ERASURE).where(*theirs))).scalar_one()

    async def move(self, merge: MergeContext) -> None:
        """Delete the duplicate's erasures that have not taken anything yet.

        Their requests move, and begin an erasure of the survivor once they are approved again.
        """
        erasures = await erasures_of(merge.connection, merge.tenant, merge.duplicate)
        merge.dropped_erasures = frozenset(erasure.id for erasure in erasures if erasure.finished_at is None)
        dropped = ERASURE.c.tenant_id == merge.tenant, ERASURE.c.id.in_(sorted(merge.dropped_erasures))
        await merge.connection.execute(delete(ERASURE).where(*dropped))
