"""Tables of the callers: who they are, their keys, and what they have used of their rate."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, LargeBinary, String, Text, UniqueConstraint
from sqlmodel import Field

from vault.storage.columns import Id, Moment
from vault.storage.tables import DataTable


class PrincipalRow(DataTable, table=True):
    """An app or a member of staff that is registered here; who comes with an issuer's token is not."""

    __tablename__ = "principal"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    name: str = Field(sa_column=Column(String(64), nullable=False))
    kind: str = Field(sa_column=Column(String(8), nullable=False))
    roles: str = Field(sa_column=Column(Text, nullable=False))  # sorted slugs, a space between
    state: str = Field(sa_column=Column(String(16), nullable=False))
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))


class ApiKeyRow(DataTable, table=True):
    """One API key. It is found by its id alone: a bearer does not say which tenant it belongs to."""

    __tablename__ = "api_key"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "principal_id"], ["principal.tenant_id", "principal.id"]),
        Index(None, "tenant_id", "principal_id"),
    )

    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    tenant_id: str = Field(sa_column=Column(String(64), nullable=False))
    principal_id: UUID = Field(sa_column=Column(Id, nullable=False))
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))  # SHA-256 of the whole key
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    expires_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    revoked_at: datetime | None = Field(sa_column=Column(Moment, nullable=True))


class RateWindowRow(DataTable, table=True):
    """What all nodes together have leased of one principal's rate in one minute; rows live for some minutes."""

    __tablename__ = "rate_window"
    __table_args__ = (Index(None, "window_start"),)

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    principal_id: UUID = Field(sa_column=Column(Id, primary_key=True))
    kind: str = Field(sa_column=Column(String(8), primary_key=True))
    window_start: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))  # seconds from 1970
    used: int = Field(sa_column=Column(BigInteger, nullable=False))
