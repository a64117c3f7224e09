"""The review of an automated decision (Art. 22(3) GDPR): a person carries it out, and completes the request."""

from __future__ import annotations

from typing import Final

from vault.requests.kind import Ground, RequestKind

REVIEW: Final = RequestKind(
    name="review",
    texts=("reason", "statement"),
    grounds=(Ground("no-automated-decision", "nothing was decided by automated means alone", "Art. 22(1) GDPR", ""),),
    completed_by_staff=True,
)
