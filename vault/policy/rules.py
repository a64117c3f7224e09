"""The rules of policy.csv: which role may do what with which field for which purpose; one rule a line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vault.catalogue.model import CLEAR, HOME, UnknownName
from vault.catalogue.purposes import unknown_remedy
from vault.catalogue.toml_document import did_you_mean
from vault.ids import is_slug

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from vault.catalogue.model import Catalogue
    from vault.catalogue.toml_document import Findings


FILE = "policy.csv"
ANY = "*"
ACTIONS = ("read", "write", "search")
"""The actions on a field."""

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
"""The vault's own resources, and the actions on each."""


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
    """All rules, and the base roles of each role."""

    rules: tuple[Rule, ...] = ()
    bases: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def roles(self) -> frozenset[str]:
        """Return every role that the table names."""
        named = {rule.role for rule in self.rules} | set(self.bases)
        return frozenset(named.union(*self.bases.values()))

    def reach(self, role: str) -> frozenset[str]:
        """Return a role and all its base roles, transitively."""
        reached = {role}
        pending = [role]
        while pending:
            more = self.bases.get(pending.pop(), frozenset()) - reached
            reached |= more
            pending.extend(more)
        return frozenset(reached)


def short(name: str) -> str:
    """Return a whole name in its short form: without ``profile.`` and ``.clear``."""
    return name.removeprefix(f"{HOME}.").removesuffix(f".{CLEAR}")


_COLUMNS = {
    "p": "p, role, tenant, resource, action, purpose, allow|deny",
    "g": "g, role, base",
}
_SEPARATORS = {";": "semicolons", "\t": "tabs"}
_CELL = re.compile(r"[A-Za-z0-9_.*:@-]{1,200}")


def _separator(line: str) -> str | None:
    """Return what separates the columns of a rule instead of commas, or None."""
    return next(
        (
            name
            for sign, name in _SEPARATORS.items()
            if line.partition(sign)[0].strip(' "') in _COLUMNS and sign in line
        ),
        None,
    )


