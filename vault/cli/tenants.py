"""``cdv tenants``: the controllers that share a vault."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Annotated

import typer

from vault.cli.options import HERE, Json, VaultFolder, examples, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_vault

if TYPE_CHECKING:
    from pathlib import Path

    from vault.bootstrap import Vault

group = make_group(
    "Tenants: brands or companies, each with keys, apps, policies and audit log of its own.",
    "cdv tenants add brand-two",
    "cdv tenants list",
)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="tenants")


@group.command(epilog=examples("cdv tenants add brand-two"))
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Short name: a-z, 0-9, - and _.")],
    vault: VaultFolder = HERE,
    as_json: Json = False,
) -> None:
    """Make a tenant with a copy of the shipped policies, or with those that lie in its folder already."""
    folder = in_vault(vault, lambda opened: _add(opened, name))
    if as_json:
        emit({"tenant": name, "policies": str(folder)})
    else:
        note(f"The tenant is there. Its policies lie in {folder}: edit them, then `cdv policy apply --tenant {name}`.")


@group.command("list", epilog=examples("cdv tenants list"))
def list_tenants(vault: VaultFolder = HERE, as_json: Json = False) -> None:
    """List the tenants."""

    async def work(opened: Vault) -> list[str]:
        return sorted(await opened.house.keyring.tenants())

    found = in_vault(vault, work)
    if as_json:
        emit(found)
    else:
        show_table(("name",), [(each,) for each in found], empty="there are no tenants")


async def _add(vault: Vault, name: str) -> Path:
    from vault.bootstrap import policy_folder, shipped_policies
    from vault.errors import Conflict, InvalidInput
    from vault.governance.tenants import add_tenant
    from vault.ids import TenantId, is_slug
    from vault.policy.policy_set import PolicySet

    if not is_slug(name):  # before it becomes part of a path
        raise InvalidInput("the name of a tenant has 1 to 64 of a-z, 0-9, - and _, and starts and ends with a-z0-9")
    if name in await vault.house.keyring.tenants():
        raise Conflict("there is a tenant of this name already", hint="`cdv tenants list` names them")
    folder = policy_folder(vault.settings, name)
    copied = not folder.exists()
    if copied:
        shutil.copytree(shipped_policies(), folder)
    try:
        await add_tenant(vault.house, TenantId(name), PolicySet.from_folder(folder))
    except Exception:
        if copied:
            shutil.rmtree(folder)
        raise
    return folder
