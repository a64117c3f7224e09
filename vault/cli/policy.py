"""``cdv policy``: check and apply policy folders, list applied versions, and explain decisions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vault.bootstrap import apply_folders, policy_folder, read_settings
from vault.catalogue.toml_document import did_you_mean
from vault.cli.command import command, make_group
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder
from vault.cli.output import emit, note, show_table, warn
from vault.cli.session import Opener, Session, known_tenant, run
from vault.errors import InvalidInput, Misconfigured, PolicyInvalid
from vault.governance.tenants import apply_policies
from vault.governance.views import PolicyChange, PolicyCheck, PolicyFinding
from vault.policy.decision import Decisions
from vault.policy.policy_set import PolicySet
from vault.records.explain import explain as explain_fields
from vault.records.explain import explain_rules

if TYPE_CHECKING:
    from vault.records.views import FieldDecision

group = make_group(
    "cdv policy check policies",
    "cdv policy apply --vault my-vault",
    "cdv policy explain --role support --purpose customer-support email email.masked",
)


@command(group, "cdv policy check policies")
def check(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A policy folder.", show_default="the vault's, or ./policies"),
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Check a policy folder; lists mistakes with file, line and remedy. Exit status 1 if there are any."""
    policies = _default_folder(vault, tenant) if folder is None else _within(folder)
    try:
        policy_set = PolicySet.from_folder(policies)
    except PolicyInvalid as error:
        _show_findings(policies, error, as_json=as_json)
        raise typer.Exit(1) from None
    if as_json:
        emit(PolicyCheck(version=policy_set.version, findings=[]).as_json())
    else:
        note(f"{policies}: no mistakes. {_counts(policy_set)}")
        note(f"version {policy_set.version}")


@command(group, "cdv policy apply --vault my-vault", "cdv policy apply --tenant brand-two")
def apply(
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    everyone: Annotated[bool, typer.Option("--all", help="Apply the folders of all tenants.")] = False,
    as_json: Json = False,
) -> None:
    """Apply the policies in the vault's folder; all nodes use them within seconds, without a restart."""
    applied = run(_apply(Opener(vault), None if everyone else tenant))
    if as_json:
        emit([{"tenant": name, "version": version, "changed": changed} for name, version, changed in applied])
        return
    for name, version, changed in applied:
        note(f"{name}: {'in force now' if changed else 'in force already'}: {version}")


@command(group, "cdv policy history --vault my-vault")
async def history(session: Session) -> None:
    """List the applied policy versions, the latest first."""
    changes = [
        PolicyChange(version=change.version, applied_at=change.applied_at, by=change.applied_by)
        for change in await session.services.policies.history(session.tenant)
    ]
    if session.as_json:
        emit([change.as_json() for change in changes])
        return
    rows = [
        (change.applied_at, change.by, change.version, "in force" if number == 0 else "")
        for number, change in enumerate(changes)
    ]
    show_table(("applied", "by", "version", ""), rows, empty="no policies were applied yet")


def _default_folder(vault: Path, tenant: str) -> Path:
    """Return the default folder: the vault's policies, or else ./policies."""
    try:
        return policy_folder(read_settings(vault), tenant)
    except Misconfigured:
        if (Path() / "policies").is_dir():
            return Path("policies")
        raise


def _within(folder: Path) -> Path:
    """Return the policies within a vault's folder or a checkout, or else the folder itself."""
    inner = folder / "policies"
    return inner if inner.is_dir() and not (folder / "catalogue.toml").exists() else folder


def _show_findings(folder: Path, error: PolicyInvalid, *, as_json: bool) -> None:
    findings = [PolicyFinding.model_validate(finding) for finding in error.findings]
    if as_json:
        emit(PolicyCheck(version=None, findings=findings).as_json())
        return
    for finding in findings:
        typer.echo(f"{folder / finding.file}:{finding.line}: {finding.message}")
        typer.echo(f"    remedy: {finding.remedy}")
    typer.echo(f"error: {error.detail}", err=True)


