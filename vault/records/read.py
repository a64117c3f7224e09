"""Read fields of subjects: an app gets the personal fields that it may read, and no others.

The steps are numbered as in the design:

1. The principal is active and its tenant known (the caller is made from it).
2. The purpose exists and is in force; every field and view exists.       }
3. The purpose needs the field.                                           } decided by the policies,
4. A special-category field has an Art. 9(2) condition.                   } cached per policy version
5. casbin grants it; one deny overrides.                                  }
6. The subject exists and is neither erased nor restricted for this purpose.
7. The legal ground holds now.
8. The value exists, its retention has not ended, and no hold keeps it for another purpose.
9. Unseal, show as the view, append the audit entry, wait until it is durable, and only then answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from vault.access.authorization import (
    SUBJECT_NOT_FOUND,
    audit_entry,
    decide,
    refused_codes,
    require_permission,
    subject_not_found,
    whole_names,
)
from vault.access.recording import audited, record_failure
from vault.catalogue.types import encode
from vault.consent.legal_ground import RESTRICTED, ground_refusal, subject_refusals
from vault.context import Caller
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, Denied, InvalidInput, Refusal, SubjectMerged
from vault.ids import RoleName, SubjectId, new_id
from vault.records.render import SubjectAnswer, plan_of, show_all
from vault.records.views import DecisionExplanation, FieldDecision, SubjectState
from vault.retention.filter import kept_back
from vault.subjects.store import GONE, SubjectQuery, merged_into

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from vault.audit.entry import Entry
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.policy.decision import Decision
    from vault.records.render import Plan
    from vault.subjects.store import StoredSubject


MOST_SUBJECTS = 1_000
MOST_FIELDS = 200
LONGEST_REASON = 500


@dataclass(slots=True)
class _Read:
    """One read: who reads which fields of which subjects, and what the policies decide about it."""

    services: Services
    caller: Caller
    decision: Decision
    plan: Plan
    subjects: Sequence[SubjectId]
    reason: str | None


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What is shown of each subject, in the order of the request, and the id of the audit entry."""

    results: list[SubjectAnswer]
    audit: UUID


@audited("read")
async def read_fields(
    services: Services,
    caller: Caller,
    *,
    subjects: Sequence[SubjectId],
    fields: Sequence[str],
    purpose: str,
    reason: str | None = None,
) -> ReadAnswer:
    """Read fields of one to 1,000 subjects for a purpose.

    Args:
        subjects: ids; the answer has the same order.
        fields: names of fields and views.
        reason: free text for the audit log; it is sealed under each subject's own key.

    Raises:
        InvalidInput: the request is invalid, or names an unknown purpose or field.
        Denied: for one subject, no field may be shown.
        NotFound: for one subject, it does not exist and the caller may know that.
        TooMany: the principal's rate limit is reached.
        Unavailable: a service does not answer, such as the audit log; nothing is shown.
    """
    if not 1 <= len(subjects) <= MOST_SUBJECTS:
        raise InvalidInput(f"a read names 1 to {MOST_SUBJECTS:,} subjects", code="too-many-subjects")
    if not 1 <= len(fields) <= MOST_FIELDS or len(set(fields)) != len(fields):
        raise InvalidInput(f"a read names 1 to {MOST_FIELDS} fields, each once", code="invalid-fields")
    if reason is not None and len(reason) > LONGEST_REASON:
        raise InvalidInput(f"a reason has at most {LONGEST_REASON} characters", code="invalid-reason")
    # Counted by subjects and not by calls: a batch of 1,000 reads out as much as 1,000 calls.
    if not services.limits.try_take(caller.principal, "read", len(subjects)):
        await services.limits.take(caller.principal, "read", len(subjects))
    decision = await decide(services, caller, "read", purpose, fields, verb="read")  # 2-5
    read = _Read(services, caller, decision, plan_of(services, caller, decision), subjects, reason)
    found, keys, results = await _show(read)  # 6-9a
    entry = _entry(read, results, found, keys)
    append = services.audit_log.append if decision.granted else services.audit_log.append_refusal
    audit = await append(entry)  # 9b: durable before the answer is sent
    if len(results) == 1:
        _raise_if_nothing_is_shown(results[0], str(audit))
    return ReadAnswer(results, audit)


