"""``cdv apps``: the apps that may call.

``cdv keys``: the API keys of apps, and the keys by which the vault signs.

``cdv tenants``: the controllers that share a vault.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID  # noqa: TC003 - typer reads the annotations

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, Yes, examples, make_group, parse_expiry
from vault.cli.output import emit, note, show_table, warn
from vault.cli.session import in_tenant, in_vault
from vault.clock import Clock
from vault.ids import KeyId

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from vault.bootstrap import Vault
    from vault.context import Services
    from vault.crypto.signing import PublicKey
    from vault.ids import TenantId
    from vault.principals.principal import IssuedKey, KeyInfo, Principal


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

    async def work(services: Services, its: TenantId) -> IssuedKey:
        from vault.governance.tenants import add_app

        _, issued = await add_app(services, its, name, role, expires_at=ends)
        _warn_of_unknown(services, its, role)
        return issued

    show_key(in_tenant(vault, tenant, work), app=name, as_json=as_json)


@group.command("list", epilog=examples("cdv apps list --json"))
def list_apps(vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """List the apps of a tenant with their roles."""

    async def work(services: Services, its: TenantId) -> list[Principal]:
        async with services.data.reading() as connection:
            return await services.principals.list_principals(connection, its)

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

    async def work(services: Services, its: TenantId) -> None:
        from vault.governance.tenants import disable_app

        await disable_app(services, its, name)

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

    async def work(services: Services, its: TenantId) -> Principal:
        from vault.governance.tenants import set_roles

        if role:
            await set_roles(services, its, name, role)
            _warn_of_unknown(services, its, role)
        async with services.data.reading() as connection:
            return await services.principals.find(connection, its, name)

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit(_as_json(found))
    else:
        typer.echo(" ".join(found.roles))


def _warn_of_unknown(services: Services, tenant: TenantId, given: list[str]) -> None:
    """A role may be given before the policies know it, but a slip of the pen should not go unseen."""
    known = services.policies.active(tenant).policy_set.rules.roles
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


keys_group = make_group(
    "API keys of apps: issue, list, revoke; and the vault's own signing keys.",
    "cdv keys issue web-shop",
    "cdv keys list web-shop",
    "cdv keys signing",
)

App = Annotated[str, typer.Argument(metavar="APP", help="Name of the app.")]
Expires = Annotated[
    str | None,
    typer.Option("--expires", metavar="WHEN", help="90d, 2027-01-31 or a moment.", show_default="in 365 days"),
]


def register_keys(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(keys_group, name="keys")


def show_key(issued: IssuedKey, *, app: str, as_json: bool) -> None:
    """Print a new key, the only time that anybody sees it."""
    key = issued.key.reveal()
    if as_json:
        emit({"id": issued.id, "key": key, "expires_at": issued.expires_at, "app": app})
        return
    typer.echo(key)
    note(f"This is the API key of {app}. It is not shown again: put it where the app finds it, and nowhere else.")
    note(f"It has the id {issued.id} and ends on {issued.expires_at:%Y-%m-%d}.")


@keys_group.command(epilog=examples("cdv keys issue web-shop --expires 90d"))
def issue(
    name: App, expires: Expires = None, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False
) -> None:
    """Give an app one more key, so that it can change keys without a pause."""
    ends = parse_expiry(expires, Clock().now())

    async def work(services: Services, its: TenantId) -> IssuedKey:
        from vault.governance.tenants import issue_key

        return await issue_key(services, its, name, expires_at=ends)

    show_key(in_tenant(vault, tenant, work), app=name, as_json=as_json)


@keys_group.command("list", epilog=examples("cdv keys list web-shop"))
def list_keys(name: App, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """List the keys that an app ever had; the keys themselves are nowhere."""

    async def work(services: Services, its: TenantId) -> list[KeyInfo]:
        async with services.data.reading() as connection:
            principal = await services.principals.find(connection, its, name)
            return await services.principals.list_keys(connection, its, principal.id)

    found = in_tenant(vault, tenant, work)
    now = Clock().now()
    if as_json:
        emit([_as_json_keys(each, now) for each in found])
        return
    rows = [(each.id, state(each, now), each.created_at, each.expires_at) for each in found]
    show_table(("id", "state", "made", "ends"), rows, empty="the app has no keys")


@keys_group.command(epilog=examples("cdv keys revoke 0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1d"))
def revoke(
    key: Annotated[UUID, typer.Argument(metavar="KEYID", help="Id of the key, as `cdv keys list` shows it.")],
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    yes: Yes = False,
) -> None:
    """End a key: the app that uses it is shut out within seconds."""
    if not yes:
        typer.confirm("Shut out whoever uses this key?", abort=True, err=True)

    async def work(services: Services, its: TenantId) -> None:
        from vault.governance.tenants import revoke_key

        await revoke_key(services, its, KeyId(key))

    in_tenant(vault, tenant, work)
    note("The key is revoked.")


@keys_group.command(epilog=examples("cdv keys signing --json > keys.json"))
def signing(
    new: Annotated[bool, typer.Option("--new", help="Make a new key first; it signs from here on.")] = False,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show the public keys by which the vault signs receipts, the current one first; `cdv verify --key` takes the JSON.

    Old keys stay on the list: what they signed can still be checked. Put the list where people find it.
    """

    async def work(services: Services, its: TenantId) -> list[PublicKey]:
        from vault.consent.receipts.issue import rotate_signing_key

        if new:
            await rotate_signing_key(services, its)
        return await services.keyring.public_keys(its)

    found = in_tenant(vault, tenant, work)
    if as_json:
        from vault.crypto.signing import as_jwk

        emit({"keys": [as_jwk(each) for each in found]})
        return
    rows = [(each.key_id, "current" if each.current else "retired") for each in found]
    show_table(("key", "state"), rows, empty="there is no key")


def state(key: KeyInfo, now: datetime) -> str:
    """Say whether a key can be used."""
    if key.revoked_at is not None:
        return "revoked"
    return "active" if key.expires_at > now else "expired"


def _as_json_keys(key: KeyInfo, now: datetime) -> dict[str, UUID | datetime | str | None]:
    return {
        "id": key.id,
        "state": state(key, now),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


tenants_group = make_group(
    "Tenants: brands or companies, each with keys, apps, policies and audit log of its own.",
    "cdv tenants add brand-two",
    "cdv tenants list",
)


def register_tenants(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(tenants_group, name="tenants")


@tenants_group.command("add", epilog=examples("cdv tenants add brand-two"))
def add_tenant(
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


@tenants_group.command("list", epilog=examples("cdv tenants list"))
def list_tenants(vault: VaultFolder = HERE, as_json: Json = False) -> None:
    """List the tenants."""

    async def work(opened: Vault) -> list[str]:
        return sorted(await opened.services.keyring.tenants())

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
    if name in await vault.services.keyring.tenants():
        raise Conflict("there is a tenant of this name already", hint="`cdv tenants list` names them")
    folder = policy_folder(vault.settings, name)
    copied = not folder.exists()
    if copied:
        shutil.copytree(shipped_policies(), folder)
    try:
        await add_tenant(vault.services, TenantId(name), PolicySet.from_folder(folder))
    except Exception:
        if copied:
            shutil.rmtree(folder)
        raise
    return folder
