"""Steps 2 to 5 of every operation on fields: ask the policies, keep what they say, write down what they refuse."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from vault.consent.ground import Ground, refusal
from vault.consent.standing import NOTHING, unpack
from vault.errors import Denied, InvalidInput, Refusal
from vault.retention.holds import purposes_of
from vault.storage.columns import LAST, to_microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from vault.audit.entry import Action, Entry
    from vault.catalogue.model import Purpose
    from vault.operations.house import Caller, House
    from vault.policy.decision import Decision
    from vault.policy.policy_set import PolicySet
    from vault.subjects.store import Found

SUBJECT_NOT_FOUND = Refusal(
    "subject-not-found",
    "There is no such person in this vault, or no longer. Check the id, or find the person by search.",
    "the subject",
)
ALWAYS: Final = LAST
"""A restriction of which no event tells since when: no consent is younger than it."""


async def decide(
    house: House,
    caller: Caller,
    action: Action,
    purpose: str,
    fields: Sequence[str],
    *,
    verb: str,
    at: str = "/fields",
) -> Decision:
    """Decide an action on fields for a purpose, from what is kept or by asking casbin.

    Args:
        action: what the audit log calls it, should the request itself be invalid.
        verb: what the policies call it: ``read``, ``write`` or ``search``.
        at: JSON pointer to the names in the request, for the faults.

    Raises:
        InvalidInput: the purpose or a field does not exist; that is on the audit log before it is raised.
    """
    principal = caller.principal
    decisions = house.policies.active(principal.tenant).decisions
    names = tuple(fields)
    kept = decisions.kept(principal.roles, purpose, names, verb)
    if kept is not None:
        return kept
    try:
        return await decisions.decide(principal.roles, purpose, names, verb, at=at)
    except InvalidInput as error:
        code = error.faults[0].code if error.faults else error.code
        made = entry(house, caller, action=action, decision="failed", code=code)
        await house.ledger.append(made)
        error.audit = str(made.id)
        raise


@lru_cache(maxsize=4096)
def purpose_ground(policy_set: PolicySet, purpose: Purpose, day: date) -> Ground:
    """Return what a purpose asks of a person's standing on a day."""
    return Ground.of(purpose, policy_set.notices.accepted(purpose, day))


def ground_refusal(decision: Decision) -> Refusal | None:
    """Step 7 for somebody of whom nothing is on record: tell why the legal ground does not hold."""
    return refusal(Ground.of(decision.purpose, ()), NOTHING, 0)


def subject_refusal(found: Found | None, ground: Ground, now: int) -> Refusal | None:
    """Steps 6 and 7: the subject exists and is not erased, and the legal ground holds for them now.

    Whom the ground refuses learns nothing, not even that there is no such person.

    Args:
        found: the subject's row; none where there is none.
        ground: from :func:`purpose_ground`.
        now: in microseconds since 1970.
    """
    if found is None or found.state == "erased":
        return _nobody(ground)
    if found.standing is None and found.state == "active" and not ground.consent:
        return None  # the common case: this person never said anything
    standing = unpack(found.standing)
    if found.state == "retained" and ground.purpose not in (*standing.kept_for, *purposes_of(standing.holds)):
        return _nobody(ground)
    if found.state == "restricted" and standing.restricted_at is None:
        standing = replace(standing, restricted_at=ALWAYS)
    return refusal(ground, standing, now)


def _nobody(ground: Ground) -> Refusal:
    return ground.missing if ground.consent else SUBJECT_NOT_FOUND


def subject_refusals(
    house: House, caller: Caller, decision: Decision, found: Sequence[Found | None]
) -> list[Refusal | None]:
    """Take steps 6 and 7 for subjects of a decision, as things stand now: :func:`subject_refusal` of each."""
    now = house.clock.now()
    ground = purpose_ground(house.policies.active(caller.tenant).policy_set, decision.purpose, now.date())
    moment = to_microseconds(now)
    return [subject_refusal(each, ground, moment) for each in found]


def entry(house: House, caller: Caller, **facts: Any) -> Entry:
    """Make an audit entry of the caller's."""
    principal = caller.principal
    return house.ledger.entry(
        tenant=principal.tenant,
        principal=principal.id,
        principal_name=principal.name,
        request=caller.request_id,
        **facts,
    )


def whole_names(decision: Decision) -> dict[str, str]:
    """Map each name as asked to the whole name under which it goes on the audit log."""
    return {asked: view.name for asked, view in decision.views.items()}


def refused_codes(decision: Decision, refused: Mapping[str, Refusal]) -> dict[str, str]:
    """Write refusals the way the audit log keeps them: whole name to code."""
    names = whole_names(decision)
    return {names[asked]: refusal.code for asked, refusal in refused.items()}


async def require_all(
    house: House,
    caller: Caller,
    decision: Decision,
    action: Action,
    lacking: Refusal | None = None,
    found: Found | None = None,
) -> None:
    """Refuse the whole of a write or search unless every field is granted and nothing else stands against it.

    Args:
        house: the rooms.
        caller: who asks.
        decision: what the policies say.
        action: what the audit log calls it.
        lacking: why the legal ground does not hold; none where it does, or where that is found out later.
        found: the person, if it is about one.

    Raises:
        Denied: with the refusal of each field; it is on the audit log before it is raised.
    """
    refused = dict(decision.refused)
    if lacking is not None and not refused:
        refused = dict.fromkeys(decision.asked, lacking)
    if not refused:
        return
    made = entry(
        house,
        caller,
        action=action,
        decision="denied",
        purpose=decision.purpose.name,
        refused=refused_codes(decision, refused),
        rule=next(iter(refused.values())).rule,
        policy=decision.policy_version,
        subjects=() if found is None else (found.pseudonym,),
    )
    await house.ledger.append(made)
    raise Denied("some of the fields may not be used in this way", denied=refused, audit=str(made.id))


async def require_ground(
    house: House, caller: Caller, decision: Decision, action: Action, found: Found | None
) -> Found | None:
    """Refuse a write about a person for whom the legal ground does not hold.

    Returns:
        the person; none where nobody is there to write about, which the caller tells. Of somebody of whom only a law
        keeps something, nothing may be written but for the person's own rights.

    Raises:
        Denied: it is on the audit log before it is raised.
    """
    if found is not None and found.state == "retained" and not decision.purpose.answers_people:
        return None
    (lacking,) = subject_refusals(house, caller, decision, [found])
    if lacking is not SUBJECT_NOT_FOUND:
        await require_all(house, caller, decision, action, lacking, found)
    return None if lacking is SUBJECT_NOT_FOUND else found
