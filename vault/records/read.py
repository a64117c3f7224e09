"""The main job: an app reads the personal fields that it may read, and no others.

The steps are numbered as in the design:

1. The principal is active and its tenant known (the caller was made from it).
2. The purpose exists and is in force; every field and view exists.       }
3. The purpose needs the field.                                           } decided by the policies,
4. A special-category field has an Art. 9(2) condition.                   } kept per policy version
5. casbin grants it; one deny overrides.                                  }
6. The subject exists and is neither erased nor restricted for this purpose.
7. The legal ground holds now.
8. The value is there and its retention has not run out.
9. Unseal, show as the view, append the audit entry, wait until it is durable, and only then answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, decide, refused_codes, whole_names
from vault.access.recording import audited, record_failure
from vault.catalogue.types import encode
from vault.consent.legal_ground import subject_refusals
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, Denied, InvalidInput, NotFound, Refusal
from vault.ids import SubjectId, new_id
from vault.records.read_plan import Plan, opening_of
from vault.records.render import Shown, show_all
from vault.subjects.store import GONE, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.policy.decision import Decision
    from vault.subjects.store import Found

MOST_SUBJECTS = 1_000
MOST_FIELDS = 200
LONGEST_REASON = 500
NOTHING = Plan(None, ())


class ReadAnswer(NamedTuple):
    """What was read, in the order asked for, and the audit entry that says so."""

    results: list[Shown]
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
        subjects: ids; each subject has its place in the answer.
        fields: names of fields and views.
        purpose: why.
        reason: free text for the audit log; it is sealed under each subject's own key.

    Raises:
        InvalidInput: the purpose, a field or the form of the request is unknown.
        Denied: for one subject, not a single field may be shown.
        NotFound: for one subject, there is no such subject for a caller who may know that.
        TooMany: the principal's rate is used up.
        Unavailable: a part did not answer, the audit log above all; nothing was shown.
    """
    _check_form(subjects, fields, reason)
    if not services.limits.try_take(caller.principal, "read", len(subjects)):
        await services.limits.take(caller.principal, "read", len(subjects))
    decision = await decide(services, caller, "read", purpose, fields, verb="read")  # 2-5
    opening = opening_of(services, caller, decision) if decision.granted else NOTHING
    found, keys, results = await _look(
        services, caller, decision, opening, subjects, everybody=reason is not None
    )  # 6-9a
    made = _entry(services, caller, decision, results, found, keys, reason)
    await services.audit_log.append(made)  # 9b: durable before anybody is answered
    if len(results) == 1:
        _refuse_if_nothing_is_left(results[0], str(made.id))
    return ReadAnswer(results, made.id)


async def _look(
    services: Services,
    caller: Caller,
    decision: Decision,
    opening: Plan,
    subjects: Sequence[SubjectId],
    *,
    everybody: bool,
    again: bool = False,
) -> tuple[Sequence[Found | None], Mapping[SubjectId, SubjectKeys], list[Shown]]:
    """Find the subjects and show what may be shown: 6, 7, 8 and the first half of 9.

    A value that does not open may have been sealed anew, by an erasure of a part of what there is of the person, since
    its key was opened here: then everything is fetched once more.
    """
    tenant = caller.principal.tenant
    found = await services.subjects.find(
        Wanted(tenant, tuple(subjects), opening.profile is not None, opening.collections)
    )
    refusals: Sequence[Refusal | None] = (  # 6 and 7; whom the policies refuse learns nothing of anybody
        subject_refusals(services, caller, decision, found) if decision.granted else [SUBJECT_NOT_FOUND] * len(found)
    )
    keys = await _keys(services, caller, _to_open(found, refusals, everybody=everybody))
    try:
        results = await _results(services, caller, decision, opening, subjects, found, refusals, keys)  # 8 and 9a
        return found, keys, results  # noqa: TRY300 - what does not open is found out above
    except CannotOpen as error:
        if again:
            await _note_damage(services, caller, decision, found, error)
            raise
    for each in subjects:
        services.keyring.evict(tenant, each)
    return await _look(services, caller, decision, opening, subjects, everybody=everybody, again=True)


def _check_form(subjects: Sequence[SubjectId], fields: Sequence[str], reason: str | None) -> None:
    if not 1 <= len(subjects) <= MOST_SUBJECTS:
        raise InvalidInput(f"a read is of 1 to {MOST_SUBJECTS:,} subjects", code="too-many-subjects")
    if not 1 <= len(fields) <= MOST_FIELDS or len(set(fields)) != len(fields):
        raise InvalidInput(f"a read names 1 to {MOST_FIELDS} fields, each once", code="invalid-fields")
    if reason is not None and len(reason) > LONGEST_REASON:
        raise InvalidInput(f"a reason has at most {LONGEST_REASON} characters", code="invalid-reason")


def _to_open(found: Sequence[Found | None], refusals: Sequence[Refusal | None], *, everybody: bool) -> list[SubjectId]:
    """Name those whose keys are needed: to show values, and to seal the caller's words about everybody."""
    return [
        each.id
        for each, refusal in zip(found, refusals, strict=True)
        if each is not None and (refusal is None or (everybody and each.state not in GONE))
    ]


