"""Answers about webhooks and notices to apps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from pydantic import Field

from vault.recipients.store import NoticeKind, NoticeState, WebhookState
from vault.views import Moment, View

if TYPE_CHECKING:
    from vault.recipients.store import RecipientNotice, StoredWebhook


def _is_none(value: object) -> bool:
    return value is None


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

    @classmethod
    def of(cls, app: str, webhook: StoredWebhook) -> Webhook:
        """Return the view of an app's webhook."""
        return cls(
            app=app,
            url=webhook.url,
            state=webhook.state,
            secret_version=webhook.version,
            previous_until=webhook.previous_until,
            created_at=webhook.created_at,
            updated_at=webhook.updated_at,
            why=webhook.why,
        )


class WebhookWithKeys(Webhook):
    """An app's webhook, with what its receiver needs to check signatures."""

    public_key: Annotated[
        str, Field(description="The key for `v1a` signatures, `whpk_…`: the same for all apps of a tenant.")
    ]
    secret: Annotated[
        str | None,
        Field(
            exclude_if=_is_none, repr=False, description="The key for `v1` signatures, `whsec_…`; only when it is new."
        ),
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

    @classmethod
    def of(cls, notice: RecipientNotice) -> AppNotice:
        """Return the view of a notice, as its app sees it."""
        return cls(
            id=notice.id,
            kind=notice.kind,
            subject=notice.subject,
            former=list(notice.former),
            fields=list(notice.fields),
            request=notice.request,
            state=notice.state,
            created_at=notice.created_at,
            acknowledged_at=notice.acknowledged_at,
        )


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

    @classmethod
    def with_delivery(cls, notice: RecipientNotice, app: str, webhook: WebhookState | None) -> SentNotice:
        """Return the view of a notice, as staff see it."""
        return cls(
            **dict(AppNotice.of(notice)),
            app=app,
            principal=notice.principal,
            webhook=webhook,
            round=notice.round,
            attempts=notice.attempts,
            next_at=notice.next_at,
            last_status=notice.last_status,
            last_code=notice.last_code,
            delivered_at=notice.delivered_at,
            acknowledged_by=notice.acknowledged_by,
            chases=notice.chases,
            chased_at=notice.chased_at,
        )


class SentNoticePage(View):
    """Some notices to all apps, the oldest first."""

    notices: list[SentNotice]
    next: UUID | None
