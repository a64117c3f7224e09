"""Steps 2 to 5 of a read, as the design numbers them: pure, from facts that are handed in.

Left to the caller: who asks (step 1), and all that depends on the person (steps 6 to 9).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

from vault.policy.rules import FILE, short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from vault.catalogue.model import FieldView, Purpose
    from vault.catalogue.versions import Notices
    from vault.errors import Refusal
    from vault.ids import PolicyVersion
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
