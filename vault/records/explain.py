"""Explain why an operation on fields is allowed or denied, by step and rule, without performing it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from vault.access.authorization import (
    SUBJECT_NOT_FOUND,
    audit_entry,
    decide,
    refused_codes,
    require_permission,
    whole_names,
)
from vault.access.recording import audited
from vault.consent.legal_ground import RESTRICTED, ground_refusal, subject_refusals
from vault.context import Caller
from vault.ids import RoleName
from vault.records.views import DecisionExplanation, FieldDecision
from vault.retention.filter import kept_back
from vault.subjects.store import SubjectQuery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from vault.context import Services
    from vault.errors import Refusal
    from vault.ids import SubjectId
    from vault.policy.decision import Decision


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

    The answer reveals whether the subject exists only as a read would: for fields that the policies grant and whose
    legal ground holds. For other roles it does so only if the caller may see subjects.

    Raises:
        InvalidInput: an unknown purpose, field or action.
        Denied: the caller may not explain decisions for other roles.
    """
    if roles is not None:
        await require_permission(services, caller, "vault:decisions", "explain", audit_action="explain")
    await services.limits.take(caller.principal, "read", 1)
    asking = caller
    if roles is not None:
        in_roles = replace(caller.principal, roles=tuple(sorted({RoleName(role) for role in roles})))
        asking = Caller(in_roles, caller.request_id)
        decisions = services.policies.active(caller.tenant).decisions
        if not decisions.may(caller.principal.roles, "vault:subjects", "read").granted:
            subject = None  # the caller must not learn about a subject through roles that it does not have
    decision = await decide(services, asking, "explain", purpose, fields, verb=action)
    explained, subjects = await _explain_for(services, caller, decision, subject)
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
    return explained if refusal is None else explained | _refuse_granted(decision, refusal, 7)


def _refuse_granted(decision: Decision, refusal: Refusal, step: int) -> dict[str, FieldDecision]:
    return dict.fromkeys((asked for asked, _view in decision.granted), FieldDecision.of_refusal(refusal, step))


async def _explain_for(
    services: Services, caller: Caller, decision: Decision, subject: SubjectId | None
) -> tuple[dict[str, FieldDecision], tuple[UUID, ...]]:
    """Return the decision for each field, and the pseudonym of the subject if there is one."""
    if subject is None:
        return explain_rules(decision), ()
    explained = {asked: FieldDecision.of_verdict(verdict) for asked, verdict in decision.verdicts.items()}
    (found,) = await services.subjects.find(SubjectQuery(caller.tenant, (subject,), profile=False))
    (refusal,) = subject_refusals(services, caller, decision, [found])
    if refusal is not None:
        step = 6 if refusal.code in {SUBJECT_NOT_FOUND.code, RESTRICTED.code} else 7
        explained |= _refuse_granted(decision, refusal, step)
    elif decision.granted and decision.action in READING:
        withheld = await kept_back(services, caller.tenant, subject, decision)
        explained |= {asked: FieldDecision.of_refusal(refusal, 8) for asked, refusal in withheld.items()}
    return explained, () if found is None else (found.pseudonym,)
