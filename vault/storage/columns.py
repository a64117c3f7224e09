"""Column types with the same Python value on both databases, and the bases of tables, one for each database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from sqlalchemy import ARRAY, TIMESTAMP, BigInteger, Column, LargeBinary, MetaData, Row, Uuid
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
            return dialect.type_descriptor(Uuid(native_uuid=True))
        return dialect.type_descriptor(LargeBinary(16))

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> UUID | bytes | None:
        """Write."""
        return value if value is None or dialect.name == "postgresql" else value.bytes

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        """Read."""
        return value if value is None or dialect.name == "postgresql" else UUID(bytes=value)


class Ids(TypeDecorator[list[UUID]]):
    """Several UUIDs: an array on PostgreSQL. SQLite has no arrays, so nothing is stored there."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the database's type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(ARRAY(Uuid(native_uuid=True)))
        return dialect.type_descriptor(LargeBinary())

    def process_bind_param(self, value: list[UUID] | None, dialect: Dialect) -> list[UUID] | None:
        """Convert for the driver; refuse on SQLite."""
        if value is not None and dialect.name != "postgresql":
            raise TypeError("arrays of ids exist on PostgreSQL only")
        return value


class Moment(TypeDecorator[datetime]):
    """An aware datetime in UTC: ``timestamptz`` on PostgreSQL, microseconds since 1970 on SQLite.

    SQLite has no type for times. Integers sort and compare as the times do; text of varying precision would not.
    """

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the database's type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | int | None:
        """Convert for the driver; refuse a naive datetime, because its instant is undefined."""
        if value is None:
            return None
        count = to_microseconds(value)
        return value if dialect.name == "postgresql" else count

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read."""
        if value is None or dialect.name != "postgresql":
            return None if value is None else from_microseconds(value)
        # The driver stores the first moment of the calendar as -infinity and reads that without a time zone.
        moment: datetime = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return moment


class Number(TypeDecorator[int]):
    """A row's place in the order of its table, which the database gives at the insert; no row brings one.

    PostgreSQL takes it from a sequence (the column's default), SQLite counts the rows of the tenant.
    """

    impl = BigInteger
    cache_ok = True


AnyRow: TypeAlias = Row[*tuple[Any, ...]]
"""A row of a query; its columns are attributes."""

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class DataTable(SQLModel):
    """Base of the tables in the main database. A table is never a request body: SQLModel does not validate tables."""

    model_config = {"defer_build": True}
    metadata = MetaData(naming_convention=NAMING)


class KeyTable(SQLModel):
    """Base of the tables in the key store, which has backups of its own that are kept for a shorter time."""

    model_config = {"defer_build": True}
    metadata = MetaData(naming_convention=NAMING)


class LedgerTable(SQLModel):
    """Base of the tables in the ledger of tombstones, which lists what a restore must not undo."""

    model_config = {"defer_build": True}
    metadata = MetaData(naming_convention=NAMING)


def column(kind: TypeEngine[Any] | type[TypeEngine[Any]], *, nullable: bool = False, **options: object) -> Any:
    """Return the declaration of a table's column.

    For example ``name: str = column(String(64), primary_key=True)``.

    A column is not null, unless ``nullable`` is set. ``options`` are passed on to SQLAlchemy's ``Column``.
    """
    return Field(sa_column=Column(kind, nullable=nullable, **options))  # type: ignore[arg-type]


def brought(table: Table) -> list[Column[Any]]:
    """Return the columns of which a whole row has values: all but those that the database fills."""
    return [column for column in table.columns if not isinstance(column.type, Number)]


def table_of(row: type[SQLModel]) -> Table:
    """Return the table that a row class declares; queries are written against its columns (``.c``)."""
    return row.metadata.tables[str(row.__tablename__)]
