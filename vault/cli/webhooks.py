"""``cdv webhooks``: where apps want their notices sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vault.cli.keys import App  # noqa: TC001 - typer reads the annotations
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, Yes, examples, make_group
from vault.cli.output import emit, note, show_table, warn
from vault.cli.session import in_tenant

if TYPE_CHECKING:
    from vault.context import House
    from vault.ids import TenantId
    from vault.recipients.requests_webhooks import Webhook
    from vault.recipients.webhooks import Tried, WebhookTold

group = make_group(
    "Webhooks: where apps want to be told of erasures and corrections, and the secrets by which they know it.",
    "cdv webhooks set crm https://crm.example.org/vault",
    "cdv webhooks test crm",
    "cdv webhooks list",
)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="webhooks")


@group.command("list", epilog=examples("cdv webhooks list"))
def list_(vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """List the webhooks of all apps."""

    async def work(house: House, its: TenantId) -> list[tuple[str, Webhook]]:
        from vault.access.operator import at_the_console
        from vault.recipients.webhooks import list_webhooks

        return await list_webhooks(house, at_the_console(its))

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit([_as_json(name, each) for name, each in found])
        return
    rows = [(name, each.url, each.state, each.why, each.version, each.updated_at) for name, each in found]
    show_table(("app", "url", "state", "why", "secret", "changed"), rows, empty="no app has a webhook")


@group.command("set", epilog=examples("cdv webhooks set crm https://crm.example.org/vault"))
def set_(
    app: App,
    url: Annotated[str, typer.Argument(metavar="URL", help="https, of a public address.")],
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Say where an app's notices go; a new webhook's secret is printed, once."""

    async def work(house: House, its: TenantId) -> WebhookTold:
        from vault.access.operator import at_the_console
        from vault.recipients.webhooks import set_webhook

        return await set_webhook(house, at_the_console(its), url, app=app)

    _tell(in_tenant(vault, tenant, work), as_json=as_json)


@group.command(epilog=examples("cdv webhooks rotate crm"))
def rotate(app: App, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Make a new secret and print it, once; for 24 hours the old one signs too."""

    async def work(house: House, its: TenantId) -> WebhookTold:
        from vault.access.operator import at_the_console
        from vault.recipients.webhooks import rotate_secret

        return await rotate_secret(house, at_the_console(its), app=app)

    _tell(in_tenant(vault, tenant, work), as_json=as_json)


@group.command(epilog=examples("cdv webhooks remove crm"))
def remove(app: App, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, yes: Yes = False) -> None:
    """Take an app's webhook away; its notices wait until it fetches them."""
    if not yes:
        typer.confirm("Take the app's webhook away?", abort=True, err=True)

    async def work(house: House, its: TenantId) -> None:
        from vault.access.operator import at_the_console
        from vault.recipients.webhooks import remove_webhook

        await remove_webhook(house, at_the_console(its), app=app)

    in_tenant(vault, tenant, work)
    note("The webhook is gone.")


@group.command("test", epilog=examples("cdv webhooks test crm"))
def trial(app: App, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Post an event that says nothing, now; exit status 1 where the app does not take it."""

    async def work(house: House, its: TenantId) -> Tried:
        from vault.access.operator import at_the_console
        from vault.recipients.webhooks import try_webhook

        return await try_webhook(house, at_the_console(its), app=app)

    tried = in_tenant(vault, tenant, work)
    if as_json:
        emit(tried._asdict())
    elif tried.taken:
        note(f"The app took it ({tried.status}).")
    else:
        warn(f"the app did not take it: {tried.code}" + ("" if tried.status is None else f" ({tried.status})"))
    if not tried.taken:
        raise typer.Exit(1)


def _tell(told: WebhookTold, *, as_json: bool) -> None:
    if as_json:
        secret = {} if told.shown is None else {"secret": told.shown}
        emit({**_as_json(told.app, told.webhook), "public_key": told.public_key, **secret})
        return
    note(f"Notices to {told.app} go to {told.webhook.url}, signed by {told.public_key} (v1a)")
    if told.shown is not None:
        note("and by this secret (v1), which is shown once:")
        typer.echo(told.shown)


def _as_json(name: str, each: Webhook) -> dict[str, Any]:
    return {"app": name, "url": each.url, "state": each.state, "secret_version": each.version, "why": each.why}
