"""Definitions carried out of vault.retention.holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.consent.state import Held


def purposes_of(holds: Iterable[Held]) -> tuple[str, ...]:
    """Name the purposes for which anything is held: the holds' own, and those that go on meanwhile."""
    return tuple(sorted({name for held in holds for name in (held.purpose, *held.also_for)}))
