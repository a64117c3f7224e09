"""Which roles can reach everything about a person, because they may change where the codes for the person's rights go.

They may write an e-mail address, or merge the person with an entry that has one. It proves the person after
``contact_days``. ``cdv policy check`` names these roles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.catalogue.model import HOME
from vault.policy.decision import Decisions

if TYPE_CHECKING:
    from vault.policy.policy_set import PolicySet


def roles_reaching_everything(policy_set: PolicySet, tenant: str) -> list[str]:
    """Return the roles of a tenant that may write an e-mail address of the profile for any purpose, or may merge."""
    decisions = Decisions(policy_set, tenant)
    profile = policy_set.catalogue.collections[HOME]
    contacts = [field.name for field in profile.fields.values() if field.type == "email"]

    def may_write(role: str) -> bool:
        return any(
            decisions.decide_now((role,), purpose, (name,), "write").granted
            for purpose in policy_set.purposes
            for name in contacts
        )

    def may_merge(role: str) -> bool:
        return decisions.may((role,), "vault:subjects", "merge").granted

    return sorted(role for role in policy_set.rules.roles if may_merge(role) or may_write(role))
