"""Definitions carried out of vault.access.authorization."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND, require_all
from vault.consent.held import purposes_of
from vault.consent.legal_ground import Ground, refusal
from vault.consent.state import NOTHING, unpack
from vault.errors import Refusal
from vault.storage.columns import LAST, to_microseconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from vault.audit.entry import Action
    from vault.catalogue.model import Purpose
    from vault.context import Caller, House
    from vault.policy.decision import Decision
    from vault.policy.policy_set import PolicySet
    from vault.subjects.store import Found


ALWAYS: Final = LAST
"""A restriction of which no event tells since when: no consent is younger than it."""


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