async def _show(
    read: _Read, *, retried: bool = False
) -> tuple[Sequence[StoredSubject | None], Mapping[SubjectId, SubjectKeys], list[SubjectAnswer]]:
    """Find the subjects and show what may be shown: steps 6, 7, 8 and the first half of 9."""
    services, plan, tenant = read.services, read.plan, read.caller.principal.tenant
    found = await services.subjects.find(
        SubjectQuery(tenant, tuple(read.subjects), plan.profile is not None, plan.collections)
    )
    refusals: Sequence[Refusal | None] = (  # 6 and 7; a caller whom the policies refuse learns nothing of any subject
        subject_refusals(services, read.caller, read.decision, found)
        if read.decision.granted
        else [SUBJECT_NOT_FOUND] * len(found)
    )
    to_open = [  # keys are needed to show values, and to seal the reason
        subject.id
        for subject, refusal in zip(found, refusals, strict=True)
        if subject is not None and (refusal is None or (read.reason is not None and subject.state not in GONE))
    ]
    keys = await _keys(services, tenant, to_open)
    try:
        results = await _results(read, found, refusals, keys)  # 8 and 9a
        return found, keys, results  # noqa: TRY300 - only the line above can raise
    except CannotOpen as error:
        if retried:
            await _record_damage(read, found, error)
            raise
    # A partial erasure may have resealed the values since the keys were cached: fetch everything once more.
    # All of them: which value did not open is not known here, and a batch is rarely repeated.
    for subject in read.subjects:
        services.keyring.evict(tenant, subject)
    return await _show(read, retried=True)


async def _keys(services: Services, tenant: TenantId, subjects: list[SubjectId]) -> Mapping[SubjectId, SubjectKeys]:
    if not subjects:
        return {}
    if len(subjects) == 1:  # the common case, without a round trip through the event loop
        cached = services.keyring.cached(tenant, subjects[0])
        if cached is not None:
            return {subjects[0]: cached}
    return await services.keyring.subject_keys(tenant, subjects)


async def _results(
    read: _Read,
    found: Sequence[StoredSubject | None],
    refusals: Sequence[Refusal | None],
    keys: Mapping[SubjectId, SubjectKeys],
) -> list[SubjectAnswer]:
    """Show the subjects that may be shown, and say why the others may not."""
    services, decision, subjects = read.services, read.decision, read.subjects
    if not decision.granted:
        return [SubjectAnswer(subject, {}, dict(decision.refused)) for subject in subjects]
    tenant, moment = read.caller.principal.tenant, services.clock.now()
    to_show = [
        # A subject that is being erased has no keys: they are destroyed before the row.
        None
        if refusal is not None or subject is None or (subject_keys := keys.get(subject.id)) is None
        else (subject, subject_keys)
        for subject, refusal in zip(found, refusals, strict=True)
    ]
    # One moment for the whole answer, so that two values with one end are both shown, or neither.
    shown = await show_all(services, tenant, read.plan, [pair for pair in to_show if pair], moment)
    if len(shown) == len(subjects) and not decision.refused:
        return shown  # the common case
    answers = iter(shown)
    granted = [asked for asked, _view in decision.granted]
    results = []
    for subject, pair, refusal in zip(subjects, to_show, refusals, strict=True):
        if pair is None:
            answer = SubjectAnswer(subject, {}, dict.fromkeys(granted, refusal or SUBJECT_NOT_FOUND))
        else:
            answer = next(answers)
        if decision.refused:
            answer = SubjectAnswer(subject, answer.values, {**answer.denied, **decision.refused})
        results.append(answer)
    return results


def _entry(
    read: _Read,
    results: list[SubjectAnswer],
    found: Sequence[StoredSubject | None],
    keys: Mapping[SubjectId, SubjectKeys],
) -> Entry:
    decision, reason = read.decision, read.reason
    names = whole_names(decision)
    entry_id = new_id()
    shown, refused = _shown_and_refused(decision, results)
    subjects = [subject for subject in found if subject is not None]
    incomplete = [result for result in results if result.denied]  # empty for most batches
    empty = {result.subject for result in incomplete if not result.values}
    # Of one subject the decision says it already.
    withheld = empty if len(results) > 1 else ()
    sealed: list[bytes] = []
    if reason is not None:  # sealed under each subject's own key, so that the erasure of the subject erases it too
        tenant, plain = read.caller.principal.tenant, encode(reason)
        sealed = [
            # An erased subject has no key: the reason is not stored.
            subject_keys.seal("reason", plain, record_aad(tenant, subject.id, "audit", entry_id))
            if (subject_keys := keys.get(subject.id)) is not None
            else b""
            for subject in subjects
        ]
    reasons: dict[str, Any] = {}
    if any(sealed):
        reasons = {"reason": sealed[0]} if len(sealed) == 1 else {"reasons": tuple(sealed)}
    return audit_entry(
        read.services,
        read.caller,
        id=entry_id,
        action="read",
        decision="allowed" if not incomplete else "partly" if any(result.values for result in results) else "denied",
        purpose=decision.purpose.name,
        fields=tuple([names[asked] for asked in shown]),
        refused=refused_codes(decision, refused) if refused else {},
        rule=next(iter(refused.values())).rule if refused else None,
        policy=decision.policy_version,
        subjects=tuple([subject.pseudonym for subject in subjects]),
        withheld=tuple([subject.pseudonym for subject in subjects if subject.id in withheld]) if withheld else (),
        **reasons,
    )


