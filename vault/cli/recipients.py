"""``cdv recipients``: the apps that are told of changes to what they were shown, and what they have acknowledged.

``cdv webhooks``: where apps want their notices sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from vault.cli.apps import App  # noqa: TC001 - typer reads the annotations
from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, Yes, examples, make_group
from vault.cli.output import emit, note, show_table, warn
from vault.cli.session import in_tenant, in_vault
from vault.clock import Clock
from vault.errors import InvalidInput

if TYPE_CHECKING:
    from vault.bootstrap import Vault
    from vault.context import Services
    from vault.ids import TenantId
    from vault.recipients.notices import Sent, SentPage
    from vault.recipients.store import RecipientNotice, Webhook
    from vault.recipients.webhooks import Tried, WebhookTold


NOTICE = "0199aabb-0000-7000-8000-000000000009"
MOST = 500

app = make_group(
    "Recipients: apps that are told of erasures and corrections (Art. 19), and who has not acknowledged.",
    "cdv recipients list",
    f"cdv recipients chase {NOTICE}",
    f"cdv recipients acknowledge {NOTICE}",
)

Notice = Annotated[UUID, typer.Argument(metavar="NOTICE", help="The notice's id.")]


def register(root: typer.Typer) -> None:
    """Add the group."""
    root.add_typer(app, name="recipients")


@app.command(
    "list", epilog=examples("cdv recipients list", "cdv recipients list --app crm --all", "cdv recipients list --json")
)
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Those that were acknowledged too.")] = False,
    to: Annotated[str | None, typer.Option("--app", metavar="NAME", help="Those to one app.")] = None,
    subject: Annotated[UUID | None, typer.Option("--subject", metavar="ID", help="Those about one person.")] = None,
    request: Annotated[
        UUID | None, typer.Option("--request", metavar="ID", help="Those that one request led to.")
    ] = None,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """List what apps were told, the oldest first: whether it reached them, and whether they acknowledged."""

    async def work(services: Services, its: TenantId) -> SentPage:
        from vault.access.callers import operator_caller
        from vault.recipients.notices import list_sent

        return await list_sent(
            services,
            operator_caller(its),
            which="all" if everything else "open",
            app=to,
            subject=subject,
            request=request,
            limit=MOST,
        )

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit([_as_json(each) for each in found.notices])
        return
    show_table(
        ("notice", "app", "what", "state", "days", "tries", "last answer", "reminders"),
        [_row(each) for each in found.notices],
        empty="every app has acknowledged" if not everything else "no app was ever told anything",
    )
    if found.next is not None:
        note(f"These are the oldest {MOST}; `--app`, `--subject` and `--request` narrow it down.")
    _warn_of_unreachable(found.notices)


@app.command(epilog=examples(f"cdv recipients chase {NOTICE}", "cdv recipients chase --due"))
def chase(
    notice: Annotated[UUID | None, typer.Argument(metavar="[NOTICE]", help="The notice's id.")] = None,
    due: Annotated[
        bool, typer.Option("--due", help="All that were not acknowledged in three days, and not chased since a day.")
    ] = False,
    vault: VaultFolder = HERE,
    tenant: Tenant = DEFAULT,
    as_json: Json = False,
) -> None:
    """Remind an app: its notice is sent again. A running server does it by itself, each day from the third on."""
    if due == (notice is not None):
        raise InvalidInput("say which notice, or --due for all that are due")
    if notice is None:
        chased = in_vault(vault, _chase_due)
        emit({"chased": chased}) if as_json else note(f"{chased:,} reminders are on their way.")
        return
    told = in_tenant(vault, tenant, lambda services, its: _chase(services, its, notice))
    if as_json:
        emit({"id": told.id, "state": told.state, "last_status": told.last_status, "last_code": told.last_code})
    elif told.state == "pending":
        warn(f"it could not be delivered now ({told.last_code}); a running server tries again")
    else:
        note(f"The reminder is {told.state}.")


@app.command(epilog=examples(f"cdv recipients acknowledge {NOTICE}"))
def acknowledge(notice: Notice, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Acknowledge in an app's stead, for one that cannot: whoever runs it has said that it is done."""

    async def work(services: Services, its: TenantId) -> RecipientNotice:
        from vault.access.callers import operator_caller
        from vault.recipients.notices import acknowledge as acknowledge_now

        return await acknowledge_now(services, operator_caller(its), notice)

    told = in_tenant(vault, tenant, work)
    if as_json:
        emit({"id": told.id, "state": told.state})
    else:
        note("Acknowledged.")


