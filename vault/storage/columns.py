"""Column types that hold the same Python value on both databases.

The families of tables, each in a database of its own: what the vault holds, its keys, what no restore may undo.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import Field, SQLModel

from vault.clock import from_microseconds, to_microseconds

if TYPE_CHECKING:
    from sqlalchemy import Dialect, Table


class Id(TypeDecorator[UUID]):
    """A UUID: PostgreSQL's own type, 16 bytes on SQLite."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the database's type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=True))
        return dialect.type_descriptor(LargeBinary(16))

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        """Write."""
        return value if value is None or dialect.name == "postgresql" else value.bytes

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        """Read."""
        return value if value is None or dialect.name == "postgresql" else UUID(bytes=value)


class Ids(TypeDecorator[list[UUID]]):
    """Several UUIDs: an array on PostgreSQL, which can look inside; SQLite has none, so nothing is kept there."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the database's type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.ARRAY(postgresql.UUID(as_uuid=True)))
        return dialect.type_descriptor(LargeBinary())

    def process_bind_param(self, value: list[UUID] | None, dialect: Dialect) -> Any:
        """Write; on SQLite, refuse to."""
        if value is not None and dialect.name != "postgresql":
            raise TypeError("several ids in one column are PostgreSQL's alone")
        return value


class Moment(TypeDecorator[datetime]):
    """An aware moment in UTC: ``timestamptz`` on PostgreSQL, microseconds since 1970 on SQLite.

    SQLite has no type for times; whole numbers sort and compare as the moments do, which text of varying precision
    would not.
    """

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the database's type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write; a naive moment is refused, for nobody can say which instant it means."""
        if value is None:
            return None
        count = to_microseconds(value)
        return value if dialect.name == "postgresql" else count

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read."""
        return value if value is None or dialect.name == "postgresql" else from_microseconds(value)


NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class DataTable(SQLModel):
    """Base of every table in the main database. A table is never the body of a request: SQLModel checks no values."""

    metadata = MetaData(naming_convention=NAMING)


class KeyTable(SQLModel):
    """Base of the tables in the key store, which is backed up apart and for a shorter time."""

    metadata = MetaData(naming_convention=NAMING)


class LedgerTable(SQLModel):
    """Base of the tables in the ledger of tombstones: what a restore from a backup must not undo."""

    metadata = MetaData(naming_convention=NAMING)


def column(kind: TypeEngine[Any] | type[TypeEngine[Any]], *, nullable: bool = False, **options: bool) -> Any:
    """Declare a column of a row class, as in ``name: str = column(String(64))``.

    A column is not null, unless ``nullable`` is set. ``options`` are passed on to SQLAlchemy's ``Column``.
    """  # noqa: D402 - an example, not the signature
    return Field(sa_column=Column(kind, nullable=nullable, **options))  # type: ignore[arg-type]


def table_of(row: type[SQLModel]) -> Table:
    """Return the table that a row class declares; queries are written against its columns (``.c``)."""
    return row.metadata.tables[str(row.__tablename__)]
