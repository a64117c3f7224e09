"""Say why a read is allowed or not, step by step, without reading: the way to put a denial right."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

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
from vault.retention.filter import kept_back
from vault.subjects.store import Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from vault.context import Services
    from vault.errors import Refusal
    from vault.ids import SubjectId
    from vault.policy.decision import Decision


LOOKING: Final = frozenset({"read", "search"})
"""What is done with values that are there, and so is stopped by their end and by a hold."""


class Explained(NamedTuple):
    """The answer for one field: whether, at which step of a read it was decided, by which rule, and the remedy."""

    allowed: bool
    step: int
    code: str
    detail: str
    rule: str


class Explanation(NamedTuple):
    """The answer for all fields under one version of the policies."""

    fields: dict[str, Explained]
    policy_version: str
    audit: UUID


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
) -> Explanation:
    """Explain what a request would be answered, for the caller's own roles or, with the right to it, for others.

    Whether the subject exists is told only of fields that the policies grant and whose legal ground holds: to the
    same callers as a read would tell it. Who asks for other roles is told of the subject only with a right of its own
    to see subjects.

    Raises:
        InvalidInput: an unknown purpose, field or action.
        Denied: other roles were asked about without the right to it.
    """
    if roles is not None:
        await require_permission(services, caller, "vault:decisions", "explain", audit_action="explain")
    await services.limits.take(caller.principal, "read", 1)
    asking = caller if roles is None else _in_roles(caller, roles)
    decision = await decide(services, asking, "explain", purpose, fields, verb=action)
    if roles is not None and not _may_see_subjects(services, caller):
        subject = None  # what the other roles may know of a person is not for this caller to learn
    explained, found = await _explained(services, caller, decision, subject)
    names = whole_names(decision)
    made = audit_entry(
        services,
        caller,
        action="explain",
        decision="allowed",
        purpose=decision.purpose.name,
        fields=tuple(names.values()),
        refused=refused_codes(decision, decision.refused),
        policy=decision.policy_version,
        subjects=found,
    )
    await services.audit_log.append(made)
    return Explanation(explained, decision.policy_version, made.id)


def _may_see_subjects(services: Services, caller: Caller) -> bool:
    decisions = services.policies.active(caller.tenant).decisions
    return decisions.may(caller.principal.roles, "vault:subjects", "read").granted


def _in_roles(caller: Caller, roles: Sequence[str]) -> Caller:
    return Caller(replace(caller.principal, roles=tuple(sorted({RoleName(role) for role in roles}))), caller.request_id)


async def _explained(
    services: Services, caller: Caller, decision: Decision, subject: SubjectId | None
) -> tuple[dict[str, Explained], tuple[UUID, ...]]:
    explained = {
        asked: Explained(each.granted, each.step, each.code, each.detail, each.rule)
        for asked, each in decision.verdicts.items()
    }
    pseudonyms: tuple[UUID, ...] = ()
    refusal = ground_refusal(decision)
    if subject is not None:
        (found,) = await services.subjects.find(Wanted(caller.tenant, (subject,), profile=False))
        pseudonyms = () if found is None else (found.pseudonym,)
        (refusal,) = subject_refusals(services, caller, decision, [found])
    step = 6 if refusal is not None and refusal.code in {SUBJECT_NOT_FOUND.code, RESTRICTED.code} else 7
    if refusal is not None:
        explained |= dict.fromkeys((asked for asked, _view in decision.granted), _told(refusal, step))
    elif subject is not None and decision.granted and decision.action in LOOKING:
        over = await kept_back(services, caller.tenant, subject, decision)
        explained |= {asked: _told(each, 8) for asked, each in over.items()}
    return explained, pseudonyms


def _told(refusal: Refusal, step: int) -> Explained:
    return Explained(allowed=False, step=step, code=refusal.code, detail=refusal.detail, rule=refusal.rule)