async def _chase_due(vault: Vault) -> int:
    from vault.recipients.notices import chase_recipients

    return await chase_recipients(vault.services)


async def _chase(services: Services, tenant: TenantId, notice: UUID) -> RecipientNotice:
    """Chase, and post here and now: it is what whoever types this waits for."""
    from vault.access.callers import operator_caller
    from vault.recipients.delivery import NOTIFY
    from vault.recipients.notices import chase as chase_now
    from vault.recipients.store import find_notice

    chased = await chase_now(services, operator_caller(tenant), notice)
    await services.jobs.run_in_foreground(services, NOTIFY, tenant, notice)
    async with services.data.reading() as connection:
        return await find_notice(connection, tenant, notice) or chased


def _row(each: Sent) -> tuple[Any, ...]:
    notice = each.notice
    days = (Clock().now() - notice.created_at).days
    last = " ".join(str(part) for part in (notice.last_status, notice.last_code) if part is not None)
    return (notice.id, each.app, notice.kind, notice.state, days, notice.attempts, last, notice.chases or "")


def _warn_of_unreachable(notices: list[Sent]) -> None:
    mute = sorted({each.app for each in notices if each.notice.state == "waiting"})
    if mute:
        warn(f"nothing can be posted to {', '.join(mute)}: no webhook, a disabled one, or a disabled app")


def _as_json(each: Sent) -> dict[str, Any]:
    return {"app": each.app, "webhook": each.webhook, **each.notice._asdict()}


group = make_group(
    "Webhooks: where apps want to be told of erasures and corrections, and the secrets by which they know it.",
    "cdv webhooks set crm https://crm.example.org/vault",
    "cdv webhooks test crm",
    "cdv webhooks list",
)


def register_webhooks(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="webhooks")


@group.command("list", epilog=examples("cdv webhooks list"))
def list_webhooks_(vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """List the webhooks of all apps."""

    async def work(services: Services, its: TenantId) -> list[tuple[str, Webhook]]:
        from vault.access.callers import operator_caller
        from vault.recipients.webhooks import list_webhooks

        return await list_webhooks(services, operator_caller(its))

    found = in_tenant(vault, tenant, work)
    if as_json:
        emit([_as_json_webhooks(name, each) for name, each in found])
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

    async def work(services: Services, its: TenantId) -> WebhookTold:
        from vault.access.callers import operator_caller
        from vault.recipients.webhooks import set_webhook

        return await set_webhook(services, operator_caller(its), url, app=app)

    _tell(in_tenant(vault, tenant, work), as_json=as_json)


@group.command(epilog=examples("cdv webhooks rotate crm"))
def rotate(app: App, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Make a new secret and print it, once; for 24 hours the old one signs too."""

    async def work(services: Services, its: TenantId) -> WebhookTold:
        from vault.access.callers import operator_caller
        from vault.recipients.webhooks import rotate_secret

        return await rotate_secret(services, operator_caller(its), app=app)

    _tell(in_tenant(vault, tenant, work), as_json=as_json)


@group.command(epilog=examples("cdv webhooks remove crm"))
def remove(app: App, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, yes: Yes = False) -> None:
    """Take an app's webhook away; its notices wait until it fetches them."""
    if not yes:
        typer.confirm("Take the app's webhook away?", abort=True, err=True)

    async def work(services: Services, its: TenantId) -> None:
        from vault.access.callers import operator_caller
        from vault.recipients.webhooks import remove_webhook

        await remove_webhook(services, operator_caller(its), app=app)

    in_tenant(vault, tenant, work)
    note("The webhook is gone.")


@group.command("test", epilog=examples("cdv webhooks test crm"))
def trial(app: App, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Post an event that says nothing, now; exit status 1 where the app does not take it."""

    async def work(services: Services, its: TenantId) -> Tried:
        from vault.access.callers import operator_caller
        from vault.recipients.webhooks import try_webhook

        return await try_webhook(services, operator_caller(its), app=app)

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
        emit({**_as_json_webhooks(told.app, told.webhook), "public_key": told.public_key, **secret})
        return
    note(f"Notices to {told.app} go to {told.webhook.url}, signed by {told.public_key} (v1a)")
    if told.shown is not None:
        note("and by this secret (v1), which is shown once:")
        typer.echo(told.shown)


def _as_json_webhooks(name: str, each: Webhook) -> dict[str, Any]:
    return {"app": name, "url": each.url, "state": each.state, "secret_version": each.version, "why": each.why}
