"""Steps 2 to 5 of every operation on fields: ask the policies, keep what they say, write down what they refuse.

Rights on the vault's own resources (``vault:audit``, ``vault:principals`` …), by the same policies as fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vault.access.callers import OPERATOR
from vault.errors import Denied, InvalidInput, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vault.audit.entry import Action, Entry
    from vault.context import Caller, Services
    from vault.policy.decision import Decision
    from vault.subjects.store import Found


SUBJECT_NOT_FOUND = Refusal(
    "subject-not-found",
    "There is no such person in this vault, or no longer. Check the id, or find the person by search.",
    "the subject",
)


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
    """Decide an action on fields for a purpose, from what is kept or by asking casbin.

    Args:
        action: what the audit log calls it, should the request itself be invalid.
        verb: what the policies call it: ``read``, ``write`` or ``search``.
        at: JSON pointer to the names in the request, for the faults.

    Raises:
        InvalidInput: the purpose or a field does not exist; that is on the audit log before it is raised.
    """
    principal = caller.principal
    decisions = services.policies.active(principal.tenant).decisions
    names = tuple(fields)
    kept = decisions.cached(principal.roles, purpose, names, verb)
    if kept is not None:
        return kept
    try:
        return await decisions.decide(principal.roles, purpose, names, verb, at=at)
    except InvalidInput as error:
        code = error.faults[0].code if error.faults else error.code
        made = audit_entry(services, caller, action=action, decision="failed", code=code)
        await services.audit_log.append(made)
        error.audit = str(made.id)
        raise


def audit_entry(services: Services, caller: Caller, **facts: Any) -> Entry:
    """Make an audit entry of the caller's."""
    principal = caller.principal
    return services.audit_log.entry(
        tenant=principal.tenant,
        principal=principal.id,
        principal_name=principal.name,
        request=caller.request_id,
        **facts,
    )


def whole_names(decision: Decision) -> dict[str, str]:
    """Map each name as asked to the whole name under which it goes on the audit log."""
    return {asked: view.name for asked, view in decision.views.items()}


def refused_codes(decision: Decision, refused: Mapping[str, Refusal]) -> dict[str, str]:
    """Write refusals the way the audit log keeps them: whole name to code."""
    names = whole_names(decision)
    return {names[asked]: refusal.code for asked, refusal in refused.items()}


async def require_all(
    services: Services,
    caller: Caller,
    decision: Decision,
    action: Action,
    lacking: Refusal | None = None,
    found: Found | None = None,
) -> None:
    """Refuse the whole of a write or search unless every field is granted and nothing else stands against it.

    Args:
        decision: what the policies say.
        action: what the audit log calls it.
        lacking: why the legal ground does not hold; none where it does, or where that is found out later.
        found: the person, if it is about one.

    Raises:
        Denied: with the refusal of each field; it is on the audit log before it is raised.
    """
    refused = dict(decision.refused)
    if lacking is not None and not refused:
        refused = dict.fromkeys(decision.asked, lacking)
    if not refused:
        return
    made = audit_entry(
        services,
        caller,
        action=action,
        decision="denied",
        purpose=decision.purpose.name,
        refused=refused_codes(decision, refused),
        rule=next(iter(refused.values())).rule,
        policy=decision.policy_version,
        subjects=() if found is None else (found.pseudonym,),
    )
    await services.audit_log.append(made)
    raise Denied("some of the fields may not be used in this way", denied=refused, audit=str(made.id))


async def require_permission(
    services: Services, caller: Caller, resource: str, verb: str, *, audit_action: Action
) -> None:
    """Go on only where a role of the caller's has a right on a resource of the vault itself.

    The command line is asked for none: whoever uses it holds the vault's folder and its root key.

    Raises:
        Denied: no role has it; that is on the audit log before it is raised.
    """
    if caller.principal.id == OPERATOR:
        return
    active = services.policies.active(caller.tenant)
    verdict = active.decisions.may(caller.principal.roles, resource, verb)
    if verdict.granted:
        return
    made = audit_entry(
        services,
        caller,
        action=audit_action,
        decision="denied",
        code=verdict.code,
        rule=verdict.rule,
        policy=active.version,
    )
    await services.audit_log.append(made)
    raise Denied(verdict.detail, code=verdict.code, audit=str(made.id))
