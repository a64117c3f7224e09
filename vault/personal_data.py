"""The owners of personal data: every capability that keeps something about subjects, in the order of a merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vault.consent.personal_data import ConsentData
from vault.export.store import ExportData
from vault.holds.personal_data import HoldData
from vault.identity.tables import IdentityData
from vault.lifecycle.personal_data import LifecycleData
from vault.recipients.store import RecipientData
from vault.records.personal_data import RecordData
from vault.rectification.store import RectificationData
from vault.requests.personal_data import RequestData
from vault.retention.personal_data import RetentionData

if TYPE_CHECKING:
    from vault.lifecycle.personal_data import PersonalData

OWNERS: Final[tuple[PersonalData, ...]] = (
    # A merge passes results from one to the next: dropped erasures and moved consents are needed by requests, and holds
    # join the consent state. The records come last: their ids lead to the survivor once everything else has moved.
    LifecycleData(),
    ConsentData(),
    RectificationData(),
    RequestData(),
    ExportData(),
    IdentityData(),
    HoldData(),
    RetentionData(),
    RecipientData(),
    RecordData(),
)
"""The owners of personal data; a new table with a subject's id belongs to one of them."""
