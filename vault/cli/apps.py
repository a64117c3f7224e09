"""``cdv apps``: the apps that may call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vault.cli.keys import App, Expires, show_key
from vault.cli.moments import parse_expiry
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, Yes, examples, make_group
from vault.cli.output import emit, note, show_table, warn
from vault.cli.session import in_tenant
from vault.clock import Clock

if TYPE_CHECKING:
    from vault.context import House
    from vault.ids import TenantId
    from vault.principals.principal import IssuedKey, Principal

group = make_group(
    "Apps that may call the vault: add, list, disable, change roles.",
    "cdv apps add web-shop --role fulfilment",
    "cdv apps list",
)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="apps")


@group.command(epilog=examples("cdv apps add web-shop --role sales --role fulfilment --expires 90d"))
def add(
    name: App,
    role: Annotated[list[str], typer.Option("--role", metavar="ROLE", help="What it may do, as in policy.csv.")],
    expires: Expires = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Register an app and print its first API key, once."""
    ends = parse_expiry(expires, Clock().now())

    async def work(house: House, its: TenantId) -> IssuedKey:
        from vault.governance.tenants import add_app

        _, issued = await add_app(house, its, name, role, expires_at=ends)
        _warn_of_unknown(house, its, role)
        return issued

    show_key(in_tenant(vault, tenant, work), app=name, as_json=as_json)


@group.command("list", epilog=examples("cdv apps list --json"))
def list_apps(vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """List the apps of a tenant with their roles."""

    async def work(house: House, its: TenantId) -> list[Principal]:
        async with house.data.reading() as connection:
            return await house.principals.list_principals(connection, its)

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit([_as_json(each) for each in found])
        return
    rows = [(each.name, " ".join(each.roles), each.state, each.created_at) for each in found]
    show_table(("name", "roles", "state", "made"), rows, empty="there are no apps yet; `cdv apps add` makes one")


@group.command(epilog=examples("cdv apps disable web-shop"))
def disable(name: App, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, yes: Yes = False) -> None:
    """Shut an app out with all of its keys, within seconds."""
    if not yes:
        typer.confirm("Shut the app out with all of its keys?", abort=True, err=True)

    async def work(house: House, its: TenantId) -> None:
        from vault.governance.tenants import disable_app

        await disable_app(house, its, name)

    in_tenant(vault, tenant, work)
    note("The app is disabled.")


@group.command(epilog=examples("cdv apps roles web-shop --role fulfilment --role finance"))
def roles(
    name: App,
    role: Annotated[
        list[str] | None, typer.Option("--role", metavar="ROLE", help="Roles to have instead of those it has.")
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show the roles of an app, or give it others."""

    async def work(house: House, its: TenantId) -> Principal:
        from vault.governance.tenants import set_roles

        if role:
            await set_roles(house, its, name, role)
            _warn_of_unknown(house, its, role)
        async with house.data.reading() as connection:
            return await house.principals.find(connection, its, name)

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit(_as_json(found))
    else:
        typer.echo(" ".join(found.roles))


def _warn_of_unknown(house: House, tenant: TenantId, given: list[str]) -> None:
    """A role may be given before the policies know it, but a slip of the pen should not go unseen."""
    known = house.policies.active(tenant).policy_set.rules.roles
    if not known.issuperset(given):
        warn(f"the policies in force do not know every one of these roles; they know: {', '.join(sorted(known))}")


def _as_json(each: Principal) -> dict[str, Any]:
    return {
        "id": each.id,
        "name": each.name,
        "kind": each.kind,
        "roles": each.roles,
        "state": each.state,
        "created_at": each.created_at,
    }
