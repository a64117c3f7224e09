"""Step 7 of a read: the legal ground holds at this moment for this person (Art. 6, 9, 18 and 21 GDPR). Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from vault.access.authorization import SUBJECT_NOT_FOUND, require_all
from vault.catalogue.model import Article9, LegalBasis
from vault.clock import LAST, to_microseconds
from vault.consent.event import EXPLICIT
from vault.consent.state import NOTHING, UNSAID, purposes_of, unpack
from vault.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from vault.audit.entry import Action
    from vault.catalogue.model import Purpose
    from vault.consent.state import ConsentState, PurposeStanding
    from vault.context import Caller, Services
    from vault.policy.decision import Decision
    from vault.policy.policy_set import PolicySet
    from vault.subjects.store import Found


MAY_OBJECT: Final = frozenset({LegalBasis.LEGITIMATE_INTEREST, LegalBasis.PUBLIC_TASK})
"""Legal bases against which a person may object (Art. 21(1)). Direct marketing may be objected to on any basis."""
STANDS: Final = frozenset({"pending", "upheld"})
"""States of an objection that stop processing: until it is decided, and once it is upheld (Art. 18(1)(d), 21(1))."""


def may_object(purpose: Purpose) -> bool:
    """Tell whether a person may object to a purpose (Art. 21(1) and (2)); not to the defence of legal claims."""
    if purpose.article9 == Article9.LEGAL_CLAIMS:  # the last words of Art. 21(1)
        return purpose.direct_marketing
    return purpose.direct_marketing or purpose.legal_basis in MAY_OBJECT


class Ground(msgspec.Struct, frozen=True):
    """What a purpose asks of a person's standing, worked out once a decision and day.

    Attributes:
        purpose: its name.
        consent: whether it rests on consent.
        explicit: whether that consent has to be explicit (Art. 9(2)(a)).
        notices: the versions of the text that an agreement may have been to.
        exception: on which exception of Art. 18(2) it goes on under a restriction.
        missing: what is refused where consent is.
    """

    purpose: str
    consent: bool
    explicit: bool
    notices: frozenset[str]
    exception: str | None
    missing: Refusal

    @classmethod
    def of(cls, purpose: Purpose, notices: Iterable[str]) -> Ground:
        """Work out what a purpose asks for.

        Args:
            purpose: the purpose.
            notices: versions of its text that are good today, ``name@version``.
        """
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


def refusal(ground: Ground, standing: ConsentState, now: int) -> Refusal | None:
    """Tell why the ground does not hold for a person; none where it does.

    Whatever lacks of a consent has the one code ``consent-missing``: who may not use the data need not learn whether
    the person never said yes, said no, took it back, or is not there at all.

    Args:
        ground: what the purpose asks for.
        standing: where the person stands.
        now: in microseconds since 1970.
    """
    said = standing.purposes.get(ground.purpose, UNSAID)
    if ground.consent and not is_consented(ground, said, now):
        return ground.missing
    if said.objection in STANDS:
        return ground.missing if ground.consent else _objected(ground.purpose)
    if standing.restricted_at is not None and not _is_excepted(ground, said, standing.restricted_at):
        return RESTRICTED
    return None


def is_consented(ground: Ground, said: PurposeStanding, now: int) -> bool:
    """Tell whether a consent is given, to a text that is still good, in a form that suffices, and not expired."""
    return (
        said.state == "given"
        and said.notice in ground.notices
        and (said.valid_until is None or now < said.valid_until)
        and (not ground.explicit or said.method in EXPLICIT)
    )


RESTRICTED: Final = Refusal(
    "restricted",
    "This person's data is restricted (Art. 18): it is stored and not used. Ask the data protection officer.",
    "restriction",
)


def _objected(purpose: str) -> Refusal:
    return Refusal(
        "objected",
        "This person objects to this purpose (Art. 21), and nobody has decided otherwise. Ask the data protection "
        "officer.",
        f"objection: {purpose}",
    )


def _is_excepted(ground: Ground, said: PurposeStanding, restricted_at: int) -> bool:
    """Tell whether a purpose goes on under a restriction; with consent, only one given since then."""
    if ground.exception == "consent":
        return ground.consent and said.since > restricted_at
    return ground.exception is not None


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
    services: Services, caller: Caller, decision: Decision, found: Sequence[Found | None]
) -> list[Refusal | None]:
    """Take steps 6 and 7 for subjects of a decision, as things stand now: :func:`subject_refusal` of each."""
    now = services.clock.now()
    ground = purpose_ground(services.policies.active(caller.tenant).policy_set, decision.purpose, now.date())
    moment = to_microseconds(now)
    return [subject_refusal(each, ground, moment) for each in found]


async def require_ground(
    services: Services, caller: Caller, decision: Decision, action: Action, found: Found | None
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
    (lacking,) = subject_refusals(services, caller, decision, [found])
    if lacking is not SUBJECT_NOT_FOUND:
        await require_all(services, caller, decision, action, lacking, found)
    return None if lacking is SUBJECT_NOT_FOUND else found
