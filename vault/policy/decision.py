"""Steps 2 to 5 of a read, as the design numbers them: pure, from facts that are handed in.

Left to the caller: who asks (step 1), and all that depends on the person (steps 6 to 9).

Decides for one tenant under one policy version, and keeps what it decided.

A bounded memory of answers whose look-up is one dictionary's.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

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
    """The answer for one field: a stable code, a sentence with the remedy, the rule that decided, and at which step."""

    granted: bool
    code: str
    detail: str
    rule: str
    step: int


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """The answer for all fields of a request, the same for every person.

    ``views`` leads from each name, as asked for, to the view that it means; ``granted`` and ``refused`` part them.
    ``until`` is when the answer runs out because the purpose begins or ends, or a notice comes into force; ``None`` if
    it holds as long as the policies do.
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


class Ruling(NamedTuple):
    """What casbin said for one role: whether it grants, and the rule that decided, if one is about it."""

    role: str
    granted: bool
    rule: Rule | None


def rule_out(purpose: Purpose, shown: FieldView, action: str, day: date) -> Verdict | None:
    """Take steps 2 to 4: the purpose itself. ``None`` if nothing is against it."""
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

    # Step 4: a special category needs a condition (Art. 9(2) GDPR). Loading refuses such policies; this is the net.
    if shown.field.special and purpose.article9 is None:
        detail = (
            f"{name} is of a special category and the purpose {purpose.name} states no condition of Art. 9(2) GDPR. "
            f"Ask the data protection officer whether there is one, for `article9` in {_PURPOSES}."
        )
        return _against(NO_CONDITION, detail, rule, 4)
    return None


def weigh(rulings: Sequence[Ruling], purpose: str, resource: str, action: str) -> Verdict:
    """Take step 5: what casbin said for each role. One deny outweighs every allow."""
    denied = next((each for each in rulings if each.rule is not None and each.rule.effect == "deny"), None)
    if denied is not None:
        detail = "A rule denies it, and no other rule outweighs a deny. Only the privacy team can change the rule."
        return _against(DENIED_BY_RULE, detail, str(denied.rule), 5)
    allowed = next((each for each in rulings if each.granted), None)
    if allowed is not None:
        return Verdict(granted=True, code=GRANTED, detail="A rule grants it.", rule=str(allowed.rule or FILE), step=5)
    name = short(resource)
    sample = f"p, {rulings[0].role if rulings else '<role>'}, *, {name}, {action}, {purpose or '*'}, allow"
    detail = f"None of the roles may {action} {name} for this. Ask the privacy team for a rule such as `{sample}`."
    return _against(NOT_GRANTED, detail, f"{FILE}: no rule grants {action} of {name}", 5)


def holds_until(purpose: Purpose, notices: Notices, day: date) -> datetime | None:
    """Return the moment from which an answer given on a day may be another.

    The purpose begins or has ended then, or another version of the text that people agree to comes into force.
    """
    changes = [purpose.valid_from, purpose.valid_until and purpose.valid_until + timedelta(days=1)]
    if purpose.notice is not None:
        changes.append(notices.next_change(purpose.notice.partition("@")[0], day))
    ahead = [change for change in changes if change is not None and change > day]
    return datetime.combine(min(ahead), time(), UTC) if ahead else None


def _against(code: str, detail: str, rule: str, step: int) -> Verdict:
    return Verdict(granted=False, code=code, detail=detail, rule=rule, step=step)


def _may_collect(purpose: Purpose, shown: FieldView) -> bool:
    """To show a field in any way it has to be kept whole; a minimised purpose uses what others have collected."""
    whole = f"{shown.field.whole}."
    return not purpose.minimised and any(view.startswith(whole) for view in purpose.views)


MOST_NAMES = 1000
"""Most names that one request may ask for; the catalogue that ships has 151."""
MOST_KEPT_NAMES = 256
"""A request for more names is decided each time: keeping it would cost more memory than it saves time."""

# One thread for all tenants: casbin holds the interpreter's lock, so a second thread would only take turns with it.
_WORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decisions")


