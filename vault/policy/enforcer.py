"""The adapter to casbin: whether a rule grants a request, and which.

casbin scans all its rules, at 5 µs a rule. So the rules are indexed by their cells, and casbin gets only candidates: a
superset of the matching rules, in their order, over which it runs model.conf. The index relies on the shipped matcher;
with any other matcher, casbin gets all rules.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import casbin
from casbin.constant.constants import ALLOW_AND_DENY_EFFECT

from vault.catalogue.model import covers
from vault.policy.rules import ANY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vault.catalogue.toml_document import Findings
    from vault.policy.rules import Rule, RuleTable

FILE = "model.conf"
REQUEST = "sub, dom, obj, act, purpose"
POLICY = REQUEST + ", eft"
MATCHER = (
    'r.act == p.act && (p.purpose == "*" || p.purpose == r.purpose) && (p.dom == "*" || p.dom == r.dom)'
    " && g(r.sub, p.sub) && covers(r.obj, p.obj)"
)
"""The shipped matcher, which the index understands."""

# casbin logs every refusal with the whole request, at WARNING. Refusals belong in the audit log only.
for _name in ("casbin", "casbin.enforcer", "casbin.policy", "casbin.role"):
    logging.getLogger(_name).disabled = True


class Enforcer:
    """Answers for one tenant. casbin is not thread-safe, so a lock serializes the calls."""

    def __init__(self, model: str, table: RuleTable, tenant: str) -> None:
        self._table = table
        self._tenant = tenant
        self._lock = threading.Lock()
        self._casbin = _casbin(model, table)
        self._indexed = _squeezed(self._section("m", "m")) == _squeezed(_translated(MATCHER))
        self._rules = [rule for rule in table.rules if not self._indexed or rule.tenant in {ANY, tenant}]
        self._index = self._make_index()

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

    def _make_index(self) -> dict[tuple[str, ...], list[Rule]]:
        index: dict[tuple[str, ...], list[Rule]] = defaultdict(list)
        if self._indexed:
            for rule in self._rules:
                index[rule.role, rule.resource, rule.action, rule.purpose].append(rule)
        return dict(index)

    def _candidates(self, role: str, resource: str, action: str, purpose: str) -> list[Rule]:
        if not self._indexed:
            return self._rules
        candidates = [
            rule
            for base in self._table.reach(role)
            for name in _names(resource)
            for why in {ANY, purpose}
            for rule in self._index.get((base, name, action, why), ())
        ]
        return sorted(candidates, key=lambda rule: rule.line)

    def _section(self, section: str, key: str) -> str:
        return str(self._casbin.model[section][key].value)


def check_model(text: str, findings: Findings) -> None:
    """Check model.conf. One deny must outweigh every allow, and the columns are fixed."""
    try:
        model = casbin.Enforcer.new_model(text=text)
        required = {"r": REQUEST, "p": POLICY, "e": ALLOW_AND_DENY_EFFECT, "g": "_, _"}
        for section, form in required.items():
            value = model[section][section].value if model[section] else ""
            if value != form and (section == "e" or _squeezed(value) != _squeezed(form)):  # casbin reads `e` literally
                shown = form.replace("p_eft", "p.eft")
                line = _line(text, section)
                findings.add(
                    FILE, line, "wrong-model", f"`{section}` is not what it must be", f"write `{section} = {shown}`"
                )
    except (RuntimeError, TypeError, KeyError, IndexError):
        findings.add(FILE, 1, "wrong-model", "casbin cannot read it", "start from the model.conf that the vault ships")
        return
    _try_matcher(text, findings)


def _try_matcher(text: str, findings: Findings) -> None:
    """Run the matcher once, so that a mistyped one fails now and not at the first read.

    The rules match in different ways, and one not at all, so that every part of the matcher runs.
    """
    request = ["role", "tenant", "a.b.clear", "read", "purpose"]
    wide_rule = ["role", ANY, "a.*", "read", ANY]
    try:
        enforcer = _casbin(text, None)
        enforcer.model["p"]["p"].policy = [[*request, "allow"], [*wide_rule, "allow"], ["none"] * 5 + ["deny"]]
        enforcer.enforce(*request)
    except Exception:  # noqa: BLE001 - a matcher is a program of the company's and may raise anything
        remedy = "start from the model.conf that the vault ships"
        findings.add(FILE, _line(text, "m"), "wrong-model", "the matcher does not run", remedy)


def _casbin(model: str, table: RuleTable | None) -> Any:
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=model))
    enforcer.add_function("covers", covers)
    if table is not None:
        enforcer.model["g"]["g"].policy = [
            [role, base] for role, bases in table.bases.items() for base in sorted(bases)
        ]
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


def _translated(expression: str) -> str:
    return expression.replace("r.", "r_").replace("p.", "p_")


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _line(text: str, key: str) -> int:
    lines = text.split("\n")
    return next((i for i, line in enumerate(lines, start=1) if line.split("=")[0].strip() == key), 1)
