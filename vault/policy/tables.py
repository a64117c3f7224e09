"""Where applied policies are kept: every version that ever was in force, so that a past decision can be understood.

The notices among them are kept once more, each text once by its hash: a consent names the very text that was agreed to.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - likewise

from sqlalchemy import Column, LargeBinary, String, Table, Text
from sqlmodel import Field

from vault.storage.columns import Id, Moment
from vault.storage.tables import DataTable


class PolicyVersionRow(DataTable, table=True):
    """One folder as it was applied for a tenant. The row with the largest id is in force."""

    __tablename__ = "policy_version"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    id: UUID = Field(sa_column=Column(Id, primary_key=True))
    version: str = Field(sa_column=Column(String(80), nullable=False))
    files: str = Field(sa_column=Column(Text, nullable=False))
    """JSON: path in the folder to text."""
    applied_at: datetime = Field(sa_column=Column(Moment, nullable=False))
    applied_by: str = Field(sa_column=Column(String(64), nullable=False))


class NoticeText(DataTable, table=True):
    """One notice in one language, as it once was part of a tenant's policies."""

    __tablename__ = "notice_text"

    tenant_id: str = Field(sa_column=Column(String(64), primary_key=True))
    digest: str = Field(sa_column=Column(String(71), primary_key=True))
    """``sha256:`` and the hash over the whole file, in hexadecimal."""
    notice: str = Field(sa_column=Column(String(80), nullable=False))
    """``name@version``."""
    language: str = Field(sa_column=Column(String(10), nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """The whole file, front matter included, in UTF-8."""
    recorded_at: datetime = Field(sa_column=Column(Moment, nullable=False))


POLICY_VERSION: Table = PolicyVersionRow.__table__  # type: ignore[attr-defined]
NOTICE_TEXT: Table = NoticeText.__table__  # type: ignore[attr-defined]
