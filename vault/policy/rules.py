"""The rules of policy.csv: who may do what with which field for which purpose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vault.catalogue.model import CLEAR, HOME

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "policy.csv"
ANY = "*"
ACTIONS = ("read", "write", "search")
"""What can be done with a field."""

RESOURCES: Mapping[str, tuple[str, ...]] = {
    "vault:subjects": ("create", "read", "merge"),
    "vault:audit": ("read",),
    "vault:policies": ("read", "apply"),
    "vault:principals": ("manage",),
    "vault:decisions": ("explain",),
    "vault:consents": ("record", "read", "check", "import"),
    "vault:restrictions": ("manage",),
    "vault:processing": ("read",),
    "vault:requests": ("submit", "vouch", "read", "decide"),
    "vault:packages": ("read",),
    "vault:notices": ("read", "chase"),
    "vault:webhooks": ("manage",),
    "vault:jobs": ("read",),
    "vault:retention": ("read", "record", "decide", "sweep"),
    "vault:holds": ("read", "manage"),
}
"""The vault's own resources, and what can be done with each."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table. ``resource`` is canonical; ``text`` is the line as its author wrote it."""

    role: str
    tenant: str
    resource: str
    action: str
    purpose: str
    effect: str
    line: int = field(compare=False)
    text: str = field(compare=False, repr=False)

    @property
    def cells(self) -> list[str]:
        """Return the cells in the order of model.conf's ``p``."""
        return [self.role, self.tenant, self.resource, self.action, self.purpose, self.effect]

    def __str__(self) -> str:
        return f"{FILE}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class RuleTable:
    """All rules, and which role builds on which."""

    rules: tuple[Rule, ...] = ()
    bases: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def roles(self) -> frozenset[str]:
        """Return every role that the table names."""
        named = {rule.role for rule in self.rules} | set(self.bases)
        return frozenset(named.union(*self.bases.values()))

    def reach(self, role: str) -> frozenset[str]:
        """Return a role with all that it builds on, however far."""
        found = {role}
        ahead = [role]
        while ahead:
            more = self.bases.get(ahead.pop(), frozenset()) - found
            found |= more
            ahead.extend(more)
        return frozenset(found)


def short(name: str) -> str:
    """Write a whole name as people do: without ``profile.`` and ``.clear``."""
    return name.removeprefix(f"{HOME}.").removesuffix(f".{CLEAR}")
