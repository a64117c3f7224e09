"""Confirm a double opt-in: whoever has the token is the one to whom it was sent, so nobody signs in here.

The second half of a double opt-in: a token that goes to the person's own address and comes back once.

``cdvc_<event>_<secret>``: the event's id in 32 hex digits, and 32 random bytes in base64url without padding. Of the
token the vault keeps the SHA-256: with 256 bits of randomness there is nothing to guess.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from sqlalchemy import insert, select, update

from vault.access.sign_in import RateWindow
from vault.clock import to_microseconds
from vault.consent.guardians import birth_date, needs_guardian
from vault.consent.ledger import CONFIRMATION
from vault.consent.transaction import Confirmation, Recorded, changing
from vault.context import Caller
from vault.errors import NotFound
from vault.ids import DEFAULT_TENANT, PrincipalId, SubjectId, TenantId
from vault.lifecycle.key_fence import current_keys
from vault.principals.principal import Principal

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.event import Event
    from vault.consent.transaction import Change
    from vault.context import Services


MOST_A_MINUTE = 1_200
"""Tokens that one process looks at in a minute, those of pages included."""
MOST_ENTRIES_A_MINUTE = 60
"""Entries on the audit log for wrong tokens; the next one says how many it stands for."""

LINK = UUID("00000000-0000-7000-8000-000000000002")
"""Stands on the audit log for whoever follows a link: the person to whom it was sent."""


class Asked(NamedTuple):
    """What the page that asks for the confirmation shows: the title of the notice, in the notice's language."""

    language: str
    title: str


