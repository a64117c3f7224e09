"""Notices to recipients as personal data: ids and names of fields, which stay until the recipients have acted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.lifecycle.personal_data import RetainedData
from vault.recipients.tables import RECIPIENT_NOTICE

if TYPE_CHECKING:
    from sqlalchemy import Table


class RecipientData(RetainedData):
    """Notices of corrections, erasures and restrictions (Art. 19 GDPR).

    Recipients have to learn of an erasure after it happened. After a merge they go on to know the subject by the
    duplicate's id.
    """

    tables: tuple[Table, ...] = (RECIPIENT_NOTICE,)
