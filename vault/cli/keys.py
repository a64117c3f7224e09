"""``cdv keys``: the API keys of apps, and the keys by which the vault signs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID  # noqa: TC003 - typer reads the annotations

import typer

from vault.cli.moments import parse_expiry
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, Yes, examples, make_group
from vault.cli.output import emit, note, show_table
from vault.cli.session import in_tenant
from vault.clock import Clock
from vault.ids import KeyId

if TYPE_CHECKING:
    from datetime import datetime

    from vault.context import House
    from vault.crypto.signing import PublicKey
    from vault.ids import TenantId
    from vault.principals.principal import IssuedKey, KeyInfo

group = make_group(
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


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="keys")


def show_key(issued: IssuedKey, *, app: str, as_json: bool) -> None:
    """Print a new key, the only time that anybody sees it."""
    key = issued.key.reveal()
    if as_json:
        emit({"id": issued.id, "key": key, "expires_at": issued.expires_at, "app": app})
        return
    typer.echo(key)
    note(f"This is the API key of {app}. It is not shown again: put it where the app finds it, and nowhere else.")
    note(f"It has the id {issued.id} and ends on {issued.expires_at:%Y-%m-%d}.")


@group.command(epilog=examples("cdv keys issue web-shop --expires 90d"))
def issue(
    name: App, expires: Expires = None, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False
) -> None:
    """Give an app one more key, so that it can change keys without a pause."""
    ends = parse_expiry(expires, Clock().now())

    async def work(house: House, its: TenantId) -> IssuedKey:
        from vault.governance.tenants import issue_key

        return await issue_key(house, its, name, expires_at=ends)

    show_key(in_tenant(vault, tenant, work), app=name, as_json=as_json)


@group.command("list", epilog=examples("cdv keys list web-shop"))
def list_keys(name: App, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """List the keys that an app ever had; the keys themselves are nowhere."""

    async def work(house: House, its: TenantId) -> list[KeyInfo]:
        async with house.data.reading() as connection:
            principal = await house.principals.find(connection, its, name)
            return await house.principals.list_keys(connection, its, principal.id)

    found = in_tenant(vault, tenant, work)
    now = Clock().now()
    if as_json:
        emit([_as_json(each, now) for each in found])
        return
    rows = [(each.id, state(each, now), each.created_at, each.expires_at) for each in found]
    show_table(("id", "state", "made", "ends"), rows, empty="the app has no keys")


@group.command(epilog=examples("cdv keys revoke 0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1d"))
def revoke(
    key: Annotated[UUID, typer.Argument(metavar="KEYID", help="Id of the key, as `cdv keys list` shows it.")],
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    yes: Yes = False,
) -> None:
    """End a key: the app that uses it is shut out within seconds."""
    if not yes:
        typer.confirm("Shut out whoever uses this key?", abort=True, err=True)

    async def work(house: House, its: TenantId) -> None:
        from vault.governance.tenants import revoke_key

        await revoke_key(house, its, KeyId(key))

    in_tenant(vault, tenant, work)
    note("The key is revoked.")


@group.command(epilog=examples("cdv keys signing --json > keys.json"))
def signing(
    new: Annotated[bool, typer.Option("--new", help="Make a new key first; it signs from here on.")] = False,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show the public keys by which the vault signs receipts, the current one first; `cdv verify --key` takes the JSON.

    Old keys stay on the list: what they signed can still be checked. Put the list where people find it.
    """

    async def work(house: House, its: TenantId) -> list[PublicKey]:
        from vault.consent.receipts.issue import rotate_signing_key

        if new:
            await rotate_signing_key(house, its)
        return await house.keyring.public_keys(its)

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


def _as_json(key: KeyInfo, now: datetime) -> dict[str, UUID | datetime | str | None]:
    return {
        "id": key.id,
        "state": state(key, now),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
