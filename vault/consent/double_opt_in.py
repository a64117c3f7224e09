"""Double opt-in: a token goes to the person's own address, and sending it back confirms the consent.

Possession of the token proves control of the address, so no sign-in is needed. A token is ``cdvc_<event>_<secret>``:
the event's id in 32 hex digits, and 32 random bytes in base64url without padding. The vault stores a keyed digest of
the token, and the row has a MAC: a row that the vault did not write confirms nothing.
"""

from __future__ import annotations

import base64
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import insert, select, update

from vault.access.callers import RateWindow, record_refusal
from vault.clock import to_microseconds
from vault.consent.expiry import birth_date, needs_guardian
from vault.consent.store import CONFIRMATION, CONFIRMATIONS
from vault.consent.transaction import changing
from vault.consent.views import ConfirmationToken, RecordedEvent
from vault.context import Caller
from vault.crypto.bearers import keyed_digest, matches, plain_digest
from vault.errors import NotFound
from vault.ids import PrincipalId, SubjectId, TenantId
from vault.lifecycle.key_fence import current_keys
from vault.principals.principal import Principal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.model import Event
    from vault.consent.transaction import Change
    from vault.context import Services


MOST_A_MINUTE = 1_200
"""Tokens that confirm something, and others, each, that one process answers in a minute, those of pages included."""
MOST_ENTRIES_A_MINUTE = 60
"""Audit entries for wrong tokens in a minute; the next entry has the number of those left out."""

LINK = UUID("00000000-0000-7000-8000-000000000002")
"""The principal in the audit log for a person who follows the link that was sent to them."""


@dataclass(frozen=True, slots=True)
class NoticeShown:
    """What the page that asks for the confirmation shows: who asks, and the text that the person agreed to.

    Attributes:
        language: of the text.
        controller: the name of the company; empty if it is not stated.
        title: of the notice; empty if its text is not known, as of a consent that an app brought with its own text.
        text: of the notice, in Markdown.
    """

    language: str
    controller: str
    title: str
    text: str


class Confirmations:
    """Checks and redeems tokens.

    Unknown, used, expired and superseded tokens get the same answer. A token of 256 bits cannot be guessed; the rate
    limits keep callers from flooding the database or the audit log with attempts.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._open, self._unknown = RateWindow(services.clock), RateWindow(services.clock)

    async def look_up(self, token: str) -> NoticeShown | None:
        """Return what a token would confirm, without redeeming it; None if it confirms nothing.

        Raises:
            TooMany: this process has checked too many tokens within the minute.
        """
        confirmation = await self._open_confirmation(token)
        if confirmation is None:
            return None
        event = await self._services.consents.event(confirmation.tenant, confirmation.subject, confirmation.event)
        policy_set = self._services.policies.active(confirmation.tenant).policy_set
        notice = policy_set.notices.by_digest(event.notice_digest or "")
        title, text = ("", "") if notice is None else (notice.title, notice.body)
        return NoticeShown(event.language or "en", policy_set.controller.name, title, text)

    async def confirm(self, token: str, request_id: str) -> RecordedEvent:
        """Redeem a token: record the consent that it confirms.

        Raises:
            NotFound: the token confirms nothing, or no longer.
            TooMany: this process has checked too many tokens within the minute.
        """
        confirmation = await self._open_confirmation(token)
        if confirmation is None:
            raise await self._refuse(request_id)
        principal = Principal(PrincipalId(LINK), confirmation.tenant, "confirmation-link", "app", ())
        try:
            return await _confirm(self._services, Caller(principal, request_id), confirmation)
        except NotFound as error:  # erased, withdrawn or redeemed since the look-up: one answer for all of them
            raise _invalid(error.audit) from None

    async def _open_confirmation(self, token: str) -> OpenConfirmation | None:
        """Find the request that a token confirms; None if the token is unknown, used or expired.

        Raises:
            TooMany: this process has looked up too many such tokens within the minute.
        """
        match = _SHAPE.fullmatch(token)
        row: Any = None
        if match is not None:
            tenants = [TenantId(active.decisions.tenant) for active in self._services.policies.all_active()]
            statement = select(*CONFIRMATIONS.columns).where(
                CONFIRMATION.c.tenant_id.in_(tenants), CONFIRMATION.c.event_id == UUID(hex=match[1])
            )
            async with self._services.data.reading() as connection:
                row = (await connection.execute(statement)).one_or_none()
        is_token = await self._is_token(token, row)
        if not is_token or row.used_at is not None or self._services.clock.now() >= row.expires_at:
            self._unknown.count_attempt(MOST_A_MINUTE)
            return None
        self._open.count_attempt(MOST_A_MINUTE)  # separate, so that tokens at random do not use up the limit
        return OpenConfirmation(TenantId(row.tenant_id), SubjectId(row.subject_id), row.event_id)

    async def _is_token(self, token: str, row: Any) -> bool:
        """Return whether a token is the row's. Without a row it takes as long: timing does not reveal which exist."""
        keyring, plain = self._services.keyring, plain_digest(token)
        stored, tokens = (None, None) if row is None else (row.token_hash, await keyring.token_key(row.tenant_id))
        if not matches("confirmation-token", plain, stored, tokens):
            return False
        return CONFIRMATIONS.is_genuine(await keyring.row_keys(row.tenant_id), row)

    async def _refuse(self, request_id: str) -> NotFound:
        """Record the attempt, and return the error: a wrong token belongs to no tenant."""
        error = _invalid(None)
        error.audit = await record_refusal(
            self._services, self._unknown, "confirm-consent", error, request_id, most=MOST_ENTRIES_A_MINUTE
        )
        return error