class RuleReader:
    """Reads the file line by line and collects all mistakes.

    Args:
        findings: receives the mistakes.
        catalogue: names that a resource may use; ``None`` if it could not be read, so that names are not checked.
        purposes: the declared purposes; ``None`` likewise.
    """

    def __init__(self, findings: Findings, catalogue: Catalogue | None, purposes: Collection[str] | None) -> None:
        self._findings = findings
        self._catalogue = catalogue
        self._purposes = purposes
        self._rules: dict[Rule, Rule] = {}
        self._bases: dict[str, dict[str, int]] = {}
        self._canonical: dict[str, str | None] = {}
        self._separated: dict[str, int] = {}

    def read(self, text: str) -> RuleTable:
        """Read the whole file."""
        for number, line in enumerate(text.split("\n"), start=1):
            stripped = line.strip()
            if stripped and not stripped.startswith("#"):
                self._line(number, stripped)
        self._check_separators()
        self._check_bases()
        return RuleTable(tuple(self._rules.values()), {role: frozenset(bases) for role, bases in self._bases.items()})

    def _line(self, number: int, line: str) -> None:
        cells = [cell.strip() for cell in line.split(",")]
        form = _COLUMNS.get(cells[0])
        if form is None and (separator := _separator(line)) is not None:
            self._separated.setdefault(separator, number)
        elif form is None:
            self._note(number, "wrong-columns", "the line is neither a rule nor a role", f"write `{_COLUMNS['p']}`")
        elif len(cells) != form.count(",") + 1:
            message = f"the line has {len(cells)} columns instead of {form.count(',') + 1}"
            self._note(number, "wrong-columns", message, f"write `{form}`")
        elif not all(_CELL.fullmatch(cell) for cell in cells):
            column = next(i for i, cell in enumerate(cells, start=1) if not _CELL.fullmatch(cell))
            self._note(number, "wrong-cell", f"column {column} is empty or has other characters", f"write `{form}`")
        elif cells[0] == "g":
            self._base(number, cells[1], cells[2])
        else:
            self._rule(number, line, cells)

    def _rule(self, number: int, line: str, cells: list[str]) -> None:
        _, role, tenant, resource, action, purpose, effect = cells
        canonical = self._resource(number, resource)
        sound = all(
            (
                self._slug(number, "role", role),
                tenant == ANY or self._slug(number, "tenant", tenant),
                canonical is not None and self._action(number, canonical, action),
                self._purpose(number, resource, purpose),
                self._effect(number, effect),
            )
        )
        if not sound or canonical is None:
            return
        rule = Rule(role, tenant, canonical, action, purpose, effect, number, line)
        before = self._rules.setdefault(rule, rule)
        if before is not rule:
            self._note(number, "duplicate", f"line {before.line} says the same", "keep one of the two lines")

    def _resource(self, number: int, resource: str) -> str | None:
        """Return the canonical name. Ten thousand rules name few resources, so each is looked up once."""
        if resource.startswith("vault:"):
            if resource in RESOURCES:
                return resource
            remedy = did_you_mean(resource, RESOURCES, "take the line out")
            self._note(number, "unknown-resource", f"the vault has no resource `{resource}`", remedy)
            return None
        if self._catalogue is None:
            return resource
        known = self._canonical.get(resource)
        if known is not None:
            return known
        try:
            self._canonical[resource] = self._catalogue.canonical(resource)
        except UnknownName:
            message = f"the rule names `{resource}`, which the catalogue does not declare"
            self._note(number, "unknown-field", message, unknown_remedy(resource, self._catalogue))
            return None
        return self._canonical[resource]

    def _action(self, number: int, resource: str, action: str) -> bool:
        actions = RESOURCES.get(resource, ACTIONS)
        if action not in actions:
            remedy = did_you_mean(action, actions, "write one of " + ", ".join(actions))
            self._note(number, "unknown-action", f"`{resource}` knows no action `{action}`", remedy)
            return False
        return resource in RESOURCES or self._catalogue is None or self._possible(number, resource, action)

    def _possible(self, number: int, resource: str, action: str) -> bool:
        """Check that the action is possible: only clear views can be written, and only indexed fields searched."""
        if resource == ANY or resource.endswith(".*") or action == "read" or self._catalogue is None:
            return True
        name, view = (resource, CLEAR) if resource.count(".") == 1 else resource.rsplit(".", 1)
        if action == "write" and view != CLEAR:
            self._note(
                number, "unknown-action", f"the view `{resource}` cannot be written", f"name the field, `{name}`"
            )
            return False
        if action == "search" and not self._catalogue.field(name).indexes:
            remedy = f"take the line out, or add `search = […]` to [field.{name}] in catalogue.toml"
            self._note(number, "not-searchable", f"`{name}` has no search index", remedy)
            return False
        return True

    def _purpose(self, number: int, resource: str, purpose: str) -> bool:
        if resource in RESOURCES:
            if purpose != ANY:
                message = f"a rule for `{resource}` has a purpose"
                self._note(number, "wrong-cell", message, "write `*`: the vault's own resources know no purposes")
            return purpose == ANY
        if purpose == ANY or self._purposes is None or purpose in self._purposes:
            return True
        remedy = did_you_mean(purpose, self._purposes, "take the line out, or declare it in purposes.toml")
        self._note(number, "unknown-purpose", f"the rule names the unknown purpose `{purpose}`", remedy)
        return False

    def _effect(self, number: int, effect: str) -> bool:
        if effect not in {"allow", "deny"}:
            self._note(number, "wrong-cell", "the last column is neither allow nor deny", "write `allow` or `deny`")
            return False
        return True

    def _slug(self, number: int, what: str, name: str) -> bool:
        if not is_slug(name):
            remedy = "write a name of a-z, 0-9, - and _" + (", or `*`" if what == "tenant" else "")
            self._note(number, "wrong-cell", f"the {what} has an invalid name", remedy)
            return False
        return True

    def _base(self, number: int, role: str, base: str) -> None:
        if not (self._slug(number, "role", role) and self._slug(number, "role", base)):
            return
        bases = self._bases.setdefault(role, {})
        if base in bases:
            self._note(number, "duplicate", f"line {bases[base]} says the same", "keep one of the two lines")
        bases.setdefault(base, number)

    def _check_separators(self) -> None:
        """Say once what a spreadsheet does to every line."""
        for separator, number in self._separated.items():
            message = f"the columns are separated by {separator}, here and maybe on other lines"
            self._note(number, "wrong-columns", message, "save the file with commas between the columns")

    def _check_bases(self) -> None:
        granted = {rule.role for rule in self._rules}
        sound, circles = _reaching(self._bases, granted), _circles(self._bases)
        for role, bases in self._bases.items():
            for base, number in bases.items():
                if role == base or circles.get(role, role) == circles.get(base, base):
                    self._note(number, "circular-role", f"`{role}` builds on itself", "take one of the `g` lines out")
                elif base not in sound:
                    remedy = did_you_mean(base, granted, "take the line out")
                    self._note(number, "unknown-role", f"no rule is about the role `{base}`", remedy)

    def _note(self, line: int, code: str, message: str, remedy: str) -> None:
        self._findings.add(FILE, line, code, message, remedy)


def _reversed(bases: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    above: dict[str, list[str]] = {}
    for role, below in bases.items():
        for base in below:
            above.setdefault(base, []).append(role)
    return above


def _reaching(bases: Mapping[str, Collection[str]], granted: Collection[str]) -> set[str]:
    """Return the roles that have, or build on a role that has, a rule. Each line is looked at once."""
    above = _reversed(bases)
    reaching, pending = set(granted), list(granted)
    while pending:
        new = [role for role in above.get(pending.pop(), ()) if role not in reaching]
        reaching.update(new)
        pending += new
    return reaching


def _circles(bases: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return for each role one of those that build on each other with it: itself if none does (Kosaraju's algorithm).

    Each line is looked at twice, however long a chain of roles is.
    """
    above, circles = _reversed(bases), dict[str, str]()
    for first in reversed(_finished(bases)):
        pending = [first]
        while pending:
            role = pending.pop()
            if role not in circles:
                circles[role] = first
                pending += above.get(role, ())
    return circles


def _finished(bases: Mapping[str, Collection[str]]) -> list[str]:
    """Return all roles, each after those on which it builds, as far as they are in no circle."""
    done, seen = list[str](), set[str]()
    for first in bases:
        pending = [(first, iter(bases[first]))] if first not in seen else []
        seen.add(first)
        while pending:
            role, rest = pending[-1]
            base = next((base for base in rest if base not in seen), None)
            if base is None:
                done.append(role)
                pending.pop()
            else:
                seen.add(base)
                pending.append((base, iter(bases.get(base, ()))))
    return done
