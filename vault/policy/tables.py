"""Where applied policies are kept: every version that ever was in force, so that a past decision can be understood."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLModel reads the annotations
from uuid import UUID  # noqa: TC003 - likewise

from sqlalchemy import Column, String, Table, Text
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


POLICY_VERSION: Table = PolicyVersionRow.__table__  # type: ignore[attr-defined]
