"""Roles that may write an address to which codes are sent are named."""

from __future__ import annotations

from tests.policy.folders import shipped, with_rules
from vault.policy.contacts import roles_reaching_everything
from vault.policy.policy_set import PolicySet

WRITE = "p, {role}, {tenant}, {resource}, write, {purpose}, {effect}"


def rule(role, resource="email", tenant="*", purpose="order-fulfilment", effect="allow"):
    return WRITE.format(role=role, tenant=tenant, resource=resource, purpose=purpose, effect=effect)


def test_shipped_roles_that_may_write_an_address_are_named():
    assert roles_reaching_everything(PolicySet.load(shipped()), "default") == ["dpo", "fulfilment", "sales", "support"]


def test_only_writing_counts_and_only_of_addresses_that_get_codes():
    policy_set = with_rules(
        rule("direct"),
        rule("wide", "profile.*"),
        rule("second", "email_secondary", purpose="subject-rights"),
        rule("other", "name"),
        rule("denied", "profile.*"),
        rule("denied", effect="deny"),
        rule("elsewhere", tenant="acme"),
        "p, reader, *, email, read, order-fulfilment, allow",
        "p, merger, *, vault:subjects, merge, *, allow",
        "g, heir, direct",
    )
    assert roles_reaching_everything(policy_set, "default") == ["direct", "heir", "merger", "second", "wide"]
    assert "elsewhere" in roles_reaching_everything(policy_set, "acme")
