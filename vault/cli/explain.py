"""``cdv policy explain``: why a read is allowed or not, without the read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder
from vault.cli.output import emit, warn
from vault.cli.session import in_tenant

if TYPE_CHECKING:
    from vault.context import House
    from vault.ids import TenantId
    from vault.policy.decisions import Decisions
    from vault.policy.policy_set import PolicySet
    from vault.records.explain import Explained

EXAMPLES = (
    "cdv policy explain --role support --purpose customer-support email email.masked",
    "cdv policy explain --policies policies --role marketing --purpose direct-marketing email",
)


class Action(StrEnum):
    """What can be done with a field."""

    read = "read"
    write = "write"
    search = "search"


class _Question(NamedTuple):
    roles: tuple[str, ...]
    purpose: str
    fields: tuple[str, ...]
    action: str


class _Answer(NamedTuple):
    fields: dict[str, Explained]
    version: str


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
    question = _Question(tuple(sorted(set(role))), purpose, tuple(dict.fromkeys(field)), action.value)
    if policies is None:
        answer = in_tenant(vault, tenant, lambda house, its: _ask_vault(house, its, question))
    else:
        answer = _ask_folder(policies, tenant, question)
    if as_json:
        explained = {asked: each._asdict() for asked, each in answer.fields.items()}
        emit({"fields": explained, "policy_version": answer.version})
    else:
        _show(answer)


async def _ask_vault(house: House, tenant: TenantId, question: _Question) -> _Answer:
    """Ask what is in force, by the operation that the API asks: that is on the audit log."""
    from vault.access.operator import at_the_console
    from vault.records.explain import explain as explain_now

    _check_names(house.policies.active(tenant).policy_set, question)
    told = await explain_now(
        house,
        at_the_console(tenant),
        fields=question.fields,
        purpose=question.purpose,
        action=question.action,
        roles=question.roles,
    )
    return _Answer(told.fields, told.policy_version)


def _ask_folder(folder: Path, tenant: str, question: _Question) -> _Answer:
    """Ask a folder that is in force nowhere: a draft, or a checkout in a pull request."""
    from vault.policy.decisions import Decisions
    from vault.policy.policy_set import PolicySet

    policy_set = PolicySet.from_folder(folder)
    _check_names(policy_set, question)
    return _Answer(_decided(Decisions(policy_set, tenant), question), policy_set.version)


def _decided(decisions: Decisions, question: _Question) -> dict[str, Explained]:
    from vault.consent.lawfulness import ground_refusal
    from vault.records.explain import Explained

    decision = decisions.decide_now(question.roles, question.purpose, question.fields, question.action)
    explained = {
        asked: Explained(each.granted, each.step, each.code, each.detail, each.rule)
        for asked, each in decision.verdicts.items()
    }
    lacking = ground_refusal(decision)
    if lacking is not None:
        refused = Explained(allowed=False, step=7, code=lacking.code, detail=lacking.detail, rule=lacking.rule)
        explained |= dict.fromkeys((asked for asked, _view in decision.granted), refused)
    return explained


def _check_names(policy_set: PolicySet, question: _Question) -> None:
    """Say which name is wrong and which is near it; who types here may see what there is."""
    from vault.catalogue.findings import did_you_mean
    from vault.errors import InvalidInput

    purposes, catalogue, roles = policy_set.purposes, policy_set.catalogue, policy_set.rules.roles
    if question.purpose not in purposes:
        named = f"the purposes are {', '.join(sorted(purposes))}"
        raise InvalidInput("there is no such purpose", hint=did_you_mean(question.purpose, purposes, named))
    for number, name in enumerate(question.fields, start=1):
        if name not in catalogue:
            known = [view.name.removeprefix("profile.").removesuffix(".clear") for view in catalogue.views()]
            hint = did_you_mean(name, known, "catalogue.toml declares the fields and their views")
            raise InvalidInput(f"number {number} of the fields does not exist", hint=hint)
    if not roles.issuperset(question.roles):
        warn(f"the policies do not know every one of these roles; they know: {', '.join(sorted(roles))}")


def _show(answer: _Answer) -> None:
    for asked, each in answer.fields.items():
        colour = typer.colors.GREEN if each.allowed else typer.colors.RED
        word = typer.style("allowed" if each.allowed else "denied", fg=colour, bold=True)
        typer.echo(f"{asked}: {word} at step {each.step} ({each.code})")
        typer.echo(f"    {each.detail}")
        typer.echo(f"    rule: {each.rule}")
