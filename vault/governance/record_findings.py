"""Find where the declared and the real use of data differ, and data that no one seems to need. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.governance.views import ProcessingFinding
from vault.policy.rules import short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vault.catalogue.model import Purpose
    from vault.governance.record_facts import Facts
    from vault.governance.usage import Reading, Usage

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
