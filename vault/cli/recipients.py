"""``cdv recipients``: the apps that are told of changes to what they were shown, and what they have acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from vault.cli.options import DEFAULT, HERE, Json, Tenant, VaultFolder, examples, make_group
from vault.cli.output import emit, note, show_table, warn
from vault.cli.session import in_tenant, in_vault
from vault.clock import Clock
from vault.errors import InvalidInput

if TYPE_CHECKING:
    from vault.bootstrap import Vault
    from vault.context import House
    from vault.ids import TenantId
    from vault.recipients.notices import Sent, SentPage
    from vault.recipients.store import RecipientNotice

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

    async def work(house: House, its: TenantId) -> SentPage:
        from vault.access.operator import at_the_console
        from vault.recipients.notices import list_sent

        return await list_sent(
            house,
            at_the_console(its),
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
    told = in_tenant(vault, tenant, lambda house, its: _chase(house, its, notice))
    if as_json:
        emit({"id": told.id, "state": told.state, "last_status": told.last_status, "last_code": told.last_code})
    elif told.state == "pending":
        warn(f"it could not be delivered now ({told.last_code}); a running server tries again")
    else:
        note(f"The reminder is {told.state}.")


@app.command(epilog=examples(f"cdv recipients acknowledge {NOTICE}"))
def acknowledge(notice: Notice, vault: VaultFolder = HERE, tenant: Tenant = DEFAULT, as_json: Json = False) -> None:
    """Acknowledge in an app's stead, for one that cannot: whoever runs it has said that it is done."""

    async def work(house: House, its: TenantId) -> RecipientNotice:
        from vault.access.operator import at_the_console
        from vault.recipients.notices import acknowledge as acknowledge_now

        return await acknowledge_now(house, at_the_console(its), notice)

    told = in_tenant(vault, tenant, work)
    if as_json:
        emit({"id": told.id, "state": told.state})
    else:
        note("Acknowledged.")


async def _chase_due(vault: Vault) -> int:
    from vault.recipients.chase import chase_recipients

    return await chase_recipients(vault.house)


async def _chase(house: House, tenant: TenantId, notice: UUID) -> RecipientNotice:
    """Chase, and post here and now: it is what whoever types this waits for."""
    from vault.access.operator import at_the_console
    from vault.recipients.chase import chase as chase_now
    from vault.recipients.delivery import NOTIFY
    from vault.recipients.store import find_notice

    chased = await chase_now(house, at_the_console(tenant), notice)
    await house.jobs.run_here(house, NOTIFY, tenant, notice)
    async with house.data.reading() as connection:
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
