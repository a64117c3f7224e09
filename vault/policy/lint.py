"""What loads and is likely not meant: rules that open nothing, and files of the folder that are not read.

A server starts with them, and a stored version that has them stays valid. ``cdv policy check`` warns of them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from vault.catalogue.model import CLEAR
from vault.catalogue.toml_document import Finding, did_you_mean
from vault.clock import Clock
from vault.policy.decision import NOT_IN_FORCE, rule_out
from vault.policy.enforcer import Enforcer
from vault.policy.policy_set import FILES, OPTIONAL, is_known
from vault.policy.rules import ANY, FILE, RESOURCES, short

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    from vault.catalogue.model import FieldView, Purpose
    from vault.policy.policy_set import PolicySet
    from vault.policy.rules import Rule

NOTICES: Final = "notices"
README: Final = "README"
"""The start of the name of a file that explains the folder to its readers."""


def idle_rules(policy_set: PolicySet, tenant: str) -> list[Finding]:
    """Return a warning for each rule that allows, and that opens nothing to its role.

    Either its purposes need nothing of what it names, or denials outweigh it.

    Args:
        policy_set: the policies.
        tenant: for the rules that are for all tenants.
    """
    day = Clock().now().date()
    enforcers: dict[str, Enforcer] = {}
    warnings = []
    for rule in policy_set.rules.rules:
        if rule.effect != "allow":
            continue
        of = tenant if rule.tenant == ANY else rule.tenant
        if of not in enforcers:
            enforcers[of] = Enforcer(policy_set.rules, of)
        reason = _idle(policy_set, rule, enforcers[of], day)
        if reason is not None:
            warnings.append(Finding(FILE, rule.line, f"the rule opens nothing: {reason[0]}", reason[1], "idle-rule"))
    return warnings


def _idle(policy_set: PolicySet, rule: Rule, enforcer: Enforcer, day: date) -> tuple[str, str] | None:
    """Return why a rule opens nothing, with the remedy; None if it opens something."""
    denial: Rule | None = None
    reachable = False
    for purpose, resource in _questions(policy_set, rule, day):
        granted, decided = enforcer.decide(rule.role, resource, rule.action, purpose)
        if granted:
            return None
        reachable, denial = True, denial or decided
    if reachable:
        return f"`{denial or FILE}` outweighs it", "take one of the two out"
    name = short(rule.resource)
    if rule.purpose == ANY:
        return f"no purpose needs `{name}` in this way", "take the line out"
    remedy = f"take the line out, or add it to `needs` of [{rule.purpose}] in purposes.toml"
    return f"{rule.purpose} does not need `{name}` in this way", remedy


def _questions(policy_set: PolicySet, rule: Rule, day: date) -> Iterator[tuple[str, str]]:
    """Yield the purposes and views that a rule names and that only a rule could still refuse."""
    if rule.resource in RESOURCES:
        yield "", rule.resource
        return
    catalogue = policy_set.catalogue
    views = [catalogue.view(name) for name in sorted(catalogue.covered([rule.resource]))]
    possible = [view for view in views if _is_possible(view, rule.action)]
    purposes = policy_set.purposes.values() if rule.purpose == ANY else [policy_set.purposes[rule.purpose]]
    for purpose in purposes:
        for view in possible:
            if _is_needed(purpose, view, rule.action, day):
                yield purpose.name, view.name


def _is_possible(view: FieldView, action: str) -> bool:
    return action == "read" or (view.view == CLEAR and (action == "write" or bool(view.field.indexes)))


def _is_needed(purpose: Purpose, view: FieldView, action: str, day: date) -> bool:
    refusal = rule_out(purpose, view, action, _in_force(purpose, day))
    return refusal is None or refusal.code == NOT_IN_FORCE


def _in_force(purpose: Purpose, day: date) -> date:
    """Return a day on which a purpose is in force: a rule for a later one is no mistake."""
    return day if purpose.in_force(day) else purpose.valid_from or purpose.valid_until or day


def unknown_files(folder: Path) -> list[Finding]:
    """Return a warning for each file and folder that is not read, such as one with a mistyped name.

    Files whose name begins with a dot are left out, and so is a README.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in _listed(folder))
    unread = [name for name in names if name != NOTICES and not is_known(name)]
    return [
        Finding(name, 1, "the file is not read: no policy file has this name", _remedy(name), "unknown-file")
        for name in unread
    ]


def _listed(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / NOTICES):
        with suppress(OSError):  # that a folder is missing or unreadable is a finding of loading
            yield from (path for path in place.iterdir() if not path.name.startswith((".", README)))


def _remedy(name: str) -> str:
    known = [*FILES, *OPTIONAL, NOTICES]
    parts = name.split(".")
    otherwise = "take it out of the folder"
    if len(parts) == 3 and len(parts[1]) == 2:
        known.append(f"words.{parts[1]}.toml")
    elif parts[0] == "words":
        return f"name the language by its two letters, such as words.de.toml; else {otherwise}"
    if name.startswith(f"{NOTICES}/"):
        return f"call a notice `name@version.md`; else {otherwise}"
    return did_you_mean(name, known, otherwise)
