"""Read the consents of a person, and check for many people at once whether purposes may go on."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from vault.access.authorization import audit_entry, require_permission
from vault.access.callers import OPERATOR
from vault.access.paging import check_page
from vault.access.recording import audited
from vault.clock import from_microseconds, to_microseconds
from vault.consent.legal_ground import is_consented, purpose_ground, subject_refusal
from vault.consent.model import UNSAID, unpack
from vault.consent.transaction import keys_of, not_found, open_words
from vault.consent.views import ConsentCheckResult, ConsentCheckResults, ConsentEvent, ConsentOverview, PurposeConsent
from vault.errors import Fault, InvalidInput
from vault.lifecycle.key_fence import open_fenced
from vault.subjects.store import GONE, SubjectQuery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vault.consent.legal_ground import Ground
    from vault.consent.model import ConsentState, Event, PurposeState
    from vault.context import Caller, Services
    from vault.ids import SubjectId
    from vault.subjects.store import StoredSubject


MOST = 200
SEALED = "sealed"
"""The text in place of evidence that is not opened."""


@audited("read-consents")
async def consent_state(
    services: Services, caller: Caller, subject: SubjectId, *, before: UUID | None = None, limit: int = 50
) -> ConsentOverview:
    """Return the state of all purposes that rest on consent or are objected to, and a page of events.

    Evidence is opened for callers of the API, who need a rule that permits it. The command line shows no personal
    data, so there it stays sealed.

    Raises:
        InvalidInput: the limit is out of 1 to 200.
        Denied: the caller may not read consents.
        NotFound: there is no such subject.
    """
    check_page(limit, MOST, "events")
    await require_permission(services, caller, "vault:consents", "read", audit_action="read-consents")
    (row,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
    if row is None or row.state in GONE:
        raise await not_found(services, caller, "read-consents", subject, row)
    page = await services.consents.history(caller.tenant, subject, before=before, limit=limit)
    history = await _history(services, caller, subject, page.events)
    entry = audit_entry(services, caller, action="read-consents", decision="allowed", subjects=(row.pseudonym,))
    # The entry comes before the answer: if the log cannot be written, nothing is disclosed.
    await services.audit_log.append(entry)
    state = unpack(row.standing)
    return ConsentOverview(
        subject=row.id,
        state=row.state,
        restricted_at=_moment(state.restricted_at),
        consents=_purposes(services, caller, state),
        history=history,
        next=None if page.next is None else page.next.hex,
        audit=entry.id,
    )


async def _history(services: Services, caller: Caller, subject: SubjectId, events: list[Event]) -> list[ConsentEvent]:
    # Without evidence no key is fetched; for the operator none is, because the command line shows no personal data.
    if caller.principal.id == OPERATOR or all(event.evidence is None for event in events):
        return [ConsentEvent.of(event, None if event.evidence is None else SEALED) for event in events]
    keys = await keys_of(services, caller, subject)
    evidence = await open_fenced(
        services,
        caller.tenant,
        subject,
        keys,
        lambda now: [open_words(now, caller.tenant, event) for event in events],
    )
    return [ConsentEvent.of(event, words) for event, words in zip(events, evidence, strict=True)]


def _purposes(services: Services, caller: Caller, state: ConsentState) -> dict[str, PurposeConsent]:
    policy_set = services.policies.active(caller.tenant).policy_set
    moment = services.clock.now()
    now, day = to_microseconds(moment), moment.date()
    consents = {}
    for name, purpose in policy_set.purposes.items():
        if purpose.rests_on_consent:
            ground = purpose_ground(policy_set, purpose, day)
            current = state.purposes.get(name, UNSAID)
            renew = current.state == "given" and not is_consented(ground, current, now)
            consents[name] = _purpose(current, now, renew=renew)
    for name, current in state.purposes.items():
        if name not in consents:  # objected to, or the purpose no longer rests on consent
            consents[name] = _purpose(current, now, renew=False)
    return consents


def _purpose(current: PurposeState, now: int, *, renew: bool) -> PurposeConsent:
    expired = current.state == "given" and current.valid_until is not None and current.valid_until <= now
    return PurposeConsent(
        state="expired" if expired else current.state,
        since=_moment(current.since or None),
        event=UUID(bytes=current.event) if current.event else None,
        notice=current.notice,
        method=current.method,
        by=current.by,
        valid_until=_moment(current.valid_until),
        renew=renew,
        objection=current.objection,
        objected_at=_moment(current.objected_at),
    )


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_microseconds(microseconds)


MOST_SUBJECTS = 1_000
MOST_PURPOSES = 50
GOOD_FOR = timedelta(minutes=15)
"""How long an answer may be used at the most. What a person says later counts at once, and is not in it."""


@audited("check-consents")
async def check_consents(
    services: Services, caller: Caller, *, subjects: Sequence[SubjectId], purposes: Sequence[str]
) -> ConsentCheckResults:
    """Return for each subject and purpose whether the legal ground holds now, as a read would find it.

    The answer is false, without the reason, for a consent that was never given, was refused or withdrawn, expired or is
    to another notice; for an objection, a restriction, a purpose out of force, and an unknown subject.

    Raises:
        InvalidInput: too many or no subjects or purposes, or an unknown purpose.
        Denied: the caller may not check consents.
        TooMany: the principal's rate of reads is used up.
    """
    await require_permission(services, caller, "vault:consents", "check", audit_action="check-consents")
    grounds = _grounds(services, caller, subjects, purposes)
    if not services.limits.try_take(caller.principal, "read", len(subjects)):
        await services.limits.take(caller.principal, "read", len(subjects))
    rows = await services.subjects.find(SubjectQuery(caller.tenant, tuple(subjects), profile=False))
    moment = services.clock.now()
    now = to_microseconds(moment)
    results = [
        ConsentCheckResult(
            subject=subject,
            purposes={
                name: ground is not None and subject_refusal(row, ground, now) is None
                for name, ground in grounds.items()
            },
        )
        for subject, row in zip(subjects, rows, strict=True)
    ]
    entry = audit_entry(
        services,
        caller,
        action="check-consents",
        decision="allowed",
        purpose=purposes[0] if len(purposes) == 1 else None,
        subjects=tuple([row.pseudonym for row in rows if row is not None]),
        policy=services.policies.active(caller.tenant).version,
    )
    await services.audit_log.append(entry)
    return ConsentCheckResults(
        results=results, checked_at=moment, valid_until=_good_until(moment, rows, results, grounds), audit=entry.id
    )


def _good_until(
    moment: datetime,
    rows: Sequence[StoredSubject | None],
    results: Sequence[ConsentCheckResult],
    grounds: Mapping[str, Ground | None],
) -> datetime:
    """Return the first moment at which a yes may end without anyone doing anything, :data:`GOOD_FOR` at the most.

    Consents expire. Purposes and notices come into force and end with a day (UTC). A no stays safe.
    """
    midnight = datetime.combine(moment.date() + timedelta(days=1), time(), UTC)
    ends = [moment + GOOD_FOR, midnight]
    consents = [name for name, ground in grounds.items() if ground is not None and ground.consent]
    for row, result in zip(rows, results, strict=True):
        yes = [name for name in consents if result.purposes[name]]
        if row is None or row.standing is None or not yes:
            continue
        state = unpack(row.standing)
        limits = (state.purposes[name].valid_until for name in yes)
        ends += [from_microseconds(limit) for limit in limits if limit is not None]
    return min(ends)


def _grounds(
    services: Services, caller: Caller, subjects: Sequence[SubjectId], purposes: Sequence[str]
) -> dict[str, Ground | None]:
    """Return the legal ground of each purpose; None for a purpose that is not in force."""
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
        raise InvalidInput("unknown purposes", faults=faults, code="unknown-purpose")
    day = services.clock.now().date()
    known = [policy_set.purposes[name] for name in purposes]
    return {
        purpose.name: purpose_ground(policy_set, purpose, day) if purpose.in_force(day) else None for purpose in known
    }
