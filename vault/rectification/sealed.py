"""What was corrected, and what the person says of it: sealed under the person's own key, beside the names of fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from vault.crypto.seal import place
from vault.ids import new_id
from vault.rectification.store import EVERYTHING, Rectification
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from vault.crypto.seal import SubjectKeys
    from vault.ids import PrincipalId, SubjectId, TenantId
    from vault.rectification.store import State

COLLECTION = "rectification"
DETAILS = "details"


class Sealer:
    """Makes rectifications of one person, at one moment, brought by one caller."""

    def __init__(
        self,
        keys: SubjectKeys,
        tenant: TenantId,
        subject: SubjectId,
        *,
        at: datetime,
        by: PrincipalId,
        request: UUID | None = None,
    ) -> None:
        self._keys = keys
        self._tenant = tenant
        self._subject = subject
        self._at = at
        self._by = by
        self._request = request

    def corrected(self, collection: str, record: UUID, field: str, before: Any, after: Any) -> Rectification:
        """Make a correction; a value that was not there, or is not any more, is null."""
        return self._made("corrected", collection, record, field, {"before": before, "after": after})

    def said(self, state: State, statement: str, field: str = EVERYTHING) -> Rectification:
        """Make a statement of the person's, or the dispute of a field of the profile."""
        return self._made(state, PROFILE, self._subject, field, {"statement": statement})

    def _made(self, state: State, collection: str, record: UUID, field: str, details: dict[str, Any]) -> Rectification:
        made = new_id()
        sealed = seal_details(self._keys, self._tenant, self._subject, made, details)
        return Rectification(
            made, self._request, collection, record, field, state, self._at, by=self._by, details=sealed
        )


def seal_details(
    keys: SubjectKeys, tenant: TenantId, subject: SubjectId, rectification: UUID, details: dict[str, Any]
) -> bytes:
    """Seal what belongs to a rectification: ``{"before", "after"}``, or ``{"statement", "reason"}``."""
    return keys.seal(DETAILS, msgspec.json.encode(details), place(tenant, subject, COLLECTION, rectification))


def open_details(
    keys: SubjectKeys, tenant: TenantId, subject: SubjectId, rectification: Rectification
) -> dict[str, Any]:
    """Open what belongs to a rectification; empty where there is nothing.

    Raises:
        CannotOpen: the bytes were tampered with or belong elsewhere.
    """
    if rectification.details is None:
        return {}
    where = place(tenant, subject, COLLECTION, rectification.id)
    opened: dict[str, Any] = msgspec.json.decode(keys.open(DETAILS, rectification.details, where))
    return opened