def _shown_and_refused(decision: Decision, results: list[SubjectAnswer]) -> tuple[Iterable[str], Mapping[str, Refusal]]:
    """Return the fields that are shown and those that are refused; in a batch, shown for any and refused for all."""
    if len(results) == 1:
        return [asked for asked, _view in decision.granted if _is_shown(asked, results[0])], results[0].denied
    shown = [
        asked
        for asked, _view in decision.granted
        if any(_is_shown(asked, result) for result in results if result.values)
    ]
    first, *others = results
    refused = {
        asked: refusal
        for asked, refusal in first.denied.items()
        if asked not in shown and all(result.denied.get(asked) is refusal for result in others)
    }
    return shown, refused


def _is_shown(asked: str, result: SubjectAnswer) -> bool:
    """Return whether the answer has the value of a granted field; one raw JSON object has all of them."""
    return asked in result.values if isinstance(result.values, dict) else True


async def _record_damage(read: _Read, found: Sequence[StoredSubject | None], error: CannotOpen) -> None:
    """Record that a value does not open: the data or the keys are damaged, or were changed by others."""
    decision = read.decision
    await record_failure(
        read.services,
        read.caller,
        "read",
        error,
        purpose=decision.purpose.name,
        fields=tuple([view.name for _asked, view in decision.granted]),
        subjects=tuple([subject.pseudonym for subject in found if subject is not None]),
        policy=decision.policy_version,
    )


def _raise_if_nothing_is_shown(result: SubjectAnswer, audit: str) -> None:
    """Turn an answer without a value into an error, unless the subject just has none of the values."""
    refusals = result.denied.values()
    if result.values or all(refusal.code in {"no-value", "retention-over"} for refusal in refusals):
        return
    if all(refusal is SUBJECT_NOT_FOUND for refusal in refusals):
        raise subject_not_found(audit=audit)
    raise Denied("none of the fields may be read in this way", denied=result.denied, audit=audit)


