"""Decides for one tenant under one policy version, and keeps what it decided."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from vault.catalogue.model import UnknownName
from vault.clock import Clock
from vault.errors import Fault, InvalidInput, Refusal
from vault.policy.decision import Decision, Ruling, Verdict, holds_until, rule_out, weigh
from vault.policy.enforcer import Enforcer
from vault.policy.kept import Kept
from vault.policy.rules import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from vault.catalogue.model import FieldView, Purpose
    from vault.policy.policy_set import PolicySet

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
        self._kept: Kept[Decision] = Kept(most)
        self._rulings: Kept[Ruling] = Kept(4 * most)
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
