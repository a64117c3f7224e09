"""Notices to apps (Art. 19 GDPR): an app's webhook, its notices, and those of all apps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.responses import error_responses, json_response, moment
from vault.api.schemas import recipients as bodies
from vault.recipients.notices import MOST, Which, list_sent, my_notices
from vault.recipients.notices import acknowledge as acknowledge_one
from vault.recipients.notices import chase as chase_one
from vault.recipients.webhooks import (
    list_webhooks,
    read_webhook,
    remove_webhook,
    rotate_secret,
    set_webhook,
    try_webhook,
)

if TYPE_CHECKING:
    from vault.recipients.notices import Sent
    from vault.recipients.store import RecipientNotice, Webhook
    from vault.recipients.webhooks import WebhookTold

router = APIRouter(prefix="/v1", tags=["recipients"])

App = Annotated[
    str | None, Query(max_length=64, description="The name of another app; needs the right to manage webhooks.")
]
Open = Annotated[Which, Query(alias="which", description="Those that nobody has acknowledged, or all.")]
After = Annotated[UUID | None, Query(description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST)]


@router.put("/webhook", response_model=bodies.WebhookTold, responses=error_responses(409))
async def put_webhook(body: bodies.NewWebhook, services: ServicesDep, caller: CallerDep, app: App = None) -> Response:
    """Say where the app wants its notices sent. The first time, and after a removal, the answer has the secret."""
    return json_response(_told(await set_webhook(services, caller, body.url, app=app)))


@router.get("/webhook", response_model=bodies.WebhookTold)
async def get_webhook(services: ServicesDep, caller: CallerDep, app: App = None) -> Response:
    """Show the app's webhook, without its secret."""
    return json_response(_told(await read_webhook(services, caller, app=app)))


@router.delete("/webhook", status_code=204, response_class=Response)
async def delete_webhook(services: ServicesDep, caller: CallerDep, app: App = None) -> Response:
    """Take the app's webhook away; its notices wait until it fetches them."""
    await remove_webhook(services, caller, app=app)
    return Response(status_code=204)


@router.post("/webhook:rotate-secret", response_model=bodies.WebhookTold)
async def rotate(services: ServicesDep, caller: CallerDep, app: App = None) -> Response:
    """Make a new secret, shown in this answer only. For 24 hours the old one signs too."""
    return json_response(_told(await rotate_secret(services, caller, app=app)))


@router.post("/webhook:test", response_model=bodies.TrialTold)
async def trial(services: ServicesDep, caller: CallerDep, app: App = None) -> Response:
    """Post an event of the type `webhook.test` now, once, and tell what came of it."""
    return json_response((await try_webhook(services, caller, app=app))._asdict())


@router.get("/webhooks", response_model=bodies.WebhookList)
async def webhooks(services: ServicesDep, caller: CallerDep) -> Response:
    """List the webhooks of all apps."""
    return json_response({"webhooks": [_webhook(app, each) for app, each in await list_webhooks(services, caller)]})


@router.get("/notices:mine", response_model=bodies.NoticePage)
async def mine(
    services: ServicesDep, caller: CallerDep, which: Open = "open", after: After = None, limit: Limit = 100
) -> Response:
    """List the notices to the calling app, the oldest first: the same that its webhook gets."""
    page = await my_notices(services, caller, which=which, after=after, limit=limit)
    return json_response({"notices": [_notice(each) for each in page.notices], "next": page.next})


@router.get("/notices:sent", response_model=bodies.SentPage)
async def sent(
    services: ServicesDep,
    caller: CallerDep,
    which: Open = "open",
    app: Annotated[str | None, Query(max_length=64, description="Those to one app.")] = None,
    subject: Annotated[UUID | None, Query(description="Those about one person.")] = None,
    request: Annotated[UUID | None, Query(description="Those that one request led to.")] = None,
    after: After = None,
    limit: Limit = 100,
) -> Response:
    """List the notices to all apps: who was told, who took it, who has not acknowledged and was reminded how often."""
    page = await list_sent(
        services, caller, which=which, app=app, subject=subject, request=request, after=after, limit=limit
    )
    return json_response({"notices": [_sent(each) for each in page.notices], "next": page.next})


@router.post("/notices/{notice}:acknowledge", response_model=bodies.NoticeTold)
async def acknowledge(notice: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Say that the app has done what the notice asks of it; it is not reminded any more. Once more does no harm."""
    return json_response(_notice(await acknowledge_one(services, caller, notice)))


@router.post(
    "/notices/{notice}:chase", status_code=202, response_model=bodies.NoticeTold, responses=error_responses(409)
)
async def chase(notice: UUID, services: ServicesDep, caller: CallerDep) -> Response:
    """Send a notice again, now, as a reminder."""
    return json_response(_notice(await chase_one(services, caller, notice)), 202)


def _told(told: WebhookTold) -> dict[str, Any]:
    body = {**_webhook(told.app, told.webhook), "public_key": told.public_key}
    return body if told.shown is None else {**body, "secret": told.shown}


def _webhook(app: str, each: Webhook) -> dict[str, Any]:
    return {
        "app": app,
        "url": each.url,
        "state": each.state,
        "secret_version": each.version,
        "previous_until": moment(each.previous_until),
        "created_at": moment(each.created_at),
        "updated_at": moment(each.updated_at),
        "why": each.why,
    }


def _notice(each: RecipientNotice) -> dict[str, Any]:
    return {
        "id": each.id,
        "kind": each.kind,
        "subject": each.subject,
        "former": each.former,
        "fields": each.fields,
        "request": each.request,
        "state": each.state,
        "created_at": moment(each.created_at),
        "acknowledged_at": moment(each.acknowledged_at),
    }


def _sent(each: Sent) -> dict[str, Any]:
    notice = each.notice
    return {
        **_notice(notice),
        "app": each.app,
        "webhook": each.webhook,
        "attempts": notice.attempts,
        "next_at": moment(notice.next_at),
        "last_status": notice.last_status,
        "last_code": notice.last_code,
        "delivered_at": moment(notice.delivered_at),
        "acknowledged_by": notice.acknowledged_by,
        "chases": notice.chases,
        "chased_at": moment(notice.chased_at),
    }