async def _keys(services: Services, caller: Caller, present: list[SubjectId]) -> Mapping[SubjectId, SubjectKeys]:
    tenant = caller.principal.tenant
    if not present:
        return {}
    if len(present) == 1:  # the common case, without a detour over the event loop
        kept = services.keyring.cached(tenant, present[0])
        if kept is not None:
            return {present[0]: kept}
    return await services.keyring.subject_keys(tenant, present)


async def _results(
    services: Services,
    caller: Caller,
    decision: Decision,
    opening: Plan,
    subjects: Sequence[SubjectId],
    found: Sequence[Found | None],
    refusals: Sequence[Refusal | None],
    keys: Mapping[SubjectId, SubjectKeys],
) -> list[Shown]:
    """Show who may be shown, and say of all others why not."""
    if opening is NOTHING:
        return [Shown(subject, {}, dict(decision.refused)) for subject in subjects]
    tenant, moment = caller.principal.tenant, services.clock.now()
    people = [
        # Without keys: erased a moment ago, and the row not yet.
        None if refusal is not None or each is None or (own := keys.get(each.id)) is None else (each, own)
        for each, refusal in zip(found, refusals, strict=True)
    ]
    shown = await show_all(services, tenant, decision.purpose, opening, [each for each in people if each], moment)
    if len(shown) == len(subjects) and not decision.refused:
        return shown  # the common case
    there = iter(shown)
    return [
        _denied(decision, subject, refusal) if each is None else _also_refused(next(there), decision.refused)
        for subject, each, refusal in zip(subjects, people, refusals, strict=True)
    ]


def _denied(decision: Decision, subject: SubjectId, refusal: Refusal | None) -> Shown:
    denied = dict.fromkeys((asked for asked, _view in decision.granted), refusal or SUBJECT_NOT_FOUND)
    return Shown(subject, {}, {**denied, **decision.refused})


def _also_refused(shown: Shown, refused: Mapping[str, Refusal]) -> Shown:
    return Shown(shown.subject, shown.values, {**shown.denied, **refused}) if refused else shown


def _entry(
    services: Services,
    caller: Caller,
    decision: Decision,
    results: list[Shown],
    found: Sequence[Found | None],
    keys: Mapping[SubjectId, SubjectKeys],
    reason: str | None,
) -> Any:
    names = whole_names(decision)
    entry_id = new_id()
    shown, refused = _told(decision, results)
    whom = [each for each in found if each is not None]
    lacking = [result for result in results if result.denied]  # of most batches nobody: then nothing more is looked at
    empty = {result.subject for result in lacking if not result.values}
    withheld = empty if len(results) > 1 else ()
    sealed = [] if reason is None else [_seal_reason(keys, caller, each, entry_id, reason) for each in whom]
    return audit_entry(
        services,
        caller,
        id=entry_id,
        action="read",
        decision=_verdict(results, lacking),
        purpose=decision.purpose.name,
        fields=tuple([names[asked] for asked in shown]),
        refused=refused_codes(decision, refused) if refused else {},
        rule=next(iter(refused.values())).rule if refused else None,
        policy=decision.policy_version,
        subjects=tuple([each.pseudonym for each in whom]),
        withheld=tuple([each.pseudonym for each in whom if each.id in withheld]) if withheld else (),
        **_reasons(sealed),
    )


def _told(decision: Decision, results: list[Shown]) -> tuple[Iterable[str], Mapping[str, Refusal]]:
    """Say which fields were shown, of a batch: to anybody; and which were refused, of a batch: for everybody."""
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


def _is_shown(asked: str, result: Shown) -> bool:
    """Tell whether the answer really holds a value that was granted; raw JSON as a whole holds all of them."""
    return asked in result.values if isinstance(result.values, dict) else True


async def _note_damage(
    services: Services, caller: Caller, decision: Decision, found: Sequence[Found | None], error: CannotOpen
) -> None:
    """Write down that a value does not open: somebody has to look after the data, or after who changed it."""
    await record_failure(
        services,
        caller,
        "read",
        error,
        purpose=decision.purpose.name,
        fields=tuple([view.name for _asked, view in decision.granted]),
        subjects=tuple([each.pseudonym for each in found if each is not None]),
        policy=decision.policy_version,
    )


def _verdict(results: list[Shown], lacking: list[Shown]) -> str:
    if not lacking:
        return "allowed"
    return "partly" if any(result.values for result in results) else "denied"


def _seal_reason(
    keys: Mapping[SubjectId, SubjectKeys], caller: Caller, found: Found, entry_id: UUID, reason: str
) -> bytes:
    """Seal the caller's words under the subject's key, so that they go when the subject goes."""
    own = keys.get(found.id)
    if own is None:
        return b""  # an erased person has no key: the words are not kept
    return own.seal("reason", encode(reason), record_aad(caller.principal.tenant, found.id, "audit", entry_id))


def _reasons(sealed: list[bytes]) -> dict[str, Any]:
    if not any(sealed):
        return {}
    return {"reason": sealed[0]} if len(sealed) == 1 else {"reasons": tuple(sealed)}


def _refuse_if_nothing_is_left(result: Shown, audit: str) -> None:
    """Turn an answer without a value into an error, unless all that is missing is simply not there."""
    refusals = result.denied.values()
    if result.values or all(refusal.code in {"no-value", "retention-over"} for refusal in refusals):
        return
    if all(refusal is SUBJECT_NOT_FOUND for refusal in refusals):
        raise NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code, audit=audit)
    raise Denied("none of the fields may be read in this way", denied=result.denied, audit=audit)
