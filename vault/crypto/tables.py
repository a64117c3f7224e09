"""Tables of the key store: wrapped keys only. Whoever has this database has nothing without the root key."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations at run time
from typing import Final
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Integer, LargeBinary, String, Table
from sqlmodel import Field

from vault.storage.columns import Id, KeyTable, Moment


class TenantKeyRow(KeyTable, table=True):
    """A tenant's key, wrapped by the root key; it wraps the data keys of the tenant's subjects."""

    __tablename__ = "tenant_key"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    root_reference: str = Field(sa_column=Column(String(255), nullable=False))
    wrapped: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))


class TenantSecretRow(KeyTable, table=True):
    """A tenant's secret for digests or signatures (kind ``index``, ``token``, ``audit`` or ``signing``), wrapped."""

    __tablename__ = "tenant_secret"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    kind: str = Field(sa_column=Column(String(16), primary_key=True))
    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    root_reference: str = Field(sa_column=Column(String(255), nullable=False))
    wrapped: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))


class DataKeyRow(KeyTable, table=True):
    """One version of a subject's data key, wrapped by the tenant key. Without this row its values are unreadable."""

    __tablename__ = "data_key"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    subject_id: UUID = Field(sa_column=Column(Id, primary_key=True))
    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    tenant_key_version: int = Field(sa_column=Column(Integer, nullable=False))
    wrapped: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))


def _table(model: type[KeyTable]) -> Table:
    return KeyTable.metadata.tables[str(model.__tablename__)]


TENANT_KEY: Final = _table(TenantKeyRow)
TENANT_SECRET: Final = _table(TenantSecretRow)
DATA_KEY: Final = _table(DataKeyRow)
