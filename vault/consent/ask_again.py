"""Who must be asked again: what a change of notices means for the consents that stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.consent.append import count_by_notice

if TYPE_CHECKING:
    from datetime import date

    from vault.context import House
    from vault.ids import TenantId
    from vault.policy.policy_set import PolicySet


class AskAgain(NamedTuple):
    """One purpose: the versions that are good, and how many people agreed to another one, by version."""

    purpose: str
    accepted: tuple[str, ...]
    people: dict[str, int]

    @property
    def total(self) -> int:
        """Return how many people are to be asked again."""
        return sum(self.people.values())


async def ask_again(house: House, tenant: TenantId, name: str, policies: PolicySet, day: date) -> list[AskAgain]:
    """Count, for each purpose that asks for consent by a notice, the people whose consent is not good any more.

    Args:
        house: the rooms.
        tenant: whose people.
        name: name of the notice, without a version.
        policies: those that count on that day, in force already or not.
        day: the day that is asked about.
    """
    found = []
    for purpose in policies.purposes.values():
        if purpose.notice is None or purpose.notice.partition("@")[0] != name:
            continue
        accepted = policies.notices.accepted(purpose, day)
        counted = await count_by_notice(house, tenant, purpose.name)
        people = {notice: count for notice, count in sorted(counted.items()) if notice not in accepted}
        found.append(AskAgain(purpose.name, tuple(sorted(accepted)), people))
    return found
