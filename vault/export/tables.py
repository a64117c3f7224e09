"""Tables of packages."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import Index, Integer, LargeBinary, String

from vault.storage.columns import DataTable, Id, Moment, column, table_of


class PackageRow(DataTable, table=True):
    """A package for a subject. Its content is stored in ``package_chunk``."""

    __tablename__ = "package"
    __table_args__ = (
        Index("ix_package_subject", "tenant_id", "subject_id"),
        Index("ix_package_request", "tenant_id", "request_id"),
        Index("ix_package_expires", "tenant_id", "state", "expires_at"),
    )

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    request_id: UUID = column(Id)
    subject_id: UUID = column(Id)
    state: str = column(String(16))
    created_at: datetime = column(Moment)
    expires_at: datetime = column(Moment)
    size: int = column(Integer)
    chunks: int = column(Integer)
    digest: bytes | None = column(LargeBinary(32), nullable=True)
    body: bytes = column(LargeBinary)


class PackageChunkRow(DataTable, table=True):
    """A chunk of a package, sealed under the subject's data key."""

    __tablename__ = "package_chunk"

    tenant_id: str = column(String(64), primary_key=True)
    package_id: UUID = column(Id, primary_key=True)
    number: int = column(Integer, primary_key=True, autoincrement=False)
    body: bytes = column(LargeBinary)


PACKAGE = table_of(PackageRow)
PACKAGE_CHUNK = table_of(PackageChunkRow)
