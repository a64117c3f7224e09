"""Tables of the key store. It contains wrapped keys only, which are useless without the root key."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations at run time
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Integer, LargeBinary, String

from vault.storage.columns import Id, KeyTable, Moment, column, table_of


class TenantKeyRow(KeyTable, table=True):
    """A tenant's key, wrapped by the root key; it wraps the data keys of the tenant's subjects."""

    __tablename__ = "tenant_key"

    tenant_id: str = column(String(64), primary_key=True)
    version: int = column(Integer, primary_key=True, autoincrement=False)
    root_reference: str = column(String(255))
    wrapped: bytes = column(LargeBinary)
    created_at: datetime = column(Moment)


class TenantSecretRow(KeyTable, table=True):
    """A tenant's secret for digests or signatures (kind ``index``, ``token``, ``audit`` or ``signing``), wrapped."""

    __tablename__ = "tenant_secret"

    tenant_id: str = column(String(64), primary_key=True)
    kind: str = column(String(16), primary_key=True)
    version: int = column(Integer, primary_key=True, autoincrement=False)
    root_reference: str = column(String(255))
    wrapped: bytes = column(LargeBinary)
    created_at: datetime = column(Moment)


class DataKeyRow(KeyTable, table=True):
    """One version of a subject's data key, wrapped by the tenant key. Without this row its values are unreadable."""

    __tablename__ = "data_key"

    tenant_id: str = column(String(64), primary_key=True)
    subject_id: UUID = column(Id, primary_key=True)
    version: int = column(Integer, primary_key=True, autoincrement=False)
    tenant_key_version: int = column(Integer)
    wrapped: bytes = column(LargeBinary)
    created_at: datetime = column(Moment)


TENANT_KEY = table_of(TenantKeyRow)
TENANT_SECRET = table_of(TenantSecretRow)
DATA_KEY = table_of(DataKeyRow)
