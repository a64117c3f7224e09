"""Retention clocks and reviews as personal data: moments from which periods count, and decisions about values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.lifecycle.personal_data import count_rows
from vault.retention.clocks import clear_clocks, join_clocks
from vault.retention.reviews import clear_reviews, move_reviews
from vault.retention.tables import RETENTION_REVIEW, SUBJECT_CLOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import SubjectId, TenantId
    from vault.lifecycle.erasures import Erasure
    from vault.lifecycle.personal_data import ErasureContext, ExportContext, MergeContext, Sections


class RetentionData:
    """Clocks and reviews. What a law keeps says itself until when, so both go with the subject."""

    tables: tuple[Table, ...] = (SUBJECT_CLOCK, RETENTION_REVIEW)
    retained: tuple[Table, ...] = ()

    async def erase(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Delete them: a clock tells when a subject last bought something."""
        await clear_clocks(erasing.connection, erasing.tenant, subjects)
        await clear_reviews(erasing.connection, erasing.tenant, subjects)

    async def reseal(self, erasing: ErasureContext, subjects: Sequence[SubjectId]) -> None:
        """Keep them; nothing in them is sealed, and the next sweep closes reviews of values that are gone."""

    async def move(self, merge: MergeContext) -> None:
        """Move them to the survivor."""
        await join_clocks(merge.connection, merge.tenant, of=merge.duplicate, to=merge.survivor)
        await move_reviews(merge.connection, merge.tenant, of=merge.duplicate, to=merge.survivor)

    async def export(self, package: ExportContext) -> Sections:  # noqa: ARG002 - the protocol's
        """Return nothing: the package gives the end of each value's retention with the value."""
        return {}

    async def remains(self, connection: AsyncConnection, tenant: TenantId, erasure: Erasure) -> int:
        """Count clocks and reviews."""
        clocks = await count_rows(connection, tenant, erasure, SUBJECT_CLOCK)
        return clocks + await count_rows(connection, tenant, erasure, RETENTION_REVIEW, older="created_at")