@audited("read")
async def subject_state(services: Services, caller: Caller, subject: SubjectId) -> SubjectState:
    """Return a subject's state and the revision of its profile (for ``If-Match``).

    Raises:
        Denied: the caller may not see subjects.
        NotFound: there is no such subject, or it is erased.
        SubjectMerged: it was merged into another.
    """
    await require_permission(services, caller, "vault:subjects", "read", audit_action="read")
    (found,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
    revision = await services.subjects.profile_revision(caller.tenant, subject)
    exists = found is not None and found.state not in GONE and revision is not None
    into = None
    if found is not None and not exists:
        async with services.data.reading() as connection:
            into = await merged_into(connection, caller.tenant, subject)
    entry = audit_entry(
        services,
        caller,
        action="read",
        decision="allowed" if exists else "denied",
        code=None if exists else SUBJECT_NOT_FOUND.code if into is None else SubjectMerged.code,
        subjects=() if found is None else (found.pseudonym,),
    )
    await services.audit_log.append(entry)
    if into is not None:
        raise SubjectMerged(into, audit=str(entry.id))
    if found is None or revision is None or not exists:
        raise subject_not_found(audit=str(entry.id))
    return SubjectState(id=found.id, state=found.state, revision=revision)


READING: Final = frozenset({"read", "search"})
"""Actions on stored values, which the end of a value and a hold can stop."""


@audited("explain")
async def explain(
    services: Services,
    caller: Caller,
    *,
    fields: Sequence[str],
    purpose: str,
    action: str = "read",
    subject: SubjectId | None = None,
    roles: Sequence[str] | None = None,
) -> DecisionExplanation:
    """Explain what a request would be answered, for the caller's roles or for others.

    Of a subject, the answer for the caller's own roles reveals as much as a read would. For other roles it reveals what
    the caller may learn by a right of its own (:class:`_Learnable`); otherwise, what the policies decide for all.

    Raises:
        InvalidInput: an unknown purpose, field or action.
        Denied: the caller may not explain decisions for other roles.
    """
    if roles is not None:
        await require_permission(services, caller, "vault:decisions", "explain", audit_action="explain")
    asking = caller
    if roles is not None:
        in_roles = replace(caller.principal, roles=tuple(sorted({RoleName(role) for role in roles})))
        asking = Caller(in_roles, caller.request_id)
    decision = await decide(services, asking, "explain", purpose, fields, verb=action)
    learnable = _Learnable(frozenset(decision.asked))
    if roles is not None and subject is not None:
        own = await decide(services, caller, "explain", purpose, fields, verb=action)
        learnable = _Learnable.by_rights(services, caller, own)
    explained, subjects = await _explain_for(services, caller, decision, subject, learnable)
    names = whole_names(decision)
    entry = audit_entry(
        services,
        caller,
        action="explain",
        decision="allowed",
        purpose=decision.purpose.name,
        fields=tuple(names.values()),
        refused=refused_codes(decision, decision.refused),
        policy=decision.policy_version,
        subjects=subjects,
    )
    await services.audit_log.append(entry)
    return DecisionExplanation(fields=explained, policy_version=decision.policy_version, audit=entry.id)


def explain_rules(decision: Decision) -> dict[str, FieldDecision]:
    """Explain what the policies and the legal ground decide for every field, whichever the subject."""
    explained = {asked: FieldDecision.of_verdict(verdict) for asked, verdict in decision.verdicts.items()}
    refusal = ground_refusal(decision)
    if refusal is not None:
        explained |= dict.fromkeys((asked for asked, _view in decision.granted), FieldDecision.of_refusal(refusal, 7))
    return explained


NO_LEGAL_GROUND: Final = Refusal(
    "no-legal-ground",
    "The legal ground for this purpose does not hold for this person now. Ask someone who may read consents why.",
    "the legal ground",
)


@dataclass(frozen=True, slots=True)
class _Learnable:
    """What a caller may learn about a subject from the explanation of a decision, because other calls answer it too.

    Attributes:
        own: the fields that the caller's own roles are granted: for these its own call would be answered the same.
        check: it may check consents, which tells whether the legal ground holds, and not why.
        consents: it may read consents, which tells why, unless the subject is erased.
        retention: it may read until when values are kept, which tells of holds, of ends, and of what is retained of
            erased subjects.
    """

    own: frozenset[str]
    check: bool = False
    consents: bool = False
    retention: bool = False

    @classmethod
    def by_rights(cls, services: Services, caller: Caller, own: Decision) -> _Learnable:
        """Return what a caller may learn for roles that are not its own; ``own`` is the decision for its own."""
        may = partial(services.policies.active(caller.tenant).decisions.may, caller.principal.roles)
        return cls(
            own=frozenset(asked for asked, _view in own.granted),
            check=may("vault:consents", "check").granted,
            consents=may("vault:consents", "read").granted,
            retention=may("vault:retention", "read").granted,
        )

    @property
    def ground(self) -> bool:
        """Whether it may learn anything of the legal ground for fields that its own roles are not granted."""
        return self.check or self.consents


async def _explain_for(
    services: Services, caller: Caller, decision: Decision, subject: SubjectId | None, learnable: _Learnable
) -> tuple[dict[str, FieldDecision], tuple[UUID, ...]]:
    """Return the decision for each field, and the pseudonym of the subject if there is one and it was considered."""
    explained = explain_rules(decision)
    known = [asked for asked, _view in decision.granted if learnable.ground or asked in learnable.own]
    if subject is None or not (known or learnable.own):
        return explained, ()
    (found,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
    (refusal,) = subject_refusals(services, caller, decision, [found])
    for asked in known:
        why = refusal if asked in learnable.own else _learnable_refusal(services, caller, decision, learnable, found)
        explained[asked] = (
            FieldDecision.of_verdict(decision.verdicts[asked])
            if why is None
            else FieldDecision.of_refusal(why, 6 if why.code in {SUBJECT_NOT_FOUND.code, RESTRICTED.code} else 7)
        )
    if refusal is None and decision.action in READING:
        values = [asked for asked in known if learnable.retention or asked in learnable.own]
        withheld = await kept_back(services, caller.tenant, subject, decision) if values else {}
        explained |= {asked: FieldDecision.of_refusal(withheld[asked], 8) for asked in values if asked in withheld}
    return explained, () if found is None else (found.pseudonym,)


def _learnable_refusal(
    services: Services, caller: Caller, decision: Decision, learnable: _Learnable, found: StoredSubject | None
) -> Refusal | None:
    """Return what a caller may learn of steps 6 and 7 for fields that its own roles are not granted."""
    (refusal,) = subject_refusals(services, caller, decision, [found])
    if learnable.check and refusal is None:
        return None
    if not learnable.consents:
        return NO_LEGAL_GROUND  # one answer for every reason, as a check of consents has
    hidden = found is not None and found.state in GONE and not learnable.retention
    (refusal,) = subject_refusals(services, caller, decision, [None if hidden else found])
    return refusal
