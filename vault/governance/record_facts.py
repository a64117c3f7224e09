"""The facts of a record of processing: what each role may read, and which readers the purposes name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
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


@dataclass(frozen=True, slots=True)
class Grant:
    """Whole names of the views that a role may read for a purpose, and of those that a rule denies to it."""

    allowed: frozenset[FieldName]
    denied: frozenset[FieldName]


Grants = dict[str, dict[RoleName, Grant]]
"""Grants by purpose and role; a role without any grant or denial is left out."""


def grants_of(policy_set: PolicySet, tenant: str, day: date) -> Grants:
    """Evaluate the policies for every role and every view that a purpose needs.

    This takes some tenths of a second, or more with a custom matcher: do not call it in the event loop.
    """
    # An enforcer of its own, so that no read waits for it.
    enforcer = Enforcer(policy_set.model, policy_set.rules, tenant)
    return {
        name: _by_role(enforcer, policy_set, purpose, _in_force(purpose, day))
        for name, purpose in policy_set.purposes.items()
    }


def allowed(by_role: Mapping[RoleName, Grant], roles: Iterable[RoleName]) -> frozenset[FieldName]:
    """Return what a principal with these roles may read: one denial outweighs all grants."""
    grants = [by_role[role] for role in roles if role in by_role]
    return frozenset().union(*(grant.allowed for grant in grants)).difference(*(grant.denied for grant in grants))


def _in_force(purpose: Purpose, day: date) -> date:
    """Return the day, or the nearest on which the purpose is in force: an ended purpose still had recipients."""
    begun = day if purpose.valid_from is None else max(day, purpose.valid_from)
    return begun if purpose.valid_until is None else min(begun, purpose.valid_until)


def _by_role(enforcer: Enforcer, policy_set: PolicySet, purpose: Purpose, day: date) -> dict[RoleName, Grant]:
    views = [
        view.name
        for view in policy_set.catalogue.views()
        if purpose.covers(view) and rule_out(purpose, view, READ, day) is None
    ]
    grants = {RoleName(role): _grant(enforcer, role, views, purpose.name) for role in sorted(policy_set.rules.roles)}
    return {role: grant for role, grant in grants.items() if grant.allowed or grant.denied}


def _grant(enforcer: Enforcer, role: str, views: list[FieldName], purpose: str) -> Grant:
    rulings = {view: enforcer.decide(role, view, READ, purpose) for view in views}
    return Grant(
        frozenset(view for view, (granted, _rule) in rulings.items() if granted),
        frozenset(view for view, (_granted, rule) in rulings.items() if rule is not None and rule.effect == "deny"),
    )


ISSUER_UUID_VERSION = 8
"""The version of the UUIDs of people who sign in with an issuer's token; the vault stores nothing else of them."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The policies in force, what they grant, the registered principals, and the use of data in a period."""

    tenant: TenantId
    policy_set: PolicySet
    grants: Grants
    principals: Mapping[str, Principal]
    usage: Mapping[str, Usage]
    since: datetime
    until: datetime

    def state(self, principal: str) -> str:
        """Return ``active`` or ``disabled`` for a registered principal, else ``issuer`` or ``unknown``."""
        known = self.principals.get(principal)
        if known is not None:
            return known.state
        return "issuer" if principal and UUID(principal).version == ISSUER_UUID_VERSION else "unknown"

    def roles(self, principal: str) -> tuple[str, ...]:
        """Return the roles that a principal has today."""
        known = self.principals.get(principal)
        return () if known is None else tuple(known.roles)

    def is_named(self, purpose: Purpose, principal: str, name: str, reading: Reading) -> bool:
        """Return whether a purpose names a reader: as owner, as recipient, or by a grant to one of its roles.

        Roles with a grant for the purpose are its recipients within the company. The vault does not know the roles of a
        person who signs in with an issuer's token: for them, grants to any roles must cover what was read.
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
    """Return the name that an app would have: "E-mail service" is the app ``e-mail-service``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
