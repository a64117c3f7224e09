"""Step 7 of a read: the legal ground holds now for this person (Art. 6, 9, 18 and 21 GDPR). The decision is pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND, denied_fields, require_all, subject_not_found
from vault.catalogue.model import Article9, LegalBasis
from vault.clock import LAST, to_microseconds
from vault.consent.model import EXPLICIT, NOTHING, UNSAID, purposes_of, unpack
from vault.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Action
    from vault.catalogue.model import Purpose
    from vault.consent.model import ConsentState, PurposeState
    from vault.context import Caller, Services
    from vault.ids import SubjectId
    from vault.policy.decision import Decision
    from vault.policy.policy_set import PolicySet
    from vault.subjects.store import StoredSubject


MAY_OBJECT: Final = frozenset({LegalBasis.LEGITIMATE_INTEREST, LegalBasis.PUBLIC_TASK})
"""Legal bases against which a person may object (Art. 21(1)). Direct marketing may be objected to on any basis."""
STOPPING: Final = frozenset({"pending", "upheld"})
"""States of an objection that stop processing: until it is decided, and once it is upheld (Art. 18(1)(d), 21(1))."""


def may_object(purpose: Purpose) -> bool:
    """Return whether a person may object to a purpose (Art. 21(1) and (2)); not to the defence of legal claims."""
    if purpose.article9 == Article9.LEGAL_CLAIMS:  # the last words of Art. 21(1)
        return purpose.direct_marketing
    return purpose.direct_marketing or purpose.legal_basis in MAY_OBJECT


class Ground(msgspec.Struct, frozen=True):
    """What a purpose requires of a person's state, computed once for a policy version and day.

    Attributes:
        purpose: name of the purpose.
        consent: whether the purpose rests on consent.
        explicit: whether the consent must be explicit (Art. 9(2)(a)).
        notices: the accepted versions of the notice.
        exception: the exception of Art. 18(2) by which the purpose goes on under a restriction.
        missing: the refusal if the consent is missing.
    """

    purpose: str
    consent: bool
    explicit: bool
    notices: frozenset[str]
    exception: str | None
    missing: Refusal

    @classmethod
    def of(cls, purpose: Purpose, notices: Iterable[str]) -> Ground:
        """Build the ground of a purpose; ``notices`` are the versions that are accepted today, ``name@version``."""
        return cls(
            purpose=purpose.name,
            consent=purpose.rests_on_consent,
            explicit=purpose.article9 == Article9.EXPLICIT_CONSENT,
            notices=frozenset(notices),
            exception=purpose.restriction,
            missing=Refusal(
                code="consent-missing",
                detail="This purpose rests on consent and there is none on record for this person. Ask the person, or "
                "use a purpose with another legal basis if one truly applies.",
                rule=f"purposes.toml: {purpose.name}: legal_basis",
            ),
        )


def refusal(ground: Ground, state: ConsentState, now: int) -> Refusal | None:
    """Return why the ground does not hold for a person; None if it holds. ``now`` is in microseconds since 1970."""
    current = state.purposes.get(ground.purpose, UNSAID)
    # One code for every defect of a consent: a caller that may not use the data must not learn whether the person
    # never agreed, refused, withdrew, or does not exist.
    if ground.consent and not is_consented(ground, current, now):
        return ground.missing
    if current.objection in STOPPING:
        if ground.consent:
            return ground.missing
        return Refusal(
            "objected",
            "This person objects to this purpose (Art. 21), and the objection is not overruled. Ask the data "
            "protection officer.",
            f"objection: {ground.purpose}",
        )
    if state.restricted_at is not None and not _is_excepted(ground, current, state.restricted_at):
        return RESTRICTED
    return None


def is_consented(ground: Ground, current: PurposeState, now: int) -> bool:
    """Return whether a consent is given, to an accepted notice, in a sufficient form, and not expired."""
    return (
        current.state == "given"
        and current.notice in ground.notices
        and (current.valid_until is None or now < current.valid_until)
        and (not ground.explicit or current.method in EXPLICIT)
    )


RESTRICTED: Final = Refusal(
    "restricted",
    "This person's data is restricted (Art. 18): it is stored and not used. Ask the data protection officer.",
    "restriction",
)


def _is_excepted(ground: Ground, current: PurposeState, restricted_at: int) -> bool:
    """Return whether a purpose goes on under a restriction; by consent, only one given after the restriction."""
    if ground.exception == "consent":
        return ground.consent and current.since > restricted_at
    return ground.exception is not None


ALWAYS: Final = LAST
"""Time of a restriction without an event: no consent is younger."""


@lru_cache(maxsize=4096)
def purpose_ground(policy_set: PolicySet, purpose: Purpose, day: date) -> Ground:
    """Return the ground of a purpose on a day."""
    return Ground.of(purpose, policy_set.notices.accepted(purpose, day))


def ground_refusal(decision: Decision) -> Refusal | None:
    """Step 7 for no person in particular: return why the legal ground does not hold for one without any record."""
    ground = Ground.of(decision.purpose, ())
    if refusal(ground, NOTHING, 0) is None:
        return None
    return Refusal(
        ground.missing.code,
        "This purpose rests on consent: it is allowed for people who have given it, and for no others.",
        ground.missing.rule,
    )


def subject_refusal(row: StoredSubject | None, ground: Ground, now: int) -> Refusal | None:
    """Steps 6 and 7: the subject exists and is not erased, and the legal ground holds for them now.

    ``row`` is None if there is none; ``now`` is in microseconds since 1970.
    """
    if row is None or row.state == "erased":
        return _not_found(ground)
    if row.standing is None and row.state == "active" and not ground.consent:
        return None  # the common case: there are no events
    state = unpack(row.standing)
    if row.state == "retained" and ground.purpose not in (*state.kept_for, *purposes_of(state.holds)):
        return _not_found(ground)
    if row.state == "restricted" and state.restricted_at is None:
        state = replace(state, restricted_at=ALWAYS)
    return refusal(ground, state, now)


def _not_found(ground: Ground) -> Refusal:
    # For a purpose that rests on consent, a missing person looks like a missing consent: the caller does not learn
    # which it is.
    return ground.missing if ground.consent else SUBJECT_NOT_FOUND


def subject_refusals(
    services: Services, caller: Caller, decision: Decision, rows: Sequence[StoredSubject | None]
) -> list[Refusal | None]:
    """Steps 6 and 7 for the subjects of a decision: :func:`subject_refusal` of each, now."""
    now = services.clock.now()
    ground = purpose_ground(services.policies.active(caller.tenant).policy_set, decision.purpose, now.date())
    moment = to_microseconds(now)
    return [subject_refusal(row, ground, moment) for row in rows]


async def require_ground(
    services: Services, caller: Caller, decision: Decision, action: Action, row: StoredSubject | None
) -> StoredSubject | None:
    """Refuse a write about a person for whom the legal ground does not hold, before anything is prepared for it.

    It may end before the write does: :func:`locked_ground` decides.

    Returns:
        the row; None if there is no person to write about, which is for the caller to report. Of an erased person with
        retained data, only purposes that answer the person's own rights may write.

    Raises:
        Denied: the denial is recorded in the audit log before it is raised.
    """
    denial = write_refusal(services, caller, decision, row)
    if denial is SUBJECT_NOT_FOUND:
        return None
    await require_all(services, caller, decision, action, denial, row)
    return row


async def locked_ground(
    services: Services, caller: Caller, connection: AsyncConnection, decision: Decision, subject: SubjectId
) -> StoredSubject:
    """Lock a person's row for a write, and evaluate the legal ground again, on the state under the lock.

    Every write for a purpose about a person who exists calls this in its transaction (:func:`vault.access.recording.
    writing`, which records a denial after the rollback). A withdrawal, an objection or a restriction that was committed
    since the first check then stops the write, and a later one waits for the write.

    Returns:
        the row.

    Raises:
        NotFound: there is no such person, or no longer.
        Denied: the legal ground does not hold any more.
    """
    row = (await services.subjects.shared(connection, caller.tenant, [subject])).get(subject)
    denial = write_refusal(services, caller, decision, row)
    if row is None or denial is SUBJECT_NOT_FOUND:
        raise subject_not_found()
    if denial is not None:
        raise denied_fields(dict.fromkeys(decision.asked, denial))
    return row


def write_refusal(services: Services, caller: Caller, decision: Decision, row: StoredSubject | None) -> Refusal | None:
    """Return why a write about a subject is refused; None if it is not. ``row`` is None if there is no subject."""
    if row is not None and row.state == "retained" and not decision.purpose.answers_people:
        return SUBJECT_NOT_FOUND
    (denial,) = subject_refusals(services, caller, decision, [row])
    return denial
