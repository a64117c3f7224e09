"""Answers about webhooks and notices to apps."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from vault.recipients.store import NoticeKind, NoticeState, WebhookState
from vault.views import Moment, OmitIfNone, View


class Webhook(View):
    """An app's webhook."""

    app: str
    url: str
    state: WebhookState
    secret_version: int
    previous_until: Annotated[Moment | None, Field(description="Until then the previous secret signs as well.")]
    created_at: Moment
    updated_at: Moment
    why: Annotated[str | None, Field(description="Why it is disabled.")]


class WebhookWithKeys(Webhook):
    """An app's webhook, with what its receiver needs to check signatures."""

    public_key: Annotated[
        str, Field(description="The key for `v1a` signatures, `whpk_…`: the same for all apps of a tenant.")
    ]
    secret: Annotated[
        OmitIfNone[str],
        Field(repr=False, description="The key for `v1` signatures, `whsec_…`; only when it is new."),
    ] = None


class WebhookList(View):
    """The webhooks of all apps."""

    webhooks: list[Webhook]


class WebhookTest(View):
    """The result of a test: whether the app accepted the event, the status that it answered, and why not."""

    taken: bool
    status: int | None
    code: str | None


class AppNotice(View):
    """A notice to an app: what happened to a person's data, and the fields concerned that the app was shown."""

    id: UUID
    kind: NoticeKind
    subject: UUID
    former: Annotated[list[UUID], Field(description="Ids that were merged into this person.")]
    fields: list[str]
    request: UUID | None
    state: NoticeState
    created_at: Moment
    acknowledged_at: Moment | None


class AppNoticePage(View):
    """Some notices to the calling app, the oldest first."""

    notices: list[AppNotice]
    next: UUID | None


class SentNotice(AppNotice):
    """A notice and its delivery."""

    app: str
    principal: Annotated[UUID, Field(description="The app's id.")]
    webhook: Annotated[WebhookState | None, Field(description="Null: the app has none, and fetches its notices.")]
    round: Annotated[int, Field(description="How often the delivery was started again.")]
    attempts: Annotated[int, Field(description="Of this round.")]
    next_at: Moment | None
    last_status: int | None
    last_code: str | None
    delivered_at: Moment | None
    acknowledged_by: UUID | None
    chases: Annotated[int, Field(description="How often the app was reminded.")]
    chased_at: Moment | None


class NoticeDelivery(View):
    """The latest delivery of a notice."""

    id: UUID
    state: NoticeState
    last_status: int | None
    last_code: str | None


class ChasedNotices(View):
    """How many apps were reminded."""

    chased: int


class SentNoticePage(View):
    """Some notices to all apps, the oldest first."""

    notices: list[SentNotice]
    next: UUID | None
