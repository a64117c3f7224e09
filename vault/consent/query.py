"""What a person said, and what holds of it now: the answer to the person, to support, and to whoever checks us.

May this be done now, for this person? Yes or no, for many at once, and not a word more about anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, require_permission
from vault.access.callers import OPERATOR
from vault.access.recording import audited
from vault.clock import from_microseconds, to_microseconds
from vault.consent.legal_ground import is_consented, purpose_ground, subject_refusal
from vault.consent.state import UNSAID, unpack
from vault.consent.transaction import missing
from vault.consent.validation import keys_of, open_words
from vault.errors import Fault, InvalidInput
from vault.lifecycle.key_fence import opened
from vault.subjects.store import GONE, Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vault.consent.event import Event
    from vault.consent.legal_ground import Ground
    from vault.consent.state import ConsentState, PurposeStanding
    from vault.context import Caller, Services
    from vault.ids import SubjectId
    from vault.subjects.store import Found


MOST = 200


class Stands(NamedTuple):
    """How a person stands on one purpose.

    ``renew`` says that a consent was given and does not count any more: the notice has changed, or its time is over.
    """

    state: str
    since: datetime | None
    event: UUID | None
    notice: str | None
    method: str | None
    by: str | None
    valid_until: datetime | None
    renew: bool
    objection: str
    objected_at: datetime | None


class Told(NamedTuple):
    """One event, with the words beside it opened; none where there are none, or where they are not for the caller."""

    event: Event
    evidence: str | None


class ConsentOverview(NamedTuple):
    """Where a person stands, and some of what led there, newest first."""

    subject: SubjectId
    state: str
    restricted_at: datetime | None
    consents: dict[str, Stands]
    history: list[Told]
    next: UUID | None
    audit: UUID


@audited("read-consents")
async def consent_state(
    services: Services, caller: Caller, subject: SubjectId, *, before: UUID | None = None, limit: int = 50
) -> ConsentOverview:
    """Tell the state of all purposes that rest on consent or are objected to, and a page of the ledger.

    The words beside the events are opened for callers of the API, whom a rule has granted to read them, and not at
    the command line, which shows nobody's data.

    Raises:
        InvalidInput: the limit is out of 1 to 200.
        Denied: no role of the caller's may read consents.
        NotFound: there is no such subject.
    """
    if not 1 <= limit <= MOST:
        raise InvalidInput(f"a page has 1 to {MOST} events", code="invalid-page")
    await require_permission(services, caller, "vault:consents", "read", audit_action="read-consents")
    await services.limits.take(caller.principal, "read", 1)
    (found,) = await services.subjects.find(Wanted(caller.tenant, (subject,), profile=False))
    there = found is not None and found.state not in GONE
    page = await services.consents.history(caller.tenant, subject, before=before, limit=limit) if there else None
    history: list[Told] = []
    if page is not None:
        history = await _opened(services, caller, subject, page.events)
    made = audit_entry(
        services,
        caller,
        action="read-consents",
        decision="allowed" if there else "denied",
        code=None if there else SUBJECT_NOT_FOUND.code,
        subjects=() if found is None else (found.pseudonym,),
    )
    await services.audit_log.append(made)
    if found is None or page is None:
        async with services.data.reading() as connection:
            error = await missing(services, caller, connection, subject)
        error.audit = str(made.id)
        raise error
    standing = unpack(found.standing)
    return ConsentOverview(
        found.id,
        found.state,
        _moment(standing.restricted_at),
        _stands(services, caller, standing),
        history,
        page.next,
        made.id,
    )


async def _opened(services: Services, caller: Caller, subject: SubjectId, events: list[Event]) -> list[Told]:
    if caller.principal.id == OPERATOR or all(event.evidence is None for event in events):
        return [Told(event, None) for event in events]
    keys = await keys_of(services, caller, subject)
    words = await opened(
        services, caller.tenant, subject, keys, lambda own: [open_words(own, caller.tenant, event) for event in events]
    )
    return [Told(event, its) for event, its in zip(events, words, strict=True)]


def _stands(services: Services, caller: Caller, standing: ConsentState) -> dict[str, Stands]:
    policy_set = services.policies.active(caller.tenant).policy_set
    moment = services.clock.now()
    now, day = to_microseconds(moment), moment.date()
    told = {}
    for name, purpose in policy_set.purposes.items():
        if purpose.rests_on_consent:
            ground = purpose_ground(policy_set, purpose, day)
            said = standing.purposes.get(name, UNSAID)
            told[name] = _told(said, now, renew=said.state == "given" and not is_consented(ground, said, now))
    for name, said in standing.purposes.items():
        if name not in told:  # objected to, or no purpose that rests on consent any more
            told[name] = _told(said, now, renew=False)
    return told


def _told(said: PurposeStanding, now: int, *, renew: bool) -> Stands:
    over = said.state == "given" and said.valid_until is not None and said.valid_until <= now
    return Stands(
        state="expired" if over else said.state,
        since=_moment(said.since or None),
        event=_id(said.event),
        notice=said.notice,
        method=said.method,
        by=said.by,
        valid_until=_moment(said.valid_until),
        renew=renew,
        objection=said.objection,
        objected_at=_moment(said.objected_at),
    )


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_microseconds(microseconds)


def _id(raw: bytes) -> UUID | None:
    return UUID(bytes=raw) if raw else None


MOST_SUBJECTS = 1_000
MOST_PURPOSES = 50


class CheckAnswer(NamedTuple):
    """For each subject, in the order asked for, whether each purpose may go on now; and the audit entry."""

    results: list[tuple[SubjectId, dict[str, bool]]]
    audit: UUID


@audited("check-consents")
async def check_consents(
    services: Services, caller: Caller, *, subjects: Sequence[SubjectId], purposes: Sequence[str]
) -> CheckAnswer:
    """Tell for each subject and purpose whether the legal ground holds now: as a read would find it.

    No stands for everything that is in the way: never asked, refused, withdrawn, expired, a notice that has changed,
    an objection, a restriction, a purpose out of force, and nobody of that id.

    Raises:
        InvalidInput: too many or no subjects or purposes, or an unknown purpose.
        Denied: no role of the caller's may check consents.
        TooMany: the principal's rate of reads is used up.
    """
    await require_permission(services, caller, "vault:consents", "check", audit_action="check-consents")
    grounds = _grounds(services, caller, subjects, purposes)
    if not services.limits.try_take(caller.principal, "read", len(subjects)):
        await services.limits.take(caller.principal, "read", len(subjects))
    found = await services.subjects.find(Wanted(caller.tenant, tuple(subjects), profile=False))
    now = to_microseconds(services.clock.now())
    results = [(subject, _answers(each, grounds, now)) for subject, each in zip(subjects, found, strict=True)]
    made = audit_entry(
        services,
        caller,
        action="check-consents",
        decision="allowed",
        purpose=purposes[0] if len(purposes) == 1 else None,
        subjects=tuple([each.pseudonym for each in found if each is not None]),
        policy=services.policies.active(caller.tenant).version,
    )
    await services.audit_log.append(made)
    return CheckAnswer(results, made.id)


def _grounds(
    services: Services, caller: Caller, subjects: Sequence[SubjectId], purposes: Sequence[str]
) -> dict[str, Ground | None]:
    """Work out what each purpose asks for; none for one that is not in force."""
    if not 1 <= len(subjects) <= MOST_SUBJECTS:
        raise InvalidInput(f"a check is of 1 to {MOST_SUBJECTS:,} subjects", code="too-many-subjects")
    if not 1 <= len(purposes) <= MOST_PURPOSES:
        raise InvalidInput(f"a check is of 1 to {MOST_PURPOSES} purposes", code="too-many")
    policy_set = services.policies.active(caller.tenant).policy_set
    faults = [
        Fault(f"/purposes/{i}", "unknown-purpose", "There is no such purpose; GET /v1/purposes lists them.")
        for i, name in enumerate(purposes)
        if name not in policy_set.purposes
    ]
    if faults:
        raise InvalidInput("the request names what does not exist", faults=faults, code="unknown-purpose")
    day = services.clock.now().date()
    known = [policy_set.purposes[name] for name in purposes]
    return {each.name: purpose_ground(policy_set, each, day) if each.in_force(day) else None for each in known}


def _answers(found: Found | None, grounds: dict[str, Ground | None], now: int) -> dict[str, bool]:
    return {
        name: ground is not None and subject_refusal(found, ground, now) is None for name, ground in grounds.items()
    }
