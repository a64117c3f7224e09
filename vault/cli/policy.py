"""``cdv policy``: check, apply and look back on the policy folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vault.cli import explain
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant, in_vault, known_tenant
from vault.errors import Misconfigured, PolicyInvalid

if TYPE_CHECKING:
    from vault.bootstrap import Vault
    from vault.context import House
    from vault.ids import TenantId
    from vault.policy.policy_set import Finding, PolicySet
    from vault.policy.store import Change

group = make_group(
    "Policies: check a folder, put it into force, explain what it says.",
    "cdv policy check policies",
    "cdv policy apply --vault my-vault",
    "cdv policy explain --role support --purpose customer-support email email.masked",
)


def register(app: typer.Typer) -> None:
    """Add the group."""
    group.command(epilog=examples(*explain.EXAMPLES))(explain.explain)
    app.add_typer(group, name="policy")


@group.command(epilog=examples("cdv policy check policies"))
def check(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A policy folder.", show_default="the vault's, or ./policies"),
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Say what is wrong in a policy folder, with file, line and remedy; exit status 1 if anything is."""
    from vault.policy.policy_set import PolicySet

    where = _folder_at_hand(vault, tenant) if folder is None else _within(folder)
    try:
        found = PolicySet.from_folder(where)
    except PolicyInvalid as error:
        _show_findings(where, error, as_json=as_json)
        raise typer.Exit(1) from None
    if as_json:
        emit({"version": found.version, "findings": []})
    else:
        note(f"{where}: no mistakes. {_counts(found)}")
        note(f"version {found.version}")


@group.command(epilog=examples("cdv policy apply --vault my-vault", "cdv policy apply --tenant brand-two"))
def apply(
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    everyone: Annotated[bool, typer.Option("--all", help="Apply the folders of all tenants.")] = False,
    as_json: Json = False,
) -> None:
    """Put the policies in the vault's folder into force, on every node within seconds and without a restart."""
    applied = in_vault(vault, lambda opened: _apply(opened, None if everyone else tenant))
    if as_json:
        emit([{"tenant": name, "version": version, "changed": changed} for name, version, changed in applied])
        return
    for name, version, changed in applied:
        note(f"{name}: {'in force now' if changed else 'in force already'}: {version}")


@group.command(epilog=examples("cdv policy history --vault my-vault"))
def history(vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """List the policy versions that were put into force, the latest first."""

    async def work(house: House, its: TenantId) -> list[Change]:
        return await house.policies.history(its)

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit([{"version": each.version, "applied_at": each.applied_at, "by": each.applied_by} for each in found])
        return
    rows = [
        (each.applied_at, each.applied_by, each.version, "in force" if number == 0 else "")
        for number, each in enumerate(found)
    ]
    show_table(("applied", "by", "version", ""), rows, empty="nothing was applied yet")


def _folder_at_hand(vault: Path, tenant: str) -> Path:
    """Find the policies that are likely meant: those of the vault, or else those of a checkout."""
    from vault.bootstrap import policy_folder, read_settings

    try:
        return policy_folder(read_settings(vault), tenant)
    except Misconfigured:
        if (Path() / "policies").is_dir():
            return Path("policies")
        raise


def _within(folder: Path) -> Path:
    """Take a vault's folder, or a checkout, to mean the policies in it."""
    inner = folder / "policies"
    return inner if inner.is_dir() and not (folder / "catalogue.toml").exists() else folder


def _show_findings(where: Path, error: PolicyInvalid, *, as_json: bool) -> None:
    findings: tuple[Finding, ...] = error.findings  # type: ignore[assignment]
    if as_json:
        keys = ("file", "line", "code", "message", "remedy")
        emit({"version": None, "findings": [{key: getattr(each, key) for key in keys} for each in findings]})
        return
    for each in findings:
        typer.echo(f"{where / each.file}:{each.line}: {each.message}")
        typer.echo(f"    remedy: {each.remedy}")
    typer.echo(f"error: {error.detail}", err=True)


def _counts(found: PolicySet) -> str:
    fields = sum(1 for _ in found.catalogue.fields())
    return f"{fields} fields, {len(found.purposes)} purposes, {len(found.rules.rules)} rules."


async def _apply(vault: Vault, tenant: str | None) -> list[tuple[str, str, bool]]:
    from vault.bootstrap import apply_folders, policy_folder
    from vault.governance.tenants import apply_policies
    from vault.policy.policy_set import PolicySet

    policies = vault.house.policies
    if tenant is None:
        changes = await apply_folders(vault)
        return [(name, policies.active(name).version, changed) for name, changed in sorted(changes.items())]
    its = await known_tenant(vault.house, tenant)
    policy_set = PolicySet.from_folder(policy_folder(vault.settings, its))
    return [(its, policy_set.version, await apply_policies(vault.house, its, policy_set))]