class Confirmations:
    """Takes tokens back.

    Unknown, used, expired and superseded tokens get the same answer. Nobody guesses 256 bits; the limits are there so
    that nobody floods the database or the audit log by trying.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._minute = RateWindow(services.clock)

    async def look_up(self, token: str) -> Asked | None:
        """Tell what a token would confirm, without using it; none where it confirms nothing.

        Raises:
            TooMany: this process has looked at too many within the minute.
        """
        found = await self._waiting(token)
        if found is None:
            return None
        event = await self._services.consents.event(found.tenant, found.subject, found.event)
        text = self._services.policies.active(found.tenant).policy_set.notices.by_digest(event.notice_digest or "")
        return Asked(event.language or "en", "" if text is None else text.title)

    async def confirm(self, token: str, request_id: str) -> Recorded:
        """Record the consent that was asked for.

        Raises:
            NotFound: the token confirms nothing (any more).
            TooMany: this process has looked at too many within the minute.
        """
        found = await self._waiting(token)
        if found is None:
            raise await self._refuse(request_id)
        principal = Principal(PrincipalId(LINK), found.tenant, "confirmation-link", "app", ())
        try:
            return await _confirm(self._services, Caller(principal, request_id), found)
        except NotFound as error:  # erased meanwhile, withdrawn meanwhile, used meanwhile: one answer for all
            raise _invalid(error.audit) from None

    async def _waiting(self, token: str) -> Waiting | None:
        self._minute.look(MOST_A_MINUTE)
        tenants = [TenantId(each.decisions.tenant) for each in self._services.policies.all_active()]
        async with self._services.data.reading() as connection:
            return await waiting(connection, tenants, token, self._services.clock.now())

    async def _refuse(self, request_id: str) -> NotFound:
        """Write the attempt down, on the default tenant's log: a wrong token names nobody's."""
        count = self._minute.refused(MOST_ENTRIES_A_MINUTE)
        if count is None:
            return _invalid(None)
        error = _invalid(None)
        made = self._services.audit_log.entry(
            tenant=DEFAULT_TENANT,
            action="confirm-consent",
            decision="denied",
            code=error.code,
            request=request_id,
            count=count,
        )
        await self._services.audit_log.append(made)
        error.audit = str(made.id)
        return error


async def _confirm(services: Services, caller: Caller, found: Waiting) -> Recorded:
    requested = await _requested(services, found)
    keys = (await services.keyring.subject_keys(found.tenant, [found.subject])).get(found.subject)
    async with changing(services, caller, "confirm-consent", found.subject) as change:
        if requested is None or requested.purpose is None or keys is None or _is_superseded(change, requested):
            raise _invalid(None)
        keys = (await current_keys(services, change.connection, found.tenant, {found.subject: keys}))[found.subject]
        if requested.by != "guardian" and needs_guardian(
            change, await birth_date(change, keys), requested.jurisdiction
        ):  # the date of birth came after the request
            raise _invalid(None)
        if not await use(change.connection, found, change.now):
            raise _invalid(None)
        before = change.said(requested.purpose)
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
        return Recorded(event.id, change.said(requested.purpose).state)


async def _requested(services: Services, found: Waiting) -> Event | None:
    """Fetch the request; none where the person was merged into another meanwhile."""
    try:
        return await services.consents.event(found.tenant, found.subject, found.event)
    except NotFound:
        return None


def _is_superseded(change: Change, requested: Event) -> bool:
    """Tell whether something was said since the request that it must not undo."""
    said = change.said(requested.purpose or "")
    if requested.valid_until is not None and requested.valid_until <= change.now:
        return True
    asked = to_microseconds(requested.occurred_at)
    if said.objected_at is not None and said.objected_at >= asked:
        return True
    if said.state == "pending":
        return said.event != requested.id.bytes
    return said.since > asked or (said.since == asked and said.state != "given")


def _invalid(audit: str | None) -> NotFound:
    return NotFound(
        "this confirmation is not valid: the link may be mistyped, used already, or too old",
        audit=audit,
        code="confirmation-invalid",
        hint="ask for a new one where you agreed",
    )


_SHAPE = re.compile(r"cdvc_([0-9a-f]{32})_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_NOBODY = hashlib.sha256(secrets.token_bytes(32)).digest()
"""The digest of a token that nobody has: an unknown one is compared with it, and costs what a known one does."""


class Waiting(NamedTuple):
    """A request that waits to be confirmed."""

    tenant: TenantId
    subject: SubjectId
    event: UUID


async def ask_to_confirm(change: Change, requested: Event) -> Confirmation:
    """Make the token of a request, in the transaction that records the request."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    token = f"cdvc_{requested.id.hex}_{secret}"
    rules = change.services.policies.active(change.caller.tenant).policy_set.consent
    expires_at = change.now + rules.confirm
    row = {
        "tenant_id": change.caller.tenant,
        "event_id": requested.id,
        "subject_id": change.subject,
        "token_hash": _digest(token),
        "expires_at": expires_at,
        "used_at": None,
    }
    await change.connection.execute(insert(CONFIRMATION), [row])
    return Confirmation(token, expires_at)


async def waiting(connection: AsyncConnection, tenants: list[TenantId], token: str, now: datetime) -> Waiting | None:
    """Find the request that a token confirms; none where it is unknown, used or expired."""
    shaped = _SHAPE.fullmatch(token)
    row: Any = None
    if shaped is not None:
        statement = select(CONFIRMATION).where(
            CONFIRMATION.c.tenant_id.in_(tenants), CONFIRMATION.c.event_id == UUID(hex=shaped[1])
        )
        row = (await connection.execute(statement)).one_or_none()
    right = hmac.compare_digest(_digest(token), _NOBODY if row is None else bytes(row.token_hash))
    if row is None or not right or row.used_at is not None or now >= row.expires_at:
        return None
    return Waiting(TenantId(row.tenant_id), SubjectId(row.subject_id), row.event_id)


async def use(connection: AsyncConnection, found: Waiting, now: datetime) -> bool:
    """Use a token up; False where somebody else has done so meanwhile."""
    used = await connection.execute(
        update(CONFIRMATION)
        .where(
            CONFIRMATION.c.tenant_id == found.tenant,
            CONFIRMATION.c.event_id == found.event,
            CONFIRMATION.c.used_at.is_(None),
        )
        .values(used_at=now)
    )
    return used.rowcount == 1


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
