"""What a record of processing is made from, gathered beforehand; and who of the readers is a recipient by right.

Which fields policy.csv lets each role read for each purpose, in all: what could be read, whether or not it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from vault.ids import RoleName
from vault.policy.decision import rule_out
from vault.policy.enforcer import Enforcer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date, datetime

    from vault.catalogue.model import Purpose
    from vault.governance.usage import Reading, Usage
    from vault.ids import FieldName, TenantId
    from vault.policy.policy_set import PolicySet
    from vault.principals.principal import Principal


READ = "read"


class Grant(NamedTuple):
    """Whole names of the views that a role may read for a purpose, and of those that a rule denies it."""

    allowed: frozenset[FieldName]
    denied: frozenset[FieldName]


Grants = dict[str, dict[RoleName, Grant]]
"""By purpose and role; a role without any grant or denial is left out."""


def grants_of(policy_set: PolicySet, tenant: str, day: date) -> Grants:
    """Ask the policies about every role and every view that a purpose needs.

    It takes some tenths of a second, more under a matcher of the company's own: not for the event loop. It has an
    enforcer to itself, so that no read waits for it.
    """
    enforcer = Enforcer(policy_set.model, policy_set.rules, tenant)
    return {
        name: _by_role(enforcer, policy_set, purpose, _in_force(purpose, day))
        for name, purpose in policy_set.purposes.items()
    }


def allowed(by_role: Mapping[RoleName, Grant], roles: Iterable[RoleName]) -> frozenset[FieldName]:
    """Return what somebody with these roles may read: one denial outweighs all grants."""
    held = [by_role[role] for role in roles if role in by_role]
    return frozenset().union(*(each.allowed for each in held)).difference(*(each.denied for each in held))


def _in_force(purpose: Purpose, day: date) -> date:
    """Return the day, or the nearest on which the purpose is in force: an ended one still had its recipients."""
    begun = day if purpose.valid_from is None else max(day, purpose.valid_from)
    return begun if purpose.valid_until is None else min(begun, purpose.valid_until)


def _by_role(enforcer: Enforcer, policy_set: PolicySet, purpose: Purpose, day: date) -> dict[RoleName, Grant]:
    views = [
        view.name
        for view in policy_set.catalogue.views()
        if purpose.covers(view) and rule_out(purpose, view, READ, day) is None
    ]
    found = {RoleName(role): _grant(enforcer, role, views, purpose.name) for role in sorted(policy_set.rules.roles)}
    return {role: grant for role, grant in found.items() if grant.allowed or grant.denied}


def _grant(enforcer: Enforcer, role: str, views: list[FieldName], purpose: str) -> Grant:
    rulings = {view: enforcer.decide(role, view, READ, purpose) for view in views}
    return Grant(
        frozenset(view for view, (granted, _rule) in rulings.items() if granted),
        frozenset(view for view, (_granted, rule) in rulings.items() if rule is not None and rule.effect == "deny"),
    )


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
