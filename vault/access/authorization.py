"""Steps 2 to 5 of every operation on fields: decide by the policies, and record what they deny.

Permissions on the vault's own resources (``vault:audit``, ``vault:principals`` …) come from the same policies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vault.access.callers import OPERATOR
from vault.errors import Denied, InvalidInput, NotFound, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vault.audit.entry import Action, Entry
    from vault.context import Caller, Services
    from vault.ids import Pseudonym
    from vault.policy.decision import Decision
    from vault.subjects.store import StoredSubject


SUBJECT_NOT_FOUND = Refusal(
    "subject-not-found",
    "There is no such person in this vault, or the person was erased. Check the id, or find the person by search.",
    "the subject",
)


def subject_not_found(*, audit: str | None = None, hint: str | None = None) -> NotFound:
    """Return the error for a subject that does not exist, or no longer; it never says which of the two."""
    return NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code, audit=audit, hint=hint)


async def decide(
    services: Services,
    caller: Caller,
    action: Action,
    purpose: str,
    fields: Sequence[str],
    *,
    verb: str,
    at: str = "/fields",
) -> Decision:
    """Decide an action on fields for a purpose, from the cache or by casbin.

    Args:
        action: the action in the audit log, if the request is invalid.
        verb: the action in the policies: ``read``, ``write`` or ``search``.
        at: JSON pointer to the names in the request, for the faults.

    Raises:
        InvalidInput: the purpose or a field does not exist; recorded before it is raised.
    """
    principal = caller.principal
    decisions = services.policies.active(principal.tenant).decisions
    names = tuple(fields)
    # The key has everything that the decision depends on; new policies come with a cache of their own.
    kept = decisions.cached(principal.roles, purpose, names, verb)
    if kept is not None:
        return kept
    try:
        return await decisions.decide(principal.roles, purpose, names, verb, at=at)
    except InvalidInput as error:
        code = error.faults[0].code if error.faults else error.code
        entry = audit_entry(services, caller, action=action, decision="failed", code=code)
        error.audit = str(await services.audit_log.append_refusal(entry))
        raise


def audit_entry(services: Services, caller: Caller, **facts: Any) -> Entry:
    """Build an audit entry of the caller."""
    principal = caller.principal
    return services.audit_log.entry(
        tenant=principal.tenant,
        principal=principal.id,
        principal_name=caller.name,
        request=caller.request_id,
        **facts,
    )


def whole_names(decision: Decision) -> dict[str, str]:
    """Map each name in the request to its whole name in the audit log."""
    return {asked: view.name for asked, view in decision.views.items()}


def refused_codes(decision: Decision, refused: Mapping[str, Refusal]) -> dict[str, str]:
    """Return refusals in the form of the audit log: whole name to code."""
    names = whole_names(decision)
    return {names[asked]: refusal.code for asked, refusal in refused.items()}


async def require_all(
    services: Services,
    caller: Caller,
    decision: Decision,
    action: Action,
    ground: Refusal | None = None,
    found: StoredSubject | None = None,
) -> None:
    """Deny a whole write or search unless every field is granted and the legal ground holds.

    Args:
        action: the action in the audit log.
        ground: why the legal ground does not hold; None if it does, or if it is checked later.
        found: the subject, if there is one.

    Raises:
        Denied: with the refusal of each field; recorded before it is raised.
    """
    refused = dict(decision.refused)
    if ground is not None and not refused:
        refused = dict.fromkeys(decision.asked, ground)
    if not refused:
        return
    error = denied_fields(refused)
    await record_denial(services, caller, decision, action, error, None if found is None else found.pseudonym)
    raise error


def denied_fields(refused: Mapping[str, Refusal]) -> Denied:
    """Return the error for fields that are refused, before it is recorded."""
    return Denied("some of the fields may not be used in this way", denied=refused)


async def record_denial(
    services: Services, caller: Caller, decision: Decision, action: Action, error: Denied, pseudonym: Pseudonym | None
) -> None:
    """Record which fields were refused, in a transaction of its own; the error then names the entry."""
    entry = audit_entry(
        services,
        caller,
        action=action,
        decision="denied",
        purpose=decision.purpose.name,
        refused=refused_codes(decision, error.denied),
        rule=next(iter(error.denied.values())).rule,
        policy=decision.policy_version,
        subjects=() if pseudonym is None else (pseudonym,),
    )
    error.audit = str(await services.audit_log.append_refusal(entry))


async def require_permission(
    services: Services, caller: Caller, resource: str, verb: str, *, audit_action: Action
) -> None:
    """Require a permission on a resource of the vault itself.

    Raises:
        Denied: no role of the caller has it; recorded before it is raised.
    """
    if caller.principal.id == OPERATOR:
        return  # the operator at the command line has the vault's folder and its root key already
    active = services.policies.active(caller.tenant)
    verdict = active.decisions.may(caller.principal.roles, resource, verb)
    if verdict.granted:
        return
    entry = audit_entry(
        services,
        caller,
        action=audit_action,
        decision="denied",
        code=verdict.code,
        rule=verdict.rule,
        policy=active.version,
    )
    audit = await services.audit_log.append_refusal(entry)
    raise Denied(verdict.detail, code=verdict.code, audit=str(audit))
