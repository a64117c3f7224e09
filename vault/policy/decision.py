"""Policy decisions: steps 2 to 5 of a read, for one tenant under one policy version, and a cache of them.

The caller does step 1 (authentication) and steps 6 to 9, which depend on the person.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from vault.catalogue.model import UnknownName
from vault.clock import Clock
from vault.errors import Fault, InvalidInput, Refusal
from vault.policy.enforcer import Enforcer
from vault.policy.rules import ACTIONS, FILE, short

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from vault.catalogue.model import FieldView, Purpose
    from vault.catalogue.notices import Notices
    from vault.ids import PolicyVersion
    from vault.policy.policy_set import PolicySet
    from vault.policy.rules import Rule


GRANTED = "granted"
NOT_IN_FORCE = "purpose-not-in-force"
EXCLUDED = "purpose-excludes-field"
NO_CONDITION = "special-category-needs-condition"
NOT_GRANTED = "not-granted"
DENIED_BY_RULE = "denied-by-rule"

_PURPOSES = "purposes.toml"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one field: a stable code, a sentence with the remedy, and the rule and step that decided."""

    granted: bool
    code: str
    detail: str
    rule: str
    step: int


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """The answer for all fields of a request, the same for every person.

    ``views`` maps each name, as asked for, to the view that it means. Each is either in ``granted`` or in ``refused``.
    ``until`` is when the answer expires, because the purpose begins or ends or a notice comes into force; ``None`` if
    it is valid as long as the policies are.
    """

    purpose: Purpose
    action: str
    asked: tuple[str, ...]
    views: Mapping[str, FieldView]
    granted: tuple[tuple[str, FieldView], ...]
    refused: Mapping[str, Refusal]
    verdicts: Mapping[str, Verdict] = field(repr=False)
    policy_version: PolicyVersion
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer of casbin for one role: whether it grants, and the rule that decided, if any."""

    role: str
    granted: bool
    rule: Rule | None


def rule_out(purpose: Purpose, shown: FieldView, action: str, day: date) -> Verdict | None:
    """Steps 2 to 4: check the purpose itself. Returns the refusal, or ``None``."""
    name, rule = short(shown.name), f"{_PURPOSES}: {purpose.name}"

    # Step 2: the purpose is in force.
    if not purpose.in_force(day):
        begins = purpose.valid_from is not None and day < purpose.valid_from
        when = f"begins on {purpose.valid_from}" if begins else f"ended on {purpose.valid_until}"
        detail = f"The purpose {purpose.name} {when}. Ask its owner, {purpose.owner}, to change that in {_PURPOSES}."
        return _against(NOT_IN_FORCE, detail, rule, 2)

    # Step 3: the purpose needs the field (Art. 5(1)(b) and (c) GDPR).
    if not (_may_collect(purpose, shown) if action == "write" else purpose.covers(shown)):
        detail = (
            f"The purpose {purpose.name} does not need {name}. If it does, ask its owner, {purpose.owner}, "
            f"to add it to `needs` in {_PURPOSES}; else leave it out or state the purpose that you have."
        )
        return _against(EXCLUDED, detail, rule, 3)

    # Step 4: a special category needs a condition (Art. 9(2) GDPR). Loading refuses such policies already.
    if shown.field.special and purpose.article9 is None:
        detail = (
            f"{name} is of a special category and the purpose {purpose.name} states no condition of Art. 9(2) GDPR. "
            f"Ask the data protection officer whether there is one, for `article9` in {_PURPOSES}."
        )
        return _against(NO_CONDITION, detail, rule, 4)
    return None


def weigh(rulings: Sequence[Ruling], purpose: str, resource: str, action: str) -> Verdict:
    """Step 5: combine the answers of casbin for all roles. One deny outweighs every allow."""
    # Of all roles, first: a further role must never give back what one of them is denied.
    denied = next((ruling for ruling in rulings if ruling.rule is not None and ruling.rule.effect == "deny"), None)
    if denied is not None:
        detail = "A rule denies it, and no other rule outweighs a deny. Only the privacy team can change the rule."
        return _against(DENIED_BY_RULE, detail, str(denied.rule), 5)
    allowed = next((ruling for ruling in rulings if ruling.granted), None)
    if allowed is not None:
        return Verdict(granted=True, code=GRANTED, detail="A rule grants it.", rule=str(allowed.rule or FILE), step=5)
    name = short(resource)
    sample = f"p, {rulings[0].role if rulings else '<role>'}, *, {name}, {action}, {purpose or '*'}, allow"
    detail = f"None of the roles may {action} {name} for this. Ask the privacy team for a rule such as `{sample}`."
    return _against(NOT_GRANTED, detail, f"{FILE}: no rule grants {action} of {name}", 5)


def holds_until(purpose: Purpose, notices: Notices, day: date) -> datetime | None:
    """Return the moment until which an answer given on a day is valid.

    Then the purpose begins or ends, or another version of its notice comes into force.
    """
    changes = [purpose.valid_from, purpose.valid_until and purpose.valid_until + timedelta(days=1)]
    if purpose.notice is not None:
        changes.append(notices.next_change(purpose.notice.partition("@")[0], day))
    # At midnight in UTC, as days are counted everywhere else.
    upcoming = [change for change in changes if change is not None and change > day]
    return datetime.combine(min(upcoming), time(), UTC) if upcoming else None


def _against(code: str, detail: str, rule: str, step: int) -> Verdict:
    return Verdict(granted=False, code=code, detail=detail, rule=rule, step=step)


def _may_collect(purpose: Purpose, shown: FieldView) -> bool:
    """Return whether a purpose may write a field: to show any view of a field, the whole value has to be stored.

    A minimised purpose uses what other purposes have collected.
    """
    whole = f"{shown.field.whole}."
    return not purpose.minimised and any(view.startswith(whole) for view in purpose.views)


MOST_NAMES = 1000
"""Most names in one request; the shipped catalogue has 151."""
MOST_KEPT_NAMES = 256
"""Answers for more names are not cached: they would cost more memory than they save time."""

# One thread for all tenants: casbin holds the interpreter's lock, so a second thread would only take turns with it.
_WORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decisions")


class Decisions:
    """Answers requests for fields, and for the vault's own resources.

    Args:
        policy_set: the policies; an instance answers under this version only.
        tenant: the tenant, whose rules apply in addition to those for every tenant.
        clock: for whether a purpose is in force.
        most: size of the cache of decisions; that of casbin's rulings is four times as large.
    """

    def __init__(self, policy_set: PolicySet, tenant: str, clock: Clock | None = None, *, most: int = 4096) -> None:
        self.policy_set = policy_set
        self.tenant = tenant
        self._clock = clock or Clock()
        self._enforcer = Enforcer(policy_set.rules, tenant)
        self._roles = policy_set.rules.roles
        self._kept: DecisionCache[Decision] = DecisionCache(most)
        self._rulings: DecisionCache[Ruling] = DecisionCache(4 * most)
        self._lock = threading.Lock()

    def cached(self, roles: tuple[str, ...], purpose: str, fields: tuple[str, ...], action: str) -> Decision | None:
        """Return a cached decision that is still valid, or ``None``: one look-up, for the hot path."""
        decision = self._kept.get((roles, purpose, fields, action))
        if decision is None or decision.until is None or self._clock.now() < decision.until:
            return decision
        return None

    async def decide(
        self,
        roles: tuple[str, ...],
        purpose: str,
        fields: tuple[str, ...],
        action: str,
        *,
        at: str = "/fields",
    ) -> Decision:
        """Decide about every name. casbin runs in a thread, so that other requests do not wait for it.

        Args:
            roles: the caller's; roles that no rule names are ignored.
            purpose: the purpose stated.
            fields: names as asked for.
            action: ``read``, ``write`` or ``search``.
            at: JSON pointer to the list of names in the request, for the faults.

        Raises:
            InvalidInput: the purpose, a name or the action does not exist; ``faults`` gives the position.
        """
        cached = self.cached(roles, purpose, fields, action)
        if cached is not None:
            return cached
        work = partial(self.decide_now, roles, purpose, fields, action, at=at)
        return await asyncio.get_running_loop().run_in_executor(_WORKER, work)

    def decide_now(
        self,
        roles: tuple[str, ...],
        purpose: str,
        fields: tuple[str, ...],
        action: str,
        *,
        at: str = "/fields",
    ) -> Decision:
        """Decide in the caller's own thread, as :meth:`decide` does."""
        cached = self.cached(roles, purpose, fields, action)
        if cached is not None:
            return cached
        stated, views = self._resolve(purpose, fields, action, at)
        day = self._clock.now().date()
        verdicts = {name: self._judge(roles, stated, view, action, day) for name, view in views.items()}
        decision = Decision(
            purpose=stated,
            action=action,
            asked=fields,
            views=views,
            granted=tuple((name, view) for name, view in views.items() if verdicts[name].granted),
            refused={
                name: Refusal(verdict.code, verdict.detail, verdict.rule)
                for name, verdict in verdicts.items()
                if not verdict.granted
            },
            verdicts=verdicts,
            policy_version=self.policy_set.version,
            until=holds_until(stated, self.policy_set.notices, day),
        )
        if len(fields) <= MOST_KEPT_NAMES:
            self._kept.put((roles, purpose, fields, action), decision)
        return decision

    def may(self, roles: Iterable[str], resource: str, action: str) -> Verdict:
        """Decide about one of the vault's own resources, such as ``vault:audit``; they have no purposes."""
        return weigh(list(self._ask(roles, "", resource, action)), "", resource, action)

    def stats(self) -> dict[str, int]:
        """Return the sizes of the caches, for the metrics."""
        return {"decisions": len(self._kept), "rulings": len(self._rulings)}

    def _resolve(
        self, purpose: str, fields: tuple[str, ...], action: str, at: str
    ) -> tuple[Purpose, dict[str, FieldView]]:
        """Look up the names. Faults give positions and not the names, which came from outside."""
        faults: list[Fault] = []
        stated = self.policy_set.purposes.get(purpose)
        if stated is None:
            faults.append(
                Fault("/purpose", "unknown-purpose", "There is no such purpose; GET /v1/purposes lists them.")
            )
        if action not in ACTIONS:
            faults.append(Fault("/action", "unknown-action", "The actions are read, write and search."))
        if len(fields) > MOST_NAMES:
            faults.append(Fault(at, "too-many", f"At most {MOST_NAMES} names can be asked for at once."))
        views: dict[str, FieldView] = {}
        for i, name in enumerate(fields[:MOST_NAMES]):
            try:
                views[name] = self.policy_set.catalogue.view(name)
            except UnknownName:
                detail = f"There is no such field or view at position {i + 1}; GET /v1/catalogue lists them."
                faults.append(Fault(f"{at}/{i}", "unknown-field", detail))
        if faults or stated is None:
            code = faults[0].code
            raise InvalidInput("the request names what does not exist", faults=faults, code=code)
        return stated, views

    def _judge(self, roles: tuple[str, ...], purpose: Purpose, view: FieldView, action: str, day: date) -> Verdict:
        refusal = rule_out(purpose, view, action, day)
        if refusal is not None:
            return refusal
        return weigh(list(self._ask(roles, purpose.name, view.name, action)), purpose.name, view.name, action)

    def _ask(self, roles: Iterable[str], purpose: str, resource: str, action: str) -> Iterator[Ruling]:
        for role in dict.fromkeys(roles):
            # Roles come from a token or a row, and may be older than the policies. One that no rule names grants
            # nothing.
            if role in self._roles:
                yield self._ruling(role, purpose, resource, action)

    def _ruling(self, role: str, purpose: str, resource: str, action: str) -> Ruling:
        key = (role, purpose, resource, action)
        # `may` asks on the event loop while `decide` asks in its thread, and casbin's model is not made for two at
        # once.
        with self._lock:
            ruling = self._rulings.get(key)
            if ruling is None:
                ruling = Ruling(role, *self._enforcer.decide(role, resource, action, purpose))
                self._rulings.put(key, ruling)
            return ruling


Answer = TypeVar("Answer")


class DecisionCache(Generic[Answer]):
    """A bounded cache that evicts entries not used recently.

    It has two generations instead of a list by use, so that a hit costs one dictionary look-up. When the young
    generation is full it becomes the old one; a hit in the old one moves the entry back. Threads may share the cache:
    at worst an entry is evicted early.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._young: dict[Hashable, Answer] = {}
        self._old: dict[Hashable, Answer] = {}

    def get(self, key: Hashable) -> Answer | None:
        """Return the answer, or ``None``."""
        answer = self._young.get(key)
        if answer is None and key in self._old:
            answer = self._old.pop(key, None)
            if answer is not None:
                self.put(key, answer)
        return answer

    def put(self, key: Hashable, answer: Answer) -> None:
        """Add an answer."""
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}
        self._young[key] = answer

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
