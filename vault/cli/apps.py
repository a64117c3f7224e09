"""``cdv apps``, ``cdv keys`` and ``cdv tenants``: API clients and their keys, signing keys, tenants."""

from __future__ import annotations

import shutil
from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from vault.bootstrap import policy_folder, shipped_policies
from vault.cli.command import FUTURE_FORMS, App, Names, Session, VaultSession, command, future, make_group
from vault.cli.output import emit, note
from vault.clock import Clock
from vault.errors import Conflict, InvalidInput
from vault.governance.tenants import add_app, add_tenant, disable_app, issue_key, revoke_key, set_roles
from vault.ids import KeyId, TenantId, is_slug
from vault.principals.views import ApiKey, NewApiKey
from vault.principals.views import App as AppView

if TYPE_CHECKING:
    from pathlib import Path

    from vault.bootstrap import Vault
    from vault.principals.principal import IssuedKey


Expires = Annotated[datetime | None, future(help=f"When it ends: {FUTURE_FORMS}.", show_default="in 365 days")]

group = make_group(
    "cdv apps add web-shop --role fulfilment",
    "cdv apps list",
)


@command(group, "cdv apps add web-shop --role sales --role fulfilment --expires 90d")
async def add(
    session: Session,
    name: App,
    role: Annotated[list[str], typer.Option(metavar="ROLE", help="A role of policy.csv; may be repeated.")],
    expires: Expires = None,
) -> None:
    """Register an app and print its first API key, once."""
    _, issued = await add_app(session.services, session.tenant, name, role, expires_at=expires)
    _show_key(issued, app=name, as_json=session.as_json)


@command(group, "cdv apps list --json", name="list", policies=False)
async def list_apps(session: Session) -> None:
    """List the apps of a tenant with their roles."""
    async with session.services.data.reading() as connection:
        apps = await session.services.principals.list_principals(connection, session.tenant)
    rows = [(app.name, " ".join(app.roles), app.state, app.created_at) for app in apps]
    answer = [AppView.model_validate(app) for app in apps]
    empty = "there are no apps yet; add one by `cdv apps add`"
    session.show_table(answer, ("name", "roles", "state", "made"), rows, empty=empty)


@command(group, "cdv apps disable web-shop", confirm="Disable the app with all of its keys?", json=False)
async def disable(session: Session, name: App) -> None:
    """Disable an app with all of its keys; this takes effect within seconds."""
    await disable_app(session.services, session.tenant, name)
    note("The app is disabled.")


@command(group, "cdv apps roles web-shop --role fulfilment --role finance")
async def roles(
    session: Session,
    name: App,
    role: Annotated[Names, typer.Option(metavar="ROLE", help="The new roles; may be repeated.")] = None,
) -> None:
    """Show the roles of an app, or replace them."""
    if role:
        await set_roles(session.services, session.tenant, name, role)
    async with session.services.data.reading() as connection:
        app = await session.services.principals.find(connection, session.tenant, name)
    if session.as_json:
        emit(AppView.model_validate(app))
    else:
        typer.echo(" ".join(app.roles))


keys_group = make_group(
    "cdv keys issue web-shop",
    "cdv keys list web-shop",
    "cdv keys signing",
)


def _show_key(issued: IssuedKey, *, app: str, as_json: bool) -> None:
    """Print a new key; it cannot be shown again."""
    key = issued.key.reveal()
    if as_json:
        emit(NewApiKey(id=issued.id, key=key, expires_at=issued.expires_at, app=app))
        return
    typer.echo(key)
    note(f"This is the API key of {app}. It is not shown again: store it where only the app can read it.")
    note(f"Its id is {issued.id}, and it expires on {issued.expires_at:%Y-%m-%d}.")


@command(keys_group, "cdv keys issue web-shop --expires 90d")
async def issue(session: Session, name: App, expires: Expires = None) -> None:
    """Issue another key to an app, so that it can rotate its keys without downtime."""
    issued = await issue_key(session.services, session.tenant, name, expires_at=expires)
    _show_key(issued, app=name, as_json=session.as_json)


@command(keys_group, "cdv keys list web-shop", name="list")
async def list_keys(session: Session, name: App) -> None:
    """List all keys of an app with their state; the keys themselves are not stored."""
    async with session.services.data.reading() as connection:
        principal = await session.services.principals.find(connection, session.tenant, name)
        known = await session.services.principals.list_keys(connection, session.tenant, principal.id)
    now = Clock().now()
    keys = [ApiKey.of(key, now) for key in known]
    rows = [(key.id, key.state, key.created_at, key.expires_at) for key in keys]
    session.show_table(keys, ("id", "state", "made", "ends"), rows, empty="the app has no keys")


@command(
    keys_group,
    "cdv keys revoke 0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1d",
    confirm="Revoke the key? Its app can no longer use it.",
    json=False,
)
async def revoke(
    session: Session,
    key: Annotated[UUID, typer.Argument(metavar="KEYID", help="Id of the key, as `cdv keys list` shows it.")],
) -> None:
    """Revoke a key; this takes effect within seconds."""
    await revoke_key(session.services, session.tenant, KeyId(key))
    note("The key is revoked.")


@command(keys_group, "cdv keys signing --json > keys.json")
async def signing(
    session: Session,
    new: Annotated[bool, typer.Option("--new", help="Make a new signing key first.")] = False,
) -> None:
    """Show the public keys that sign receipts, the current one first; `cdv verify --key` reads the JSON.

    Old keys stay in the list, so that older signatures can be verified. Publish the list.
    """
    if new:
        from vault.consent.receipts.issue import rotate_signing_key

        await rotate_signing_key(session.services, session.tenant)
    from vault.consent.views import SigningKeys

    keys = SigningKeys.of(await session.services.keyring.public_keys(session.tenant))
    rows = [(key.kid, key.status) for key in keys.keys]
    session.show_table(keys, ("key", "state"), rows, empty="there is no key")


tenants_group = make_group(
    "cdv tenants add brand-two",
    "cdv tenants list",
)


@command(tenants_group, "cdv tenants add brand-two", name="add")
async def add_one(
    session: VaultSession, name: Annotated[str, typer.Argument(metavar="NAME", help="Short name: a-z, 0-9, - and _.")]
) -> None:
    """Add a tenant with a copy of the shipped policies, or with those that are in its folder already."""
    folder = await _add_tenant(session.vault, name)
    session.show(
        {"tenant": name, "policies": folder},
        f"The tenant is added. Its policies are in {folder}: edit them, then `cdv policy apply --tenant {name}`.",
    )


@command(tenants_group, "cdv tenants list", name="list")
async def list_tenants(session: VaultSession) -> None:
    """List the tenants."""
    names = sorted(await session.services.keyring.tenants())
    session.show_table(names, ("name",), [(name,) for name in names], empty="there are no tenants")


async def _add_tenant(vault: Vault, name: str) -> Path:
    if not is_slug(name):  # before it becomes part of a path
        raise InvalidInput("the name of a tenant has 1 to 64 of a-z, 0-9, - and _, and starts and ends with a-z0-9")
    if name in await vault.services.keyring.tenants():
        raise Conflict("a tenant with this name exists", hint="`cdv tenants list` names them")
    folder = policy_folder(vault.settings, name)
    copied = not folder.exists()
    if copied:
        shutil.copytree(shipped_policies(), folder)
    try:
        from vault.policy.policy_set import PolicySet

        await add_tenant(vault.services, TenantId(name), PolicySet.from_folder(folder))
    except Exception:
        if copied:
            shutil.rmtree(folder)
        raise
    return folder
