"""Indexes that do not lead to all people yet, and how far their building has come.

A write derives the digests of the indexes that are declared at that time. An index that is declared later lacks all
values from before. It is a row here from the moment at which the policies with it are applied, in the same transaction,
until a job has covered every person (:mod:`vault.records.build_index`). Until then a search by it would miss people in
silence, so it is refused.

An index is named ``profile.email:exact``. It is another one, and built again, if the type of its field or the length of
its digests changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID  # noqa: TC003 - SQLModel reads the annotations

from sqlalchemy import BigInteger, String, bindparam, delete, func, insert, select, update

from vault.errors import Unavailable
from vault.ids import SubjectId, TenantId, new_id
from vault.storage.columns import DataTable, Id, Moment, column, table_of
from vault.storage.query import Query
from vault.subjects.tables import SUBJECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.catalogue.model import Catalogue, Field, Index
    from vault.storage.columns import AnyRow
    from vault.storage.database import Database

FOLLOWED: Final = timedelta(seconds=60)
"""After this time every node follows new policies: none writes a value any more without what leads to it."""


class IndexBuildRow(DataTable, table=True):
    """An index that is being built. ``cursor`` is the last person who was covered."""

    __tablename__ = "index_build"

    tenant_id: str = column(String(64), primary_key=True)
    name: str = column(String(200), primary_key=True)
    id: UUID = column(Id)
    """The id of its job."""
    started_at: datetime = column(Moment)
    cursor: UUID | None = column(Id, nullable=True)
    people: int = column(BigInteger)
    """How many people are covered."""
    total: int = column(BigInteger)
    """How many people there were when it began."""


INDEX_BUILD = table_of(IndexBuildRow)
_B = INDEX_BUILD.c
_NAMES = Query(select(_B.name).where(_B.tenant_id == bindparam("tenant")))


@dataclass(frozen=True, slots=True)
class IndexBuild:
    """An index that does not lead to all people yet."""

    name: str
    id: UUID
    started_at: datetime
    cursor: UUID | None
    people: int
    total: int

    @property
    def left(self) -> int:
        """Return how many people are not covered, of those that there were when it began."""
        return max(0, self.total - self.people)


def index_name(field: Field, kind: str) -> str:
    """Return the name of a field's index."""
    return f"{field.whole}:{kind}"


def indexes_of(catalogue: Catalogue) -> dict[str, tuple[Field, Index]]:
    """Return all declared indexes by name."""
    return {index_name(field, index.kind): (field, index) for field in catalogue.fields() for index in field.indexes}


async def plan_builds(
    connection: AsyncConnection, tenant: TenantId, before: Catalogue | None, after: Catalogue, now: datetime
) -> None:
    """Note the indexes that a new catalogue declares and the one before did not, in the transaction that applies it."""
    old, new = _forms(before), _forms(after)
    changed = [name for name, form in new.items() if old.get(name) != form]
    gone = old.keys() - new.keys()
    if gone:
        await connection.execute(delete(INDEX_BUILD).where(_B.tenant_id == tenant, _B.name.in_(sorted(gone))))
    await begin_builds(connection, tenant, changed, now)


def _forms(catalogue: Catalogue | None) -> Mapping[str, tuple[str, int]]:
    """Return what the digests of each index depend on."""
    declared = {} if catalogue is None else indexes_of(catalogue)
    return {name: (field.type, index.bits) for name, (field, index) in declared.items()}


async def begin_builds(connection: AsyncConnection, tenant: TenantId, names: Iterable[str], now: datetime) -> None:
    """Begin to build indexes, or begin again; a tenant without people has nothing to build."""
    wanted = sorted(set(names))
    if not wanted:
        return
    await connection.execute(delete(INDEX_BUILD).where(_B.tenant_id == tenant, _B.name.in_(wanted)))
    count = select(func.count()).select_from(SUBJECT).where(SUBJECT.c.tenant_id == tenant)
    total: int = (await connection.execute(count)).scalar_one()
    if total:
        row = {"tenant_id": tenant, "started_at": now, "cursor": None, "people": 0, "total": total}
        await connection.execute(insert(INDEX_BUILD), [{**row, "name": name, "id": new_id()} for name in wanted])


async def list_builds(connection: AsyncConnection, tenant: TenantId) -> list[IndexBuild]:
    """List the indexes of a tenant that are not built yet, by name."""
    statement = select(INDEX_BUILD).where(_B.tenant_id == tenant).order_by(_B.name)
    return [_read(row) for row in (await connection.execute(statement)).all()]


async def locked_build(connection: AsyncConnection, tenant: TenantId, build: UUID) -> IndexBuild | None:
    """Fetch and lock an index that is being built; None if it is built, or was taken out of the catalogue."""
    statement = select(INDEX_BUILD).where(_B.tenant_id == tenant, _B.id == build).with_for_update()
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _read(row)


async def advance_build(
    connection: AsyncConnection, tenant: TenantId, build: IndexBuild, last: SubjectId, people: int
) -> None:
    """Store that more people are covered, up to the one given as `last`."""
    statement = update(INDEX_BUILD).where(_B.tenant_id == tenant, _B.name == build.name)
    await connection.execute(statement.values(cursor=last, people=_B.people + people))


async def end_build(connection: AsyncConnection, tenant: TenantId, build: IndexBuild) -> None:
    """Store that an index leads to all people."""
    await connection.execute(delete(INDEX_BUILD).where(_B.tenant_id == tenant, _B.name == build.name))


async def unbuilt(database: Database, tenant: TenantId) -> frozenset[str]:
    """Return the names of the indexes that do not lead to all people yet."""
    return frozenset(row[0] for row in await database.fetch(_NAMES, tenant=tenant))


async def require_built(database: Database, tenant: TenantId, indexes: Iterable[tuple[Field, str]]) -> None:
    """Require that indexes lead to all people, because a search by another one would miss some in silence.

    Raises:
        Unavailable: ``index-building``.
    """
    missing = await unbuilt(database, tenant)
    if missing and any(index_name(field, kind) in missing for field, kind in indexes):
        raise Unavailable(
            "an index of this search is being built and does not lead to all people yet",
            code="index-building",
            hint="search by another field, or try again later; `cdv policy indexes` shows how far it is",
        )


def _read(row: AnyRow) -> IndexBuild:
    return IndexBuild(row.name, row.id, row.started_at, row.cursor, row.people, row.total)