class Decisions:
    """Answers requests for fields, and for the vault's own resources.

    Args:
        policy_set: the policies; an instance answers under this version and no other.
        tenant: whose rules count, next to those for every tenant.
        clock: tells whether a purpose is in force.
        most: whole answers that are kept, and four times as many rulings of casbin.
    """

    def __init__(self, policy_set: PolicySet, tenant: str, clock: Clock | None = None, *, most: int = 4096) -> None:
        self.policy_set = policy_set
        self.tenant = tenant
        self._clock = clock or Clock()
        self._enforcer = Enforcer(policy_set.model, policy_set.rules, tenant)
        self._roles = policy_set.rules.roles
        self._kept: DecisionCache[Decision] = DecisionCache(most)
        self._rulings: DecisionCache[Ruling] = DecisionCache(4 * most)
        self._lock = threading.Lock()

    def kept(self, roles: tuple[str, ...], purpose: str, fields: tuple[str, ...], action: str) -> Decision | None:
        """Return an answer that is kept and still holds: one look-up, for the hot path."""
        found = self._kept.get((roles, purpose, fields, action))
        if found is None or found.until is None or self._clock.now() < found.until:
            return found
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
        """Decide about every name; casbin runs in a thread, so that nobody else's request waits for it.

        Args:
            roles: the caller's; those that no rule names count for nothing.
            purpose: the purpose stated.
            fields: names as asked for.
            action: ``read``, ``write`` or ``search``.
            at: JSON pointer to the list of names in the request, for the faults.

        Raises:
            InvalidInput: the purpose, a name or the action does not exist; ``faults`` says which by position.
        """
        found = self.kept(roles, purpose, fields, action)
        if found is not None:
            return found
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
        found = self.kept(roles, purpose, fields, action)
        if found is not None:
            return found
        why, views = self._resolve(purpose, fields, action, at)
        day = self._clock.now().date()
        verdicts = {asked: self._judge(roles, why, view, action, day) for asked, view in views.items()}
        decision = Decision(
            purpose=why,
            action=action,
            asked=fields,
            views=views,
            granted=tuple((asked, view) for asked, view in views.items() if verdicts[asked].granted),
            refused={
                asked: Refusal(each.code, each.detail, each.rule)
                for asked, each in verdicts.items()
                if not each.granted
            },
            verdicts=verdicts,
            policy_version=self.policy_set.version,
            until=holds_until(why, self.policy_set.notices, day),
        )
        if len(fields) <= MOST_KEPT_NAMES:
            self._kept.put((roles, purpose, fields, action), decision)
        return decision

    def may(self, roles: Iterable[str], resource: str, action: str) -> Verdict:
        """Decide about one of the vault's own resources, such as ``vault:audit``; those know no purposes."""
        return weigh(list(self._ask(roles, "", resource, action)), "", resource, action)

    def stats(self) -> dict[str, int]:
        """Return how many answers are kept, for the metrics."""
        return {"decisions": len(self._kept), "rulings": len(self._rulings)}

    def _resolve(
        self, purpose: str, fields: tuple[str, ...], action: str, at: str
    ) -> tuple[Purpose, dict[str, FieldView]]:
        """Find what the names mean. Faults give positions and no names, for those came from outside."""
        faults: list[Fault] = []
        why = self.policy_set.purposes.get(purpose)
        if why is None:
            faults.append(
                Fault("/purpose", "unknown-purpose", "There is no such purpose; GET /v1/purposes lists them.")
            )
        if action not in ACTIONS:
            faults.append(Fault("/action", "unknown-action", "The actions are read, write and search."))
        if len(fields) > MOST_NAMES:
            faults.append(Fault(at, "too-many", f"At most {MOST_NAMES} names can be asked for at once."))
        views: dict[str, FieldView] = {}
        for i, asked in enumerate(fields[:MOST_NAMES]):
            try:
                views[asked] = self.policy_set.catalogue.view(asked)
            except UnknownName:
                detail = f"There is no such field or view at position {i + 1}; GET /v1/catalogue lists them."
                faults.append(Fault(f"{at}/{i}", "unknown-field", detail))
        if faults or why is None:
            code = faults[0].code
            raise InvalidInput("the request names what does not exist", faults=faults, code=code)
        return why, views

    def _judge(self, roles: tuple[str, ...], purpose: Purpose, view: FieldView, action: str, day: date) -> Verdict:
        against = rule_out(purpose, view, action, day)
        if against is not None:
            return against
        return weigh(list(self._ask(roles, purpose.name, view.name, action)), purpose.name, view.name, action)

    def _ask(self, roles: Iterable[str], purpose: str, resource: str, action: str) -> Iterator[Ruling]:
        for role in dict.fromkeys(roles):
            if role in self._roles:
                yield self._ruling(role, purpose, resource, action)

    def _ruling(self, role: str, purpose: str, resource: str, action: str) -> Ruling:
        key = (role, purpose, resource, action)
        with self._lock:
            found = self._rulings.get(key)
            if found is None:
                found = Ruling(role, *self._enforcer.decide(role, resource, action, purpose))
                self._rulings.put(key, found)
            return found


Answer = TypeVar("Answer")


class DecisionCache(Generic[Answer]):
    """Keeps at most ``most`` answers and forgets those that nobody has asked for of late.

    Two generations instead of a list by use: a hit moves nothing, so it costs what a dictionary costs. When the young
    generation is full it becomes the old one, and what is asked for again there comes back. Threads may share it:
    at worst an answer is forgotten early.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._young: dict[Hashable, Answer] = {}
        self._old: dict[Hashable, Answer] = {}

    def get(self, key: Hashable) -> Answer | None:
        """Return the answer, or ``None``."""
        found = self._young.get(key)
        if found is None and key in self._old:
            found = self._old.pop(key, None)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: Hashable, answer: Answer) -> None:
        """Keep an answer."""
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}
        self._young[key] = answer

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
