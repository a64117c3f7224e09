"""Show people of whom something may be over or held: what decides is fetched for all of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vault.operations.opening import Moment
from vault.operations.retention.gate import bodies_of, gates
from vault.operations.show import show_through

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vault.catalogue.model import Purpose
    from vault.crypto.seal import SubjectKeys
    from vault.errors import Refusal
    from vault.ids import TenantId
    from vault.operations.house import House
    from vault.operations.opening import Plan
    from vault.subjects.store import Found


async def show_closer(
    house: House,
    tenant: TenantId,
    purpose: Purpose,
    opening: Plan,
    people: Sequence[tuple[Found, SubjectKeys]],
    moment: datetime,
) -> list[tuple[dict[str, Any], dict[str, Refusal]]]:
    """Show all that a plan names of people, in their order, each value looked at closely.

    Raises:
        CannotOpen: a value does not open at its place.
        Unavailable: the database does not answer.
    """
    if not people:
        return []
    bodies = [body for found, _keys in people for body in bodies_of(found)]
    through = await gates(house, tenant, purpose, [found for found, _keys in people], bodies, moment)
    now = Moment.of(moment)
    return [show_through(through[found.id], opening, tenant, found, keys, now) for found, keys in people]
