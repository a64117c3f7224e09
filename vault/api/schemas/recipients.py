"""The bodies of requests about webhooks and notices to apps, and of their answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from vault.api.schemas.subjects import Body
from vault.recipients.store import NoticeKind, NoticeState, WebhookState


class NewWebhook(Body):
    """Where an app wants its notices sent."""

    url: Annotated[
        str,
        Field(max_length=2000, description="https, of a public address.", examples=["https://crm.example.org/vault"]),
    ]


class WebhookShown(BaseModel):
    """An app's webhook."""

    app: str
    url: str
    state: WebhookState
    secret_version: int
    previous_until: datetime | None = None
    created_at: datetime
    updated_at: datetime
    why: str | None = None


class WebhookTold(WebhookShown):
    """An app's webhook with what its receiver needs to check signatures."""

    public_key: Annotated[str, Field(description="By which `v1a` signatures are checked: `whpk_…`.")]
    secret: Annotated[
        str | None, Field(description="By which `v1` signatures are checked: `whsec_…`. Shown once, when it is new.")
    ] = None


class WebhookList(BaseModel):
    """The webhooks of all apps."""

    webhooks: list[WebhookShown]


class TrialTold(BaseModel):
    """What came of a test."""

    taken: bool
    status: int | None
    code: str | None


class NoticeTold(BaseModel):
    """A notice to an app: what happened to whose data, and which of it the app was shown."""

    id: UUID
    kind: NoticeKind
    subject: UUID
    former: Annotated[list[UUID], Field(description="Ids that were merged into this person.")]
    fields: list[str]
    request: UUID | None
    state: NoticeState
    created_at: datetime
    acknowledged_at: datetime | None = None


class NoticePage(BaseModel):
    """Some notices, the oldest first."""

    notices: list[NoticeTold]
    next: UUID | None


class SentTold(NoticeTold):
    """A notice with what became of it."""

    app: str
    webhook: Annotated[WebhookState | None, Field(description="Null: the app has none, and fetches its notices.")]
    attempts: int
    next_at: datetime | None
    last_status: int | None
    last_code: str | None
    delivered_at: datetime | None
    acknowledged_by: UUID | None
    chases: int
    chased_at: datetime | None


class SentPage(BaseModel):
    """Some notices to all apps, the oldest first."""

    notices: list[SentTold]
    next: UUID | None
