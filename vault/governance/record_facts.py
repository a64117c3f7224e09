"""The facts of a record of processing: who used which data, what the policies grant, and where the two differ.

The counts do not depend on the order of the uses. Memory grows with the number of distinct readers, purposes and
fields, not with the length of the log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from vault.audit.entry import KINDS
from vault.governance.views import ProcessingFinding
from vault.ids import RoleName
from vault.policy.decision import rule_out
from vault.policy.enforcer import Enforcer
from vault.policy.rules import short

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date, datetime

    from vault.audit.entry import Kind, Use
    from vault.catalogue.model import Purpose
    from vault.ids import FieldName, TenantId
    from vault.policy.policy_set import PolicySet
    from vault.principals.principal import Principal

MOST_PATTERNS = 10_000
"""Number of distinct patterns (uses that differ in people and time only) that are counted before they are folded."""


@dataclass(slots=True)
class Count:
    """How often something happened, to how many people in all, and when first and last (RFC 3339).

    A person who is read ten times counts as ten.
    """

    times: int = 0
    people: int = 0
    first: str = ""
    last: str = ""

    def add(self, other: Count) -> None:
        """Add another count."""
        self.times += other.times
        self.people += other.people
        self.first = min(self.first or other.first, other.first or self.first)
        self.last = max(self.last, other.last)


@dataclass(slots=True)
class Reading:
    """What one principal read for one purpose, in all and by field."""

    total: Count = field(default_factory=Count)
    fields: dict[str, Count] = field(default_factory=dict)


@dataclass(slots=True)
class Usage:
    """The uses for one purpose, by kind, and the readings by (id, name) of the principal."""

    kinds: dict[Kind, Count] = field(default_factory=dict)
    readers: dict[tuple[str, str], Reading] = field(default_factory=dict)


_Pattern = tuple[str, str, str, str, tuple[str, ...]]


class Tally:
    """Counts the uses of all purposes; ``uses`` is the number of uses so far."""

    def __init__(self) -> None:
        self._usage: dict[str, Usage] = {}
        self._patterns: dict[_Pattern, Count] = {}
        self.uses = 0

    def add(self, uses: Iterable[Use]) -> None:
        """Count some uses."""
        for use in uses:
            self.uses += 1
            # A search may find no one: then no value of the fields was shown.
            shown = use.fields if use.people > 0 else ()
            pattern = (use.purpose, use.action, use.principal or "", use.principal_name, shown)
            count = self._patterns.get(pattern)
            if count is None:
                count = self._patterns[pattern] = Count()
            count.times += use.count
            count.people += use.count * max(0, use.people)
            count.first = min(count.first or use.at, use.at)
            count.last = max(count.last, use.at)
        if len(self._patterns) > MOST_PATTERNS:
            self._fold()

    def by_purpose(self) -> dict[str, Usage]:
        """Return the counts by name of purpose."""
        self._fold()
        return self._usage

    def _fold(self) -> None:
        for (purpose, action, principal, principal_name, fields), count in self._patterns.items():
            usage = self._usage.setdefault(purpose, Usage())
            kind = KINDS[action]
            usage.kinds.setdefault(kind, Count()).add(count)
            if kind == "write" or not fields:
                continue
            reading = usage.readers.setdefault((principal, principal_name), Reading())
            reading.total.add(count)
            for name in fields:
                reading.fields.setdefault(name, Count()).add(count)
        self._patterns.clear()


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

    This takes some tenths of a second: do not call it in the event loop.
    """
    # An enforcer of its own, so that no read waits for it.
    enforcer = Enforcer(policy_set.rules, tenant)
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


_NO_CONTROLLER = ProcessingFinding(
    code="controller-unstated",
    purpose="",
    detail="The policies do not name the controller (Art. 30(1)(a) GDPR).",
    remedy="Write controller.toml.",
)
MOST_NAMED = 5
"""Number of fields that a sentence names; ``fields`` has all of them."""


