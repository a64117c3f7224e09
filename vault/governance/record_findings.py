"""Where the declared and the real use of data differ, and what nobody seems to need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.governance.record_schema import Finding
from vault.policy.rules import short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vault.catalogue.model import Purpose
    from vault.governance.record_facts import Facts
    from vault.governance.usage import Reading, Usage

_NO_CONTROLLER = Finding(
    "controller-unstated",
    "",
    "The policies do not say who the controller is (Art. 30(1)(a) GDPR).",
    "Write controller.toml.",
)
MOST_NAMED = 5
"""Fields that a sentence names; ``fields`` has all of them."""


def find(facts: Facts) -> tuple[Finding, ...]:
    """List the findings: about the whole first, then purpose by purpose, those that are declared no longer last."""
    purposes = facts.policy_set.purposes
    found = [] if facts.policy_set.controller.stated else [_NO_CONTROLLER]
    for name, purpose in purposes.items():
        usage = facts.usage.get(name)
        found += _about_use(facts, purpose, usage)
        found += [] if usage is None else _about_readers(facts, purpose, usage)
    for name in sorted(facts.usage.keys() - purposes.keys()):
        found += _about_undeclared(name, facts.usage[name])
    return tuple(found)


def _about_use(facts: Facts, purpose: Purpose, usage: Usage | None) -> Iterator[Finding]:
    if purpose.valid_from is not None and purpose.valid_from > facts.until.date():
        return
    since = f"since {facts.since.date()}"
    if usage is None:
        remedy = (
            "If nobody needs the purpose any more, take it out of purposes.toml."
            if purpose.collects
            else "Nothing, if it is there for what people may ask for at any time; else take it out of purposes.toml."
        )
        yield Finding(
            "purpose-unused", purpose.name, f"Nothing was read, found or written for {purpose.name} {since}.", remedy
        )
        return
    unread = _unread(facts, purpose, usage)
    if unread:
        remedy = (
            "Take them out of `needs` in purposes.toml or out of policy.csv: what nobody needs is not to be held"
            " (Art. 5(1)(c) GDPR)."
            if purpose.collects
            else "Nothing, if people may ask for them at any time; else narrow the rules in policy.csv."
        )
        detail = f"{_count(unread)} granted for {purpose.name} and not once read {since}: {_list(unread)}."
        yield Finding("fields-unread", purpose.name, detail, remedy, unread)


def _unread(facts: Facts, purpose: Purpose, usage: Usage) -> tuple[str, ...]:
    """Return the fields of which a role may read some view for the purpose, and of which nobody read any."""
    by_role = facts.grants.get(purpose.name, {})
    granted = {_field(view) for grant in by_role.values() for view in grant.allowed}
    read = {_field(view) for reading in usage.readers.values() for view in reading.fields}
    return tuple(sorted(map(short, granted - read)))


def _about_readers(facts: Facts, purpose: Purpose, usage: Usage) -> Iterator[Finding]:
    for (principal, name), reading in sorted(usage.readers.items()):
        if facts.is_named(purpose, principal, name, reading):
            continue
        yield Finding(
            "recipient-unnamed",
            purpose.name,
            f"{_read(name, purpose.name, reading)} {_why(facts, principal)}",
            "If it still needs the data, give it a role that is granted the purpose, or name it under `recipients` in"
            " purposes.toml. Else make sure that it has deleted what it read.",
            tuple(sorted(map(short, reading.fields))),
            name,
        )


def _why(facts: Facts, principal: str) -> str:
    state = facts.state(principal)
    if state == "disabled":
        return "It is disabled, and the purpose does not name it."
    if state == "active":
        return "None of its roles may read anything for this purpose, and the purpose does not name it."
    if state == "issuer":
        return "It signs in with an issuer's token, and there is no role that may read all of what it read."
    return "It is not registered, and the purpose does not name it."


def _about_undeclared(purpose: str, usage: Usage) -> Iterator[Finding]:
    for (_principal, name), reading in sorted(usage.readers.items()):
        yield Finding(
            "purpose-undeclared",
            purpose,
            f"{_read(name, purpose, reading)} purposes.toml does not declare this purpose any more.",
            "Declare the purpose again if it goes on under that name. Else make sure that what was read for it is"
            " deleted or used for a purpose that is declared.",
            tuple(sorted(map(short, reading.fields))),
            name,
        )


def _read(name: str, purpose: str, reading: Reading) -> str:
    times = "once" if reading.total.times == 1 else f"{reading.total.times} times"
    return f"{name or 'Somebody'} read for {purpose} {times}, last on {reading.total.last[:10]}."


def _field(view: str) -> str:
    return view.rpartition(".")[0]


def _count(names: tuple[str, ...]) -> str:
    return "1 field is" if len(names) == 1 else f"{len(names)} fields are"


def _list(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
