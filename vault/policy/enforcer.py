"""The adapter to casbin: whether a rule grants a request, and which.

casbin scans all its rules, at 5 µs a rule. So the rules are indexed by their cells, and casbin gets only candidates: a
superset of the matching rules, in their order, over which it runs the model. There is one model: loading refuses a
model.conf that says anything else.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import casbin
from casbin.config import Config

from vault.catalogue.model import covers
from vault.policy.rules import ANY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vault.catalogue.toml_document import Findings
    from vault.policy.rules import Rule, RuleTable

FILE = "model.conf"
MODEL = {
    "request_definition": {"r": "sub, dom, obj, act, purpose"},
    "policy_definition": {"p": "sub, dom, obj, act, purpose, eft"},
    "role_definition": {"g": "_, _"},
    "policy_effect": {"e": "some(where (p.eft == allow)) && !some(where (p.eft == deny))"},
    "matchers": {
        "m": 'r.act == p.act && (p.purpose == "*" || p.purpose == r.purpose) && (p.dom == "*" || p.dom == r.dom)'
        " && g(r.sub, p.sub) && covers(r.obj, p.obj)"
    },
}
"""What the shipped model.conf says, by section and key. casbin runs this; the index relies on the matcher."""
_TEXT = "\n".join(
    line
    for section, definitions in MODEL.items()
    for line in (f"[{section}]", *(f"{key} = {value}" for key, value in definitions.items()))
)
_START_OVER = "start from the model.conf that the vault ships"

# casbin logs every refusal with the whole request, at WARNING. Refusals belong in the audit log only.
for _name in ("casbin", "casbin.enforcer", "casbin.policy", "casbin.role"):
    logging.getLogger(_name).disabled = True


class Enforcer:
    """Answers for one tenant. casbin is not thread-safe, so a lock serializes the calls."""

    def __init__(self, table: RuleTable, tenant: str) -> None:
        self._table = table
        self._tenant = tenant
        self._lock = threading.Lock()
        self._casbin = _casbin(table)
        self._index = _index([rule for rule in table.rules if rule.tenant in {ANY, tenant}])

    def decide(self, role: str, resource: str, action: str, purpose: str) -> tuple[bool, Rule | None]:
        """Return whether a role may, and the rule that decided; ``None`` if no rule applies."""
        with self._lock:
            rules = self._candidates(role, resource, action, purpose)
            if not rules:
                return False, None
            cells = [rule.cells for rule in rules]
            self._casbin.model["p"]["p"].policy = cells
            granted, decided = self._casbin.enforce_ex(role, self._tenant, resource, action, purpose)
            return granted, next((rule for rule, row in zip(rules, cells, strict=True) if row is decided), None)

    def _candidates(self, role: str, resource: str, action: str, purpose: str) -> list[Rule]:
        candidates = [
            rule
            for base in self._table.reach(role)
            for name in _names(resource)
            for why in {ANY, purpose}
            for rule in self._index.get((base, name, action, why), ())
        ]
        return sorted(candidates, key=lambda rule: rule.line)


def _index(rules: list[Rule]) -> dict[tuple[str, ...], list[Rule]]:
    index: dict[tuple[str, ...], list[Rule]] = defaultdict(list)
    for rule in rules:
        index[rule.role, rule.resource, rule.action, rule.purpose].append(rule)
    return dict(index)


def check_model(text: str, findings: Findings) -> None:
    """Check that model.conf says what :data:`MODEL` says, apart from white space and comments.

    A matcher is a program that every node runs at each question, with regular expressions among its functions. The
    text of the file is therefore compared and never run.
    """
    try:
        found = Config.new_config_from_text(text)._data  # noqa: SLF001 - the only list of all that casbin read
    except RuntimeError:
        findings.add(FILE, 1, "wrong-model", "casbin cannot read it", _START_OVER)
        return
    for section, definitions in MODEL.items():
        for key, value in definitions.items():
            if _squeezed(found.get(section, {}).get(key, "")) != _squeezed(value):
                message = f"`{key}` is not what the vault ships, and no other is taken"
                findings.add(FILE, _line(text, key), "wrong-model", message, f"write `{key} = {value}`")
    for section, definitions in found.items():
        for key in definitions.keys() - MODEL.get(section, {}).keys():
            message = "the model has a definition that the vault does not use"
            findings.add(FILE, _line(text, key), "wrong-model", message, "take it out")


def _casbin(table: RuleTable) -> Any:
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=_TEXT))
    enforcer.add_function("covers", covers)
    enforcer.model["g"]["g"].policy = [[role, base] for role, bases in table.bases.items() for base in sorted(bases)]
    enforcer.build_role_links()
    return enforcer


def _names(resource: str) -> Iterator[str]:
    """Yield the canonical names that cover a resource; see :func:`vault.catalogue.model.covers`."""
    yield resource
    if ":" in resource:
        return
    yield resource.rpartition(".")[0]
    yield resource.partition(".")[0] + ".*"
    yield ANY


def _squeezed(definition: str) -> str:
    """Return a definition without its comment and the white space outside of its strings."""
    parts = definition.partition("#")[0].split('"')
    return '"'.join(part if i % 2 else "".join(part.split()) for i, part in enumerate(parts))


def _line(text: str, key: str) -> int:
    lines = text.split("\n")
    return next((i for i, line in enumerate(lines, start=1) if line.split("=")[0].strip() == key), 1)
