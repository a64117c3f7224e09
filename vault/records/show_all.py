"""Show people: most at once; of whom something may be over or held, what decides is fetched first, for all together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.records.read_plan import Moment
from vault.records.render import show_people, show_through
from vault.retention.filter import bodies_of, gates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vault.catalogue.model import Purpose
    from vault.context import House
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.records.read_plan import Plan
    from vault.records.show_clear import Shown
    from vault.subjects.store import Found


async def show_all(
    house: House,
    tenant: TenantId,
    purpose: Purpose,
    opening: Plan,
    people: Sequence[tuple[Found, SubjectKeys]],
    moment: datetime,
) -> list[Shown]:
    """Show all that a plan names of people, in their order, as :func:`vault.records.render.show_people` does.

    Raises:
        CannotOpen: a value does not open at its place.
        Unavailable: the database does not answer.
    """
    shown = show_people(opening, tenant, people, Moment.of(moment))
    closer = [person for person, each in zip(people, shown, strict=True) if each is None]
    looked = iter(await _show_closer(house, tenant, purpose, opening, closer, moment) if closer else ())
    return [next(looked) if each is None else each for each in shown]


async def _show_closer(
    house: House,
    tenant: TenantId,
    purpose: Purpose,
    opening: Plan,
    people: Sequence[tuple[Found, SubjectKeys]],
    moment: datetime,
) -> list[Shown]:
    bodies = [body for found, _keys in people for body in bodies_of(found)]
    through = await gates(house, tenant, purpose, [found for found, _keys in people], bodies, moment)
    now = Moment.of(moment)
    return [show_through(through[found.id], opening, tenant, found, keys, now) for found, keys in people]
