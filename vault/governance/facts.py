"""What a record of processing is made from, gathered beforehand; and who of the readers is a recipient by right."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from vault.governance.record_facts import allowed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from vault.catalogue.model import Purpose
    from vault.governance.record_facts import Grants
    from vault.governance.usage import Reading, Usage
    from vault.ids import TenantId
    from vault.policy.policy_set import PolicySet
    from vault.principals.principal import Principal

ISSUERS_IDS = 8
"""The version of the UUIDs of people who sign in with an issuer's token: nothing else of them is kept."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The policies in force, what they grant, who is registered, and what the audit log says of a period."""

    tenant: TenantId
    policy_set: PolicySet
    grants: Grants
    principals: Mapping[str, Principal]
    usage: Mapping[str, Usage]
    since: datetime
    until: datetime

    def state(self, principal: str) -> str:
        """Return ``active`` or ``disabled`` for who is registered, else ``issuer`` or ``unknown``."""
        known = self.principals.get(principal)
        if known is not None:
            return known.state
        return "issuer" if principal and UUID(principal).version == ISSUERS_IDS else "unknown"

    def roles(self, principal: str) -> tuple[str, ...]:
        """Return the roles that a principal has today."""
        known = self.principals.get(principal)
        return () if known is None else tuple(known.roles)

    def is_named(self, purpose: Purpose, principal: str, name: str, reading: Reading) -> bool:
        """Tell whether a purpose names who read for it: as owner, as recipient, or by a grant to one of its roles.

        Roles that are granted the purpose are its recipients within the company. Of somebody who signs in with an
        issuer's token the vault knows no roles: there it is enough that roles may read what was read.
        """
        if _slug(name) in {_slug(purpose.owner), *map(_slug, purpose.recipients)}:
            return True
        by_role = self.grants.get(purpose.name, {})
        known = self.principals.get(principal)
        if known is not None:
            return known.state == "active" and bool(allowed(by_role, known.roles))
        if self.state(principal) != "issuer":
            return False
        return reading.fields.keys() <= {view for grant in by_role.values() for view in grant.allowed}


def _slug(text: str) -> str:
    """Write a name as an app would be called: "E-mail service" is the app ``e-mail-service``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
