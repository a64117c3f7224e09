"""Webhooks of apps, and notices to them (Art. 19 GDPR)."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, Field

from vault.api.dependencies import CallerDep, ServicesDep
from vault.api.schemas import Body, PageId, error_responses, router_of
from vault.recipients import notices, webhooks
from vault.recipients.notices import MOST, Which
from vault.recipients.store import OPEN, NoticeQuery
from vault.recipients.views import AppNotice, AppNoticePage, SentNoticePage, WebhookList, WebhookTest, WebhookWithKeys

router = router_of("recipients", prefix="/v1")

App = Annotated[
    str | None, Query(max_length=64, description="The name of another app; needs the right to manage webhooks.")
]


class NewWebhook(Body):
    """The address of an app's webhook."""

    url: Annotated[
        str,
        Field(max_length=2000, description="https, of a public address.", examples=["https://crm.example.org/vault"]),
    ]


class SentNoticeFilter(BaseModel):
    """Which notices to list."""

    which: Annotated[Which, Field(description="Those that were not acknowledged, or all.")] = "open"
    app: Annotated[str | None, Field(max_length=64, description="Those to one app.")] = None
    subject: Annotated[UUID | None, Field(description="Those about one person.")] = None
    request: Annotated[UUID | None, Field(description="Those that one request led to.")] = None
    after: Annotated[UUID | None, Field(description="`next` of the previous page.")] = None
    limit: Annotated[int, Field(ge=1, le=MOST)] = 100


@router.put("/webhook", responses=error_responses(409), operation_id="setWebhook")
async def set_webhook(body: NewWebhook, services: ServicesDep, caller: CallerDep, app: App = None) -> WebhookWithKeys:
    """Set the address of the app's webhook. The first time, and after a removal, the answer contains the secret."""
    return await webhooks.set_webhook(services, caller, body.url, app=app)


@router.get("/webhook", operation_id="getWebhook")
async def get_webhook(services: ServicesDep, caller: CallerDep, app: App = None) -> WebhookWithKeys:
    """Show the app's webhook, without its secret."""
    return await webhooks.read_webhook(services, caller, app=app)


@router.delete("/webhook", status_code=204, response_class=Response, operation_id="removeWebhook")
async def remove_webhook(services: ServicesDep, caller: CallerDep, app: App = None) -> Response:
    """Remove the app's webhook. Its notices wait until it fetches them."""
    await webhooks.remove_webhook(services, caller, app=app)
    return Response(status_code=204)


@router.post("/webhook:rotate-secret", operation_id="rotateWebhookSecret")
async def rotate_secret(services: ServicesDep, caller: CallerDep, app: App = None) -> WebhookWithKeys:
    """Make a new secret, which is in this answer only. For 24 hours the previous one signs as well."""
    return await webhooks.rotate_secret(services, caller, app=app)


@router.post("/webhook:test", operation_id="testWebhook")
async def send_test_event(services: ServicesDep, caller: CallerDep, app: App = None) -> WebhookTest:
    """Post an event of the type `webhook.test`, once, and return the result."""
    return await webhooks.try_webhook(services, caller, app=app)


@router.get("/webhooks", operation_id="listWebhooks")
async def list_webhooks(services: ServicesDep, caller: CallerDep) -> WebhookList:
    """List the webhooks of all apps."""
    return await webhooks.list_webhooks(services, caller)


@router.get("/notices:mine", operation_id="listMyNotices")
async def list_mine(
    services: ServicesDep,
    caller: CallerDep,
    which: Annotated[Which, Query(description="Those that were not acknowledged, or all.")] = "open",
    after: PageId = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> AppNoticePage:
    """List the notices to the calling app, the oldest first: the same that are posted to its webhook."""
    return await notices.my_notices(services, caller, which=which, after=after, limit=limit)


@router.get("/notices:sent", operation_id="listSentNotices")
async def list_sent(
    query: Annotated[SentNoticeFilter, Query()], services: ServicesDep, caller: CallerDep
) -> SentNoticePage:
    """List the notices to all apps: whether each was delivered and acknowledged, and the reminders."""
    selection = NoticeQuery(
        subject=query.subject,
        request=query.request,
        states=OPEN if query.which == "open" else (),
        after=query.after,
        limit=query.limit,
    )
    return await notices.list_sent(services, caller, selection, app=query.app)


@router.post("/notices/{notice}:acknowledge", operation_id="acknowledgeNotice")
async def acknowledge(notice: UUID, services: ServicesDep, caller: CallerDep) -> AppNotice:
    """Confirm that the app has done what the notice asks for. It is not reminded any more."""
    return await notices.acknowledge(services, caller, notice)


@router.post("/notices/{notice}:chase", status_code=202, responses=error_responses(409), operation_id="remindOfNotice")
async def chase(notice: UUID, services: ServicesDep, caller: CallerDep) -> AppNotice:
    """Send a notice again now, as a reminder."""
    return await notices.chase(services, caller, notice)
