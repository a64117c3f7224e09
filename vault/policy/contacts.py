"""Which roles may write an address to which codes for the rights of a person are sent.

Such a role can reach everything about a person in the end: an address that it enters proves the person after
``contact_days``. ``cdv policy check`` names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.catalogue.model import HOME
from vault.policy.decision import Decisions

if TYPE_CHECKING:
    from vault.policy.policy_set import PolicySet


def writers_of_contacts(policy_set: PolicySet, tenant: str) -> list[str]:
    """Return the roles of a tenant that may write a field of type email of the profile, for any purpose."""
    decisions = Decisions(policy_set, tenant)
    profile = policy_set.catalogue.collections[HOME]
    contacts = [field.name for field in profile.fields.values() if field.type == "email"]

    def may_write(role: str) -> bool:
        return any(
            decisions.decide_now((role,), purpose, (name,), "write").granted
            for purpose in policy_set.purposes
            for name in contacts
        )

    return sorted(role for role in policy_set.rules.roles if may_write(role))
