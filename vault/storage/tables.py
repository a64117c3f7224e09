"""The families of tables, each in a database of its own: what the vault holds, its keys, what no restore may undo."""

from __future__ import annotations

from sqlalchemy import MetaData
from sqlmodel import SQLModel

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
