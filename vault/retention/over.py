"""Values of people's profiles that are over: nobody is found, compared or written to by them. Nothing is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.consent.state import unpack as unpack_standing
from vault.retention.applying import ends_of, values_of
from vault.retention.reviews import fetch_kept_days
from vault.subjects.record_body import unpack
from vault.subjects.store import PROFILE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.context import House
    from vault.ids import SubjectId, TenantId
    from vault.subjects.store import Found


async def over_values(
    house: House, tenant: TenantId, people: Iterable[Found | None]
) -> dict[SubjectId, frozenset[str]]:
    """Name the values of people's profiles that are over, though no sweep may have come by.

    Args:
        house: the rooms.
        tenant: whose.
        people: with their profiles.

    Returns:
        the names by person; who has no profile, or has just lost it, is left out.

    Raises:
        CannotOpen: a profile is none.
        Unavailable: the database does not answer.
    """
    present = {each.id: each for each in people if each is not None and each.profile is not None}
    if not present:
        return {}
    subjects, now = list(present), house.clock.now()
    policy_set = house.policies.active(tenant).policy_set
    clocks = await house.clocks.of(tenant, subjects)
    kept = await fetch_kept_days(house.data, tenant, subjects)
    found = {}
    for (subject, record), row in (await house.subjects.moments(tenant, subjects, [PROFILE])).items():
        each = present[subject]
        ends = ends_of(
            policy_set, unpack_standing(each.standing), clocks[subject], now, retained=each.state == "retained"
        )
        values = values_of(row, unpack(each.profile or b""), kept.get((subject, PROFILE, record)), collection=PROFILE)
        today = now.date().toordinal()
        found[subject] = frozenset(name for name, value in values.items() if ends.of(value).is_over(today))
    return found
