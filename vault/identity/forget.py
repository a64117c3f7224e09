"""Forget codes and sessions that are over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.identity.codes import forget_codes
from vault.identity.session import forget_sessions

if TYPE_CHECKING:
    from vault.context import House


async def forget_identity(house: House) -> int:
    """Delete codes that count for no limit any more, and sessions that are over; returns how many."""
    return await forget_codes(house) + await forget_sessions(house)