async def _confirm(services: Services, caller: Caller, confirmation: OpenConfirmation) -> RecordedEvent:
    tenant, subject = confirmation.tenant, confirmation.subject
    try:
        requested: Event | None = await services.consents.event(tenant, subject, confirmation.event)
    except NotFound:  # the person was merged into another since
        requested = None
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    async with changing(services, caller, "confirm-consent", subject) as change:
        if requested is None or requested.purpose is None or keys is None or _is_superseded(change, requested):
            raise _invalid(None)
        keys = (await current_keys(services, change.connection, tenant, {subject: keys}))[subject]
        if requested.by != "guardian" and needs_guardian(
            change, await birth_date(change, keys), requested.jurisdiction
        ):  # the date of birth was recorded after the request
            raise _invalid(None)
        if not await use_token(services, change.connection, confirmation):
            raise _invalid(None)
        before = change.purpose_state(requested.purpose)
        event = change.event(
            "renewed" if before.state == "given" else "given",
            by=requested.by,
            occurred_at=change.next_moment(requested.purpose),
            purpose=requested.purpose,
            notice=requested.notice,
            notice_digest=requested.notice_digest,
            language=requested.language,
            channel=requested.channel,
            method=requested.method,
            jurisdiction=requested.jurisdiction,
            valid_until=requested.valid_until,
            answers=requested.id,
        )
        await change.append(event)
        return RecordedEvent(id=event.id, state=change.purpose_state(requested.purpose).state)


def _is_superseded(change: Change, requested: Event) -> bool:
    """Return whether a later event of the person prevails over the request."""
    current = change.purpose_state(requested.purpose or "")
    if requested.valid_until is not None and requested.valid_until <= change.now:
        return True
    requested_at = to_microseconds(requested.occurred_at)
    if current.objected_at is not None and current.objected_at >= requested_at:
        return True
    if current.state == "pending":
        return current.event != requested.id.bytes
    return current.since > requested_at or (current.since == requested_at and current.state != "given")


def _invalid(audit: str | None) -> NotFound:
    return NotFound(
        "this confirmation is not valid: the link may be mistyped, used already, or too old",
        audit=audit,
        code="confirmation-invalid",
        hint="ask for a new one where you agreed",
    )


_SHAPE = re.compile(r"cdvc_([0-9a-f]{32})_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


@dataclass(frozen=True, slots=True)
class OpenConfirmation:
    """A request for consent that can still be confirmed."""

    tenant: TenantId
    subject: SubjectId
    event: UUID


async def issue_token(change: Change, requested: Event) -> ConfirmationToken:
    """Issue the token of a request, in the transaction that records the request."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    token = f"cdvc_{requested.id.hex}_{secret}"
    expires_at = change.now + change.policy_set.consent.confirm
    tenant, keyring = change.caller.tenant, change.services.keyring
    row = {
        "tenant_id": tenant,
        "event_id": requested.id,
        "subject_id": change.subject,
        "token_hash": keyed_digest(await keyring.token_key(tenant), "confirmation-token", plain_digest(token)),
        "expires_at": expires_at,
        "used_at": None,
    }
    await change.connection.execute(insert(CONFIRMATION), [CONFIRMATIONS.seal(await keyring.row_keys(tenant), row)])
    return ConfirmationToken(token=token, expires=expires_at)


async def use_token(services: Services, connection: AsyncConnection, confirmation: OpenConfirmation) -> bool:
    """Mark a token as used; returns False if another transaction was first.

    Raises:
        RowTampered: the row is not as the vault wrote it.
    """
    this = (
        CONFIRMATION.c.tenant_id == confirmation.tenant,
        CONFIRMATION.c.event_id == confirmation.event,
        CONFIRMATION.c.used_at.is_(None),
    )
    row = (await connection.execute(select(*CONFIRMATIONS.columns).where(*this).with_for_update())).one_or_none()
    if row is None:
        return False
    keys = await services.keyring.row_keys(confirmation.tenant)
    CONFIRMATIONS.check(keys, row)
    sealed = CONFIRMATIONS.reseal(keys, row, used_at=services.clock.now())
    # One statement that checks and sets: of two that redeem a token at the same time, the second updates no row.
    return (await connection.execute(update(CONFIRMATION).where(*this).values(sealed))).rowcount == 1
