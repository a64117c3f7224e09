"""``cdv recipients`` and ``cdv webhooks``: notifications to apps that received data, and their delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from vault.cli.command import App, Session, command, make_group
from vault.cli.output import FAILED, emit, note, warn
from vault.cli.subject import option
from vault.clock import Clock
from vault.errors import InvalidInput
from vault.recipients.delivery import NOTIFY
from vault.recipients.notices import acknowledge as acknowledge_notice
from vault.recipients.notices import chase as chase_notice
from vault.recipients.notices import chase_recipients, list_sent, no_notice
from vault.recipients.store import OPEN, NoticeQuery, find_notice
from vault.recipients.views import ChasedNotices, NoticeDelivery
from vault.recipients.webhooks import list_webhooks, remove_webhook, rotate_secret, set_webhook, try_webhook
from vault.wording import counted

if TYPE_CHECKING:
    from vault.recipients.views import SentNotice, WebhookWithKeys


NOTICE = "0199aabb-0000-7000-8000-000000000009"
MOST = 500

group = make_group(
    "cdv recipients list",
    f"cdv recipients chase {NOTICE}",
    f"cdv recipients acknowledge {NOTICE}",
)

Notice = Annotated[UUID, typer.Argument(metavar="NOTICE", help="The notice's id.")]


@command(group, "cdv recipients list", "cdv recipients list --app crm --all", "cdv recipients list --json", name="list")
async def list_(
    session: Session,
    everything: Annotated[bool, typer.Option("--all", help="Include acknowledged notices.")] = False,
    to: Annotated[str | None, typer.Option("--app", metavar="NAME", help="Only notices to this app.")] = None,
    subject: Annotated[UUID | None, option(help="Only notices about this person.")] = None,
    request: Annotated[UUID | None, typer.Option(metavar="ID", help="Only notices of this request.")] = None,
) -> None:
    """List notices to apps, the oldest first, with their delivery and acknowledgement."""
    query = NoticeQuery(subject=subject, request=request, states=() if everything else OPEN, limit=MOST)
    page = await list_sent(session.services, session.caller, query, app=to)
    then = f"These are the oldest {MOST}; `--app`, `--subject` and `--request` narrow it down."
    session.show_table(
        page.notices,
        ("notice", "app", "what", "state", "days", "tries", "last answer", "reminders"),
        map(_row, page.notices),
        empty="no notices" if everything else "every app has acknowledged",
        then=None if page.next is None else then,
    )
    unreachable = sorted({notice.app for notice in page.notices if notice.state == "waiting"})
    if unreachable and not session.as_json:
        warn(f"notices cannot be posted to {', '.join(unreachable)}: no webhook, a disabled one, or a disabled app")


@command(group, f"cdv recipients chase {NOTICE}", "cdv recipients chase --due")
async def chase(
    session: Session,
    notice: Annotated[UUID | None, typer.Argument(metavar="[NOTICE]", help="The notice's id.")] = None,
    due: Annotated[
        bool,
        typer.Option("--due", help="All that are unacknowledged for three days, and were not sent again within a day."),
    ] = False,
) -> None:
    """Send a notice again as a reminder. A running server does so daily from the third day."""
    if due == (notice is not None):
        raise InvalidInput("name a notice, or use --due for all that are due")
    if notice is None:
        chased = await chase_recipients(session.services)
        session.show(ChasedNotices(chased=chased), f"{counted(chased, 'reminder is', 'reminders are')} on the way.")
        return
    await chase_notice(session.services, session.caller, notice)
    # Posted here and now: the operator waits for it.
    await session.services.jobs.run_in_foreground(session.services, NOTIFY, session.tenant, notice)
    async with session.services.data.reading() as connection:
        sent = await find_notice(connection, session.tenant, notice)
    if sent is None:
        raise no_notice()
    if session.as_json:
        emit(NoticeDelivery.from_object(sent))
    elif sent.state == "pending":
        warn(f"it could not be delivered now ({sent.last_code}); a running server tries again")
    else:
        note(f"The reminder is {sent.state}.")


@command(group, f"cdv recipients acknowledge {NOTICE}")
async def acknowledge(session: Session, notice: Notice) -> None:
    """Acknowledge a notice on behalf of an app that cannot, once its operator has confirmed it."""
    acknowledged = await acknowledge_notice(session.services, session.caller, notice)
    session.show(acknowledged, "Acknowledged.")


def _row(notice: SentNotice) -> tuple[object, ...]:
    days = (Clock().now() - notice.created_at).days
    last = " ".join(str(part) for part in (notice.last_status, notice.last_code) if part is not None)
    return (notice.id, notice.app, notice.kind, notice.state, days, notice.attempts, last, notice.chases or "")


webhooks_group = make_group(
    "cdv webhooks set crm https://crm.example.org/vault",
    "cdv webhooks test crm",
    "cdv webhooks list",
)


@command(webhooks_group, "cdv webhooks list", name="list")
async def list_all_webhooks(session: Session) -> None:
    """List the webhooks of all apps."""
    webhooks = (await list_webhooks(session.services, session.caller)).webhooks
    rows = [
        (webhook.app, webhook.url, webhook.state, webhook.why, webhook.secret_version, webhook.updated_at)
        for webhook in webhooks
    ]
    headings = ("app", "url", "state", "why", "secret", "changed")
    session.show_table(webhooks, headings, rows, empty="no app has a webhook")


@command(webhooks_group, "cdv webhooks set crm https://crm.example.org/vault", name="set")
async def set_(
    session: Session,
    app: App,
    url: Annotated[str, typer.Argument(metavar="URL", help="An https URL with a public address.")],
) -> None:
    """Set the address for an app's notices; prints the secret of a new webhook once."""
    _show_webhook(session, await set_webhook(session.services, session.caller, url, app=app))


@command(webhooks_group, "cdv webhooks rotate crm")
async def rotate(session: Session, app: App) -> None:
    """Make a new secret and print it once; the old one signs too for 24 hours."""
    _show_webhook(session, await rotate_secret(session.services, session.caller, app=app))


@command(webhooks_group, "cdv webhooks remove crm", confirm="Remove the app's webhook?", json=False)
async def remove(session: Session, app: App) -> None:
    """Remove an app's webhook; its notices are kept until it fetches them."""
    await remove_webhook(session.services, session.caller, app=app)
    note("The webhook is removed.")


@command(webhooks_group, "cdv webhooks test crm")
async def test(session: Session, app: App) -> None:
    """Post a test event now; exit status 1 if the app does not accept it."""
    trial = await try_webhook(session.services, session.caller, app=app)
    if session.as_json:
        emit(trial)
    elif trial.taken:
        note(f"The app accepted it ({trial.status}).")
    else:
        warn(f"the app did not accept it: {trial.code}" + ("" if trial.status is None else f" ({trial.status})"))
    if not trial.taken:
        raise typer.Exit(FAILED)


def _show_webhook(session: Session, webhook: WebhookWithKeys) -> None:
    if session.as_json:
        emit(webhook)
        return
    note(f"Notices to {webhook.app} go to {webhook.url}, signed by {webhook.public_key} (v1a)")
    if webhook.secret is not None:
        note("and by this secret (v1), which is shown once:")
        typer.echo(webhook.secret)
