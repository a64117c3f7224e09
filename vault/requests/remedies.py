"""What somebody can do whose request was refused or is late (Art. 12(4) GDPR)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vault.catalogue.controller import Authority
    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Regime


class Remedies(NamedTuple):
    """Where to complain, and by which articles; the authority is the one that controller.toml names."""

    complaint: str
    authority: Authority | None
    court: str


def remedies(policy_set: PolicySet, regime: Regime) -> Remedies:
    """Name the remedies under a law."""
    if regime == "ccpa":
        return Remedies("Cal. Civ. Code § 1798.199.45: California Privacy Protection Agency", None, "none of its own")
    return Remedies("Art. 77 GDPR", policy_set.controller.authority, "Art. 79 GDPR")
