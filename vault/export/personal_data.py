"""Packages as personal data: they hold copies of values, so every erasure deletes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.export.store import drop_packages
from vault.export.tables import PACKAGE, PACKAGE_CHUNK
from vault.lifecycle.personal_data import count_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import SubjectId, TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import ErasureContext, MergeContext


class ExportData:
    """Packages for access requests, finished or not."""

    tables: tuple[Table, ...] = (PACKAGE, PACKAGE_CHUNK)
    retained: tuple[Table, ...] = ()

    async def erase(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete them."""
        await drop_packages(erasing.connection, erasing.tenant, subjects)

    async def reseal(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete them too: each holds all values as they were."""
        await drop_packages(erasing.connection, erasing.tenant, subjects)

    async def move(self, merge: MergeContext) -> None:
        """Delete the duplicate's; the request can be reopened."""
        await drop_packages(merge.connection, merge.tenant, [merge.duplicate])

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count packages."""
        return await count_rows(connection, tenant, erasure, PACKAGE, older="created_at")