def find(facts: Facts) -> tuple[ProcessingFinding, ...]:
    """List the findings: about the whole record, then by purpose, those of undeclared purposes last."""
    purposes = facts.policy_set.purposes
    findings = [] if facts.policy_set.controller.stated else [_NO_CONTROLLER]
    for name, purpose in purposes.items():
        usage = facts.usage.get(name)
        findings += _about_use(facts, purpose, usage)
        findings += [] if usage is None else _about_readers(facts, purpose, usage)
    for name in sorted(facts.usage.keys() - purposes.keys()):
        findings += _about_undeclared(name, facts.usage[name])
    return tuple(findings)


def _about_use(facts: Facts, purpose: Purpose, usage: Usage | None) -> Iterator[ProcessingFinding]:
    if purpose.valid_from is not None and purpose.valid_from > facts.until.date():
        return
    since = f"since {facts.since.date()}"
    if usage is None:
        remedy = (
            "If the purpose is no longer needed, remove it from purposes.toml."
            if purpose.collects
            else "None, if it answers requests that people may make at any time; else remove it from purposes.toml."
        )
        detail = f"Nothing was read, found or written for {purpose.name} {since}."
        yield ProcessingFinding(code="purpose-unused", purpose=purpose.name, detail=detail, remedy=remedy)
        return
    unread = _unread(facts, purpose, usage)
    if unread:
        remedy = (
            "Remove them from `needs` in purposes.toml or from policy.csv: data that is not needed must not be held"
            " (Art. 5(1)(c) GDPR)."
            if purpose.collects
            else "None, if people may ask for them at any time; else narrow the rules in policy.csv."
        )
        detail = f"{_count(unread)} granted for {purpose.name} and not once read {since}: {_list(unread)}."
        yield ProcessingFinding(code="fields-unread", purpose=purpose.name, detail=detail, remedy=remedy, fields=unread)


def _unread(facts: Facts, purpose: Purpose, usage: Usage) -> tuple[str, ...]:
    """Return the fields of which a role may read a view for the purpose, and of which no view was read."""
    by_role = facts.grants.get(purpose.name, {})
    granted = {_field(view) for grant in by_role.values() for view in grant.allowed}
    read = {_field(view) for reading in usage.readers.values() for view in reading.fields}
    return tuple(sorted(map(short, granted - read)))


def _about_readers(facts: Facts, purpose: Purpose, usage: Usage) -> Iterator[ProcessingFinding]:
    for (principal, name), reading in sorted(usage.readers.items()):
        if facts.is_named(purpose, principal, name, reading):
            continue
        yield ProcessingFinding(
            code="recipient-unnamed",
            purpose=purpose.name,
            detail=f"{_read(name, purpose.name, reading)} {_why(facts, principal)}",
            remedy="If it still needs the data, give it a role that is granted the purpose, or name it under"
            " `recipients` in purposes.toml. Else make sure that it has deleted what it read.",
            fields=tuple(sorted(map(short, reading.fields))),
            principal=name,
        )


def _why(facts: Facts, principal: str) -> str:
    state = facts.state(principal)
    if state == "disabled":
        return "It is disabled, and the purpose does not name it."
    if state == "active":
        return "None of its roles may read anything for this purpose, and the purpose does not name it."
    if state == "issuer":
        return "It signs in with an issuer's token, and no role may read all that it read."
    return "It is not registered, and the purpose does not name it."


def _about_undeclared(purpose: str, usage: Usage) -> Iterator[ProcessingFinding]:
    for (_principal, name), reading in sorted(usage.readers.items()):
        yield ProcessingFinding(
            code="purpose-undeclared",
            purpose=purpose,
            detail=f"{_read(name, purpose, reading)} purposes.toml no longer declares this purpose.",
            remedy="Declare the purpose again if it goes on under that name. Else make sure that what was read for it"
            " is deleted or used for a declared purpose.",
            fields=tuple(sorted(map(short, reading.fields))),
            principal=name,
        )


def _read(name: str, purpose: str, reading: Reading) -> str:
    times = "once" if reading.total.times == 1 else f"{reading.total.times} times"
    return f"{name or 'An unknown principal'} read for {purpose} {times}, last on {reading.total.last[:10]}."


def _field(view: str) -> str:
    return view.rpartition(".")[0]


def _count(names: tuple[str, ...]) -> str:
    return "1 field is" if len(names) == 1 else f"{len(names)} fields are"


def _list(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
