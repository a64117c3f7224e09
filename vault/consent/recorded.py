"""What recording something in a person's ledger is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a person has to send back to confirm: told once, and kept as a digest only."""

    token: str = field(repr=False)
    expires_at: datetime


class Recorded(NamedTuple):
    """The event, and how things stand after it."""

    id: UUID
    state: str
    confirmation: Confirmation | None = None
