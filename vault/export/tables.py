"""Definitions carried out of vault.requests.tables."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Column, Index, Integer, LargeBinary, String
from sqlmodel import Field

from vault.storage.columns import DataTable, Id, Moment


class PackageRow(DataTable, table=True):
    """A package for a person: how large, until when; its bytes lie in ``package_chunk``, sealed."""

    __tablename__ = "package"
    __table_args__ = (
        Index("ix_package_subject", "tenant_id", "subject_id"),
        Index("ix_package_request", "tenant_id", "request_id"),
        Index("ix_package_expires", "tenant_id", "state", "expires_at"),
    )

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    request_id: UUID = Field(sa_column=Column(Id, nullable=False))
    subject_id: UUID = Field(sa_column=Column(Id, nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    created_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    expires_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    size: int = Field(sa_column=Column(Integer, nullable=False))
    chunks: int = Field(sa_column=Column(Integer, nullable=False))
    digest: bytes | None = Field(sa_column=Column(LargeBinary(32), nullable=True))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class PackageChunkRow(DataTable, table=True):
    """A piece of a package, sealed under the person's data key."""

    __tablename__ = "package_chunk"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    package_id: UUID = Field(sa_column=Column(Id, primary_key=True))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


PACKAGE = PackageRow.__table__  # type: ignore[attr-defined]


PACKAGE_CHUNK = PackageChunkRow.__table__  # type: ignore[attr-defined]
