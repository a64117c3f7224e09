"""Least versions of rows, in the key store: a row of the main database that is older than its own cannot be put back.

A MAC proves that the vault wrote a row, and not that it is the last one that the vault wrote: an attacker with the
main database could keep a copy of an API key's row, and put it back after the key was revoked. So the rows of some
tables count their versions, under the MAC, and the key store has the least version that is accepted.

It is raised after the commit of the new row and before the change is reported as done, and again by each node that sees
a genuine row with a higher version. A process that dies in between leaves a row that is accepted either way: no one is
locked out by a crash, and no change that was reported can be undone. Without an entry, version 1 is accepted.

A person's code has few attempts, and each counts only if it raises the version (:func:`raise_version`): a row that is
put back gives no more of them. These entries are deleted when their codes have expired for long.

Adoption gives MACs to the rows of a vault that is older than MACs. An entry says that it was carried out for a tenant,
so that it is never carried out again: a forged row without a MAC would be adopted with the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import BigInteger, String, bindparam, delete, select

from vault.storage.columns import Id, KeyTable, column, table_of
from vault.storage.query import Query, any_of, insert_into

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import TenantId
    from vault.storage.database import Database


class RowVersionRow(KeyTable, table=True):
    """The least accepted version of a row in the main database."""

    __tablename__ = "row_version"

    tenant_id: str = column(String(64), primary_key=True)
    table_name: str = column(String(64), primary_key=True)
    row_id: UUID = column(Id, primary_key=True)
    version: int = column(BigInteger)


ROW_VERSION = table_of(RowVersionRow)
_R = ROW_VERSION.c
_LEAST = Query(
    select(_R.table_name, _R.row_id, _R.version).where(_R.tenant_id == bindparam("tenant"), any_of(_R.row_id, "ids"))
)

THE_ONE: Final = UUID(int=0)
"""The id where a tenant has one of a kind, such as the policies in force."""
FIRST: Final = 1
"""The version of a new row."""


@dataclass(frozen=True, slots=True)
class RowVersion:
    """A version of a row in the main database."""

    table: str
    row: UUID
    version: int


async def least_versions(database: Database, tenant: TenantId, rows: Iterable[UUID]) -> dict[tuple[str, UUID], int]:
    """Return the least accepted versions of rows, by table and id, without those that were never changed."""
    found = await database.fetch(_LEAST, tenant=tenant, ids=list(rows))
    return {(table, UUID(bytes=row.bytes)): version for table, row, version in found}


async def raise_version(connection: AsyncConnection, tenant: TenantId, least: RowVersion) -> bool:
    """Accept a row from this version on; return False if this one or a higher one is there already, which stays."""
    statement = insert_into(ROW_VERSION, connection.dialect.name).values(
        tenant_id=tenant, table_name=least.table, row_id=least.row, version=least.version
    )
    new = statement.excluded.version
    raising = statement.on_conflict_do_update(
        index_elements=list(ROW_VERSION.primary_key), set_={"version": new}, where=new > _R.version
    )
    return (await connection.execute(raising.returning(_R.version))).one_or_none() is not None


async def forget_versions(connection: AsyncConnection, table: str, before: UUID) -> None:
    """Delete the entries of a table's rows whose ids are lower. Their rows must be refused for another reason."""
    await connection.execute(delete(ROW_VERSION).where(_R.table_name == table, _R.row_id < before))


ADOPTED: Final = RowVersion("adopted", THE_ONE, 3)
"""The entry of a tenant whose rows are adopted; the version is the last step. Later tables get a further step."""
_STEPS = Query(select(_R.tenant_id, _R.version).where(_R.table_name == ADOPTED.table, _R.row_id == ADOPTED.row))


async def adopted_steps(database: Database) -> dict[str, int]:
    """Return the last step of adoption of each tenant; one that has none is from before MACs."""
    return dict(await database.fetch(_STEPS))