def _counts(policy_set: PolicySet) -> str:
    fields = sum(1 for _ in policy_set.catalogue.fields())
    return f"{fields} fields, {len(policy_set.purposes)} purposes, {len(policy_set.rules.rules)} rules."


async def _apply(opener: Opener, tenant: str | None) -> list[tuple[str, str, bool]]:
    async with opener.vault() as session:
        services = session.services
        if tenant is None:
            changes = await apply_folders(session.vault)
            return [(name, services.policies.active(name).version, changes[name]) for name in sorted(changes)]
        known = await known_tenant(services, tenant)
        policy_set = PolicySet.from_folder(policy_folder(session.vault.settings, known))
        return [(known, policy_set.version, await apply_policies(services, known, policy_set))]


class Action(StrEnum):
    """An action on a field."""

    read = "read"
    write = "write"
    search = "search"


class _Question(NamedTuple):
    roles: tuple[str, ...]
    purpose: str
    fields: tuple[str, ...]
    action: str


class _Answer(NamedTuple):
    fields: dict[str, FieldDecision]
    version: str


@command(
    group,
    "cdv policy explain --role support --purpose customer-support email email.masked",
    "cdv policy explain --policies policies --role marketing --purpose direct-marketing email",
)
async def explain(
    opener: Opener,
    field: Annotated[list[str], typer.Argument(metavar="FIELD...", help="Fields and views, such as email.masked.")],
    role: Annotated[list[str], typer.Option("--role", metavar="ROLE", help="Role of the caller; may be repeated.")],
    purpose: Annotated[str, typer.Option("--purpose", metavar="PURPOSE", help="The purpose.")],
    action: Annotated[Action, typer.Option("--action", help="The action.")] = Action.read,
    policies: Annotated[
        Path | None,
        typer.Option("--policies", metavar="DIR", help="A policy folder to use instead of the current policies."),
    ] = None,
) -> None:
    """Explain whether fields may be read for a purpose: the step and rule that decide, and the remedy."""
    question = _Question(tuple(sorted(set(role))), purpose, tuple(dict.fromkeys(field)), action.value)
    if policies is None:
        async with opener.session() as session:
            answer = await _ask_vault(session, question)
    else:
        answer = _ask_folder(policies, opener.tenant, question)
    if opener.as_json:
        explained = {asked: decision.as_json() for asked, decision in answer.fields.items()}
        emit({"fields": explained, "policy_version": answer.version})
    else:
        _show(answer)


async def _ask_vault(session: Session, question: _Question) -> _Answer:
    """Explain by the current policies, with the operation of the API, which is audited."""
    _check_names(session.services.policies.active(session.tenant).policy_set, question)
    explanation = await explain_fields(
        session.services,
        session.caller,
        fields=question.fields,
        purpose=question.purpose,
        action=question.action,
        roles=question.roles,
    )
    return _Answer(explanation.fields, explanation.policy_version)


def _ask_folder(folder: Path, tenant: str, question: _Question) -> _Answer:
    """Explain by the policies in a folder, such as a draft in a pull request."""
    policy_set = PolicySet.from_folder(folder)
    _check_names(policy_set, question)
    decisions = Decisions(policy_set, tenant)
    decision = decisions.decide_now(question.roles, question.purpose, question.fields, question.action)
    return _Answer(explain_rules(decision), policy_set.version)


def _check_names(policy_set: PolicySet, question: _Question) -> None:
    """Check the names, and suggest similar ones; the operator may see all of them."""
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
        warn(f"some roles are not in the policies, which have: {', '.join(sorted(roles))}")


def _show(answer: _Answer) -> None:
    for asked, each in answer.fields.items():
        colour = typer.colors.GREEN if each.allowed else typer.colors.RED
        word = typer.style("allowed" if each.allowed else "denied", fg=colour, bold=True)
        typer.echo(f"{asked}: {word} at step {each.step} ({each.code})")
        typer.echo(f"    {each.detail}")
        typer.echo(f"    rule: {each.rule}")
