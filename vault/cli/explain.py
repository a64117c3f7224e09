"""``cdv policy explain``: why a read is allowed or not, without the read."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder
from vault.cli.screen import emit, warn
from vault.cli.work import in_tenant

if TYPE_CHECKING:
    from vault.ids import TenantId
    from vault.operations.house import House
    from vault.policy.decision import Decision
    from vault.policy.decisions import Decisions

EXAMPLES = (
    "cdv policy explain --role support --purpose customer-support email email.masked",
    "cdv policy explain --policies policies --role marketing --purpose direct-marketing email",
)


class Action(str, Enum):
    """What can be done with a field."""

    read = "read"
    write = "write"
    search = "search"


def explain(
    field: Annotated[list[str], typer.Argument(metavar="FIELD...", help="Fields and views, such as email.masked.")],
    role: Annotated[list[str], typer.Option("--role", metavar="ROLE", help="Role of the caller; may be repeated.")],
    purpose: Annotated[str, typer.Option("--purpose", metavar="PURPOSE", help="What for.")],
    action: Annotated[Action, typer.Option("--action", help="What is to be done.")] = Action.read,
    policies: Annotated[
        Path | None,
        typer.Option("--policies", metavar="DIR", help="A policy folder to ask instead of what is in force."),
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Say why fields may be read for a purpose or not: the step and the rule that decide, and the remedy."""
    asked = tuple(dict.fromkeys(field))

    def answer(decisions: Decisions) -> Decision:
        _check_names(decisions, role, purpose, asked)
        return decisions.decide_now(tuple(sorted(set(role))), purpose, asked, action.value)

    async def work(house: House, its: TenantId) -> Decision:
        return answer(house.policies.active(its).decisions)

    if policies is None:
        decision = in_tenant(vault, tenant, work)
    else:
        from vault.policy.decisions import Decisions
        from vault.policy.policy_set import PolicySet

        decision = answer(Decisions(PolicySet.from_folder(policies), tenant))
    if as_json:
        emit(_as_json(decision))
    else:
        _show(decision)


def _check_names(decisions: Decisions, roles: list[str], purpose: str, fields: tuple[str, ...]) -> None:
    """Say which name is wrong and which is near it; who types here may see what there is."""
    from vault.catalogue.findings import did_you_mean
    from vault.errors import InvalidInput

    policy_set = decisions.policy_set
    if purpose not in policy_set.purposes:
        named = f"the purposes are {', '.join(sorted(policy_set.purposes))}"
        raise InvalidInput("there is no such purpose", hint=did_you_mean(purpose, policy_set.purposes, named))
    for number, name in enumerate(fields, start=1):
        if name not in policy_set.catalogue:
            known = [view.name.removeprefix("profile.").removesuffix(".clear") for view in policy_set.catalogue.views()]
            hint = did_you_mean(name, known, "catalogue.toml declares the fields and their views")
            raise InvalidInput(f"there is no such field or view: the one named at place {number}", hint=hint)
    known_roles = policy_set.rules.roles
    if not known_roles.issuperset(roles):
        warn(f"the policies do not know every one of these roles; they know: {', '.join(sorted(known_roles))}")


def _show(decision: Decision) -> None:
    for asked in decision.asked:
        verdict = decision.verdicts[asked]
        colour = typer.colors.GREEN if verdict.granted else typer.colors.RED
        word = typer.style("allowed" if verdict.granted else "denied", fg=colour, bold=True)
        typer.echo(f"{asked}: {word} ({verdict.code}, step {verdict.step})")
        typer.echo(f"    {'why' if verdict.granted else 'remedy'}: {verdict.detail}")
        typer.echo(f"    rule: {verdict.rule}")
    then = _and_then(decision)
    if then:
        typer.echo(f"Step 7, for each person: {then}")


def _and_then(decision: Decision) -> str | None:
    """Tell what the purpose still asks of the person once the policies have said yes."""
    from vault.consent import ground

    purpose = decision.purpose
    lacking = ground.refusal(purpose.name, purpose.legal_basis, purpose.article9, consented=False)
    if lacking is None or not decision.granted:
        return None
    text = f" to the notice {purpose.notice}" if purpose.notice else ""
    return f"the purpose rests on consent; without the person's{text} nothing is shown ({lacking.code})"


def _as_json(decision: Decision) -> dict[str, Any]:
    return {
        "purpose": decision.purpose.name,
        "legal_basis": decision.purpose.legal_basis,
        "needs_consent": _and_then(decision) is not None,
        "action": decision.action,
        "policy_version": decision.policy_version,
        "fields": {
            asked: {
                "granted": verdict.granted,
                "code": verdict.code,
                "step": verdict.step,
                "rule": verdict.rule,
                "detail": verdict.detail,
            }
            for asked, verdict in decision.verdicts.items()
        },
    }
