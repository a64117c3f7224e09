"""May this be done now, for this person? Yes or no, for many at once, and not a word more about anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vault.access.authorization import entry
from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.consent.lawfulness import purpose_ground, subject_refusal
from vault.errors import Fault, InvalidInput
from vault.storage.columns import to_microseconds
from vault.subjects.store import Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from vault.consent.legal_ground import Ground
    from vault.context import Caller, House
    from vault.ids import SubjectId
    from vault.subjects.store import Found

MOST_SUBJECTS = 1_000
MOST_PURPOSES = 50


class CheckAnswer(NamedTuple):
    """For each subject, in the order asked for, whether each purpose may go on now; and the audit entry."""

    results: list[tuple[SubjectId, dict[str, bool]]]
    audit: UUID


@on_record("check-consents")
async def check_consents(
    house: House, caller: Caller, *, subjects: Sequence[SubjectId], purposes: Sequence[str]
) -> CheckAnswer:
    """Tell for each subject and purpose whether the legal ground holds now: as a read would find it.

    No stands for everything that is in the way: never asked, refused, withdrawn, expired, a notice that has changed,
    an objection, a restriction, a purpose out of force, and nobody of that id.

    Raises:
        InvalidInput: too many or no subjects or purposes, or an unknown purpose.
        Denied: no role of the caller's may check consents.
        TooMany: the principal's rate of reads is used up.
    """
    await require_right(house, caller, "vault:consents", "check", audited_as="check-consents")
    grounds = _grounds(house, caller, subjects, purposes)
    if not house.limits.try_take(caller.principal, "read", len(subjects)):
        await house.limits.take(caller.principal, "read", len(subjects))
    found = await house.subjects.find(Wanted(caller.tenant, tuple(subjects), profile=False))
    now = to_microseconds(house.clock.now())
    results = [(subject, _answers(each, grounds, now)) for subject, each in zip(subjects, found, strict=True)]
    made = entry(
        house,
        caller,
        action="check-consents",
        decision="allowed",
        purpose=purposes[0] if len(purposes) == 1 else None,
        subjects=tuple([each.pseudonym for each in found if each is not None]),
        policy=house.policies.active(caller.tenant).version,
    )
    await house.ledger.append(made)
    return CheckAnswer(results, made.id)


def _grounds(
    house: House, caller: Caller, subjects: Sequence[SubjectId], purposes: Sequence[str]
) -> dict[str, Ground | None]:
    """Work out what each purpose asks for; none for one that is not in force."""
    if not 1 <= len(subjects) <= MOST_SUBJECTS:
        raise InvalidInput(f"a check is of 1 to {MOST_SUBJECTS:,} subjects", code="too-many-subjects")
    if not 1 <= len(purposes) <= MOST_PURPOSES:
        raise InvalidInput(f"a check is of 1 to {MOST_PURPOSES} purposes", code="too-many")
    policy_set = house.policies.active(caller.tenant).policy_set
    faults = [
        Fault(f"/purposes/{i}", "unknown-purpose", "There is no such purpose; GET /v1/purposes lists them.")
        for i, name in enumerate(purposes)
        if name not in policy_set.purposes
    ]
    if faults:
        raise InvalidInput("the request names what does not exist", faults=faults, code="unknown-purpose")
    day = house.clock.now().date()
    known = [policy_set.purposes[name] for name in purposes]
    return {each.name: purpose_ground(policy_set, each, day) if each.in_force(day) else None for each in known}


def _answers(found: Found | None, grounds: dict[str, Ground | None], now: int) -> dict[str, bool]:
    return {
        name: ground is not None and subject_refusal(found, ground, now) is None for name, ground in grounds.items()
    }
