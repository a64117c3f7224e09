"""Sessions of people: sign in with a one-time code, sign out, and the limits for a signed-in person.

A token is ``cdvs_<id>_<secret>``: the session's id in 32 hex digits, and 32 random bytes in base64url without padding.
As for every token with 256 bits of randomness, the vault stores its SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from contextlib import contextmanager
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple
from uuid import UUID

from pydantic import Field
from sqlalchemy import and_, delete, insert, select, update

from vault.access.authorization import audit_entry
from vault.access.callers import RateWindow, data_subject_caller
from vault.access.recording import record_failure
from vault.errors import NotAuthenticated, TooMany, Unavailable, VaultError
from vault.identity.codes import CodeRequest, claim_digest, code_invalid, forget_codes, issue, send_code_to, spend, use
from vault.identity.tables import SUBJECT_SESSION
from vault.ids import DEFAULT_TENANT, PrincipalId, Pseudonym, SubjectId, TenantId, new_id
from vault.letters.send import THERE
from vault.principals.principal import Principal
from vault.requests.store import REQUEST
from vault.requests.verification import find_person
from vault.subjects.changes import locked_subject
from vault.subjects.tables import SUBJECT
from vault.views import Moment, View

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Action
    from vault.context import Services
    from vault.identity.codes import Spent


LIFE: Final = timedelta(minutes=30)
FRESH: Final = timedelta(minutes=10)
"""How long after signing in a person may do what cannot be undone, and download packages."""
_SHAPE: Final = re.compile(r"cdvs_([0-9a-f]{32})_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_NOBODY: Final = hashlib.sha256(secrets.token_bytes(32)).digest()
"""The digest of an unknown token: unknown tokens are compared with it, so that they take as long as known ones."""
_SESSION = SUBJECT_SESSION.c


class SessionCode(View):
    """A one-time code for signing in was requested. Whether one was sent, only the person learns."""

    session: UUID
    expires_at: Moment


class OpenedSession(View):
    """A session. Its token is in this answer only."""

    token: Annotated[str, Field(repr=False, examples=["cdvs_…"])]
    expires_at: Moment
    fresh_until: Annotated[Moment, Field(description="Until then erasures, corrections and downloads are possible.")]


class Session(NamedTuple):
    """The session of a signed-in person."""

    tenant: TenantId
    id: UUID
    subject: SubjectId
    pseudonym: Pseudonym
    authenticated_at: datetime
    expires_at: datetime

    def is_fresh(self, now: datetime) -> bool:
        """Return whether the person signed in within the last minutes."""
        return self.authenticated_at <= now < self.authenticated_at + FRESH


async def add_session(
    connection: AsyncConnection, tenant: TenantId, subject: SubjectId, now: datetime
) -> tuple[UUID, OpenedSession]:
    """Add a session of a person whose row is locked."""
    session = new_id()
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    token = f"cdvs_{session.hex}_{secret}"
    row = {
        "tenant_id": tenant,
        "id": session,
        "subject_id": subject,
        "token_hash": _digest(token),
        "created_at": now,
        "authenticated_at": now,
        "expires_at": now + LIFE,
        "ended_at": None,
    }
    await connection.execute(insert(SUBJECT_SESSION), [row])
    # The token is in this answer only: its digest is stored.
    return session, OpenedSession(token=token, expires_at=now + LIFE, fresh_until=now + FRESH)


async def find_session(
    connection: AsyncConnection, tenants: Sequence[TenantId], token: str, now: datetime
) -> Session | None:
    """Return the session of a token; None if it is unknown, ended or expired, or the person does not exist any more."""
    shaped = _SHAPE.fullmatch(token)
    row: Any = None
    if shaped is not None:
        whose = and_(SUBJECT.c.tenant_id == _SESSION.tenant_id, SUBJECT.c.id == _SESSION.subject_id)
        statement = (
            select(SUBJECT_SESSION, SUBJECT.c.pseudonym, SUBJECT.c.state)
            .join(SUBJECT, whose)
            .where(_SESSION.tenant_id.in_(tenants), _SESSION.id == UUID(hex=shaped[1]))
        )
        row = (await connection.execute(statement)).one_or_none()
    right = hmac.compare_digest(_digest(token), _NOBODY if row is None else bytes(row.token_hash))
    if row is None or not right or row.ended_at is not None or now >= row.expires_at or row.state not in THERE:
        return None
    return Session(
        TenantId(row.tenant_id),
        row.id,
        SubjectId(row.subject_id),
        Pseudonym(row.pseudonym),
        row.authenticated_at,
        row.expires_at,
    )


async def end(connection: AsyncConnection, session: Session, now: datetime) -> None:
    """End a session."""
    this = (_SESSION.tenant_id == session.tenant, _SESSION.id == session.id)
    await connection.execute(update(SUBJECT_SESSION).where(*this, _SESSION.ended_at.is_(None)).values(ended_at=now))


async def forget_sessions(services: Services) -> int:
    """Delete expired sessions; return how many."""
    async with services.data.transaction() as connection:
        over = delete(SUBJECT_SESSION).where(_SESSION.expires_at <= services.clock.now())
        return (await connection.execute(over)).rowcount


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


MOST_A_MINUTE: Final = 300
"""Requests for codes, tries of codes and unknown tokens, each, that one process accepts in a minute."""
MOST_ENTRIES_A_MINUTE: Final = 60
"""Audit entries for refusals; the next one has the count of the omitted ones."""


class People:
    """Signs people in and out.

    Limits keep unauthenticated callers from flooding mailboxes, the database or the audit log: for attempts in a minute
    in each process, and for codes of each claim and each person.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._asked, self._tried, self._shown = (RateWindow(services.clock) for _ in range(3))

    async def ask(
        self, tenant: TenantId, identity: Mapping[str, Any], language: str | None, request_id: str
    ) -> SessionCode:
        """Send a code to the claimed person. The result is the same whether or not there is such a person.

        Raises:
            InvalidInput: the identity is invalid.
            MailNotConfigured: this vault sends no letters.
            NotFound: there is no such tenant.
            TooMany: the limit of codes is reached.
        """
        try:
            self._asked.count_attempt(MOST_A_MINUTE)
            self._services.policies.active(tenant)
            self._services.mail.require()
            code = await self._issue(tenant, identity, request_id)
        except VaultError as error:
            await self._refuse(self._asked, "send-code", error, request_id)
            raise
        self._services.mail.soon(self._send(CodeRequest(tenant, code.session, language), identity))
        return code

    async def enter(self, code: UUID, typed: str, request_id: str) -> OpenedSession:
        """Open a session with a code.

        Raises:
            NotFound: the code is wrong.
            TooMany: the limit of this process for the minute is reached.
        """
        try:
            self._tried.count_attempt(MOST_A_MINUTE)
            tenants = self._tenants()
            spent = await spend(self._services, tenants, code, typed) if tenants else None
            if spent is None:
                raise code_invalid()
            return await self._open(spent, request_id)
        except VaultError as error:
            await self._refuse(self._tried, "open-session", error, request_id)
            raise

    async def sign_in(self, bearer: str | None, request_id: str) -> Session:
        """Return the session of a bearer token.

        Raises:
            NotAuthenticated: there is no token, or it is not valid: one error for all reasons.
            TooMany: the limit of unknown tokens for the minute is reached.
        """
        now = self._services.clock.now()
        found = None
        if bearer is not None:
            async with self._services.data.reading() as connection:
                found = await find_session(connection, self._tenants(), bearer, now)
        if found is not None:
            return found
        error: VaultError = NotAuthenticated(
            "the bearer is not accepted", hint="Sign in: POST /v1/me/sessions, and then send `Authorization: Bearer …`"
        )
        try:
            self._shown.count_attempt(MOST_A_MINUTE)
        except TooMany as too_many:
            error = too_many
        await self._refuse(self._shown, "sign-in", error, request_id)
        raise error

    async def sign_out(self, session: Session, request_id: str) -> None:
        """End a session."""
        services = self._services
        async with services.data.transaction() as connection:
            await end(connection, session, services.clock.now())
            entry = audit_entry(
                services,
                data_subject_caller(session.tenant, request_id),
                action="end-session",
                decision="allowed",
                subjects=(session.pseudonym,),
                target=session.id,
            )
            await services.audit_log.append_in(connection, [entry])

    async def _issue(self, tenant: TenantId, identity: Mapping[str, Any], request_id: str) -> SessionCode:
        services = self._services
        claim = claim_digest(await services.keyring.token_key(tenant), identity)
        async with services.data.transaction() as connection:
            code, expires_at = await issue(services, connection, tenant, claim)
            entry = audit_entry(
                services,
                data_subject_caller(tenant, request_id),
                action="send-code",
                decision="allowed",
                target=code,
            )
            await services.audit_log.append_in(connection, [entry])
        return SessionCode(session=code, expires_at=expires_at)

    async def _send(self, wanted: CodeRequest, identity: Mapping[str, Any]) -> None:
        match = await find_person(self._services, wanted.tenant, identity)
        await send_code_to(self._services, wanted, match.subject)

    async def _open(self, spent: Spent, request_id: str) -> OpenedSession:
        services, now = self._services, self._services.clock.now()
        async with services.data.transaction() as connection:
            row = await locked_subject(connection, spent.tenant, spent.subject)
            if row is None or row.state not in THERE or not await use(connection, spent, now):
                raise code_invalid()
            session, opened = await add_session(connection, spent.tenant, spent.subject, now)
            entry = audit_entry(
                services,
                data_subject_caller(spent.tenant, request_id),
                action="open-session",
                decision="allowed",
                subjects=(row.pseudonym,),
                target=session,
            )
            await services.audit_log.append_in(connection, [entry])
        return opened

    def _tenants(self) -> list[TenantId]:
        return [TenantId(active.decisions.tenant) for active in self._services.policies.all_active()]

    async def _refuse(self, minute: RateWindow, action: Action, error: VaultError, request_id: str) -> None:
        """Record a refusal in the default tenant's audit log, at a limited rate."""
        if isinstance(error, Unavailable) or error.audit is not None:
            return
        count = minute.refused(MOST_ENTRIES_A_MINUTE)
        if count is None:
            return
        entry = self._services.audit_log.entry(
            tenant=DEFAULT_TENANT,
            action=action,
            decision="denied",
            code=error.code,
            request=request_id,
            count=count,
        )
        await self._services.audit_log.append(entry)
        error.audit = str(entry.id)


MOST_A_DAY: Final = 20
"""Requests of one person within a day: each may cost a package, which is stored for weeks."""
DAY: Final = timedelta(days=1)
_encrypting: Final[set[UUID]] = set()


async def require_pace(services: Services, session: Session, request_id: str, action: Action) -> None:
    """Count one call of a person against the rate of searches.

    Raises:
        TooMany: the person has exceeded the rate.
    """
    # Counted under the person's own id: all people share one principal, and must not use up each other's rate.
    person = Principal(PrincipalId(session.subject), session.tenant, "the-person", "app", ())
    try:
        await services.limits.take(person, "search", 1)
    except VaultError as error:
        await _note(services, session, request_id, action, error)
        raise


async def require_room(services: Services, session: Session, request_id: str) -> None:
    """Require that a person has not reached the limit of requests within a day.

    Raises:
        TooMany: they have, or have exceeded the rate.
    """
    await require_pace(services, session, request_id, "submit-request")
    now = services.clock.now()
    earlier = await _oldest_counted(services, session, now)
    if earlier is not None:
        error = TooMany(
            f"limit of {MOST_A_DAY} requests per person per day reached",
            retry_after=ceil((earlier + DAY - now).total_seconds()),
            first=True,
            hint="Wait for the time in `Retry-After`; your earlier requests are being processed.",
        )
        await _note(services, session, request_id, "submit-request", error)
        raise error


@contextmanager
def one_at_a_time(session: Session) -> Iterator[None]:
    """Let a person encrypt one package at a time: each takes a while, and all share one queue.

    Raises:
        TooMany: another package of the person is being encrypted in this process.
    """
    if session.subject in _encrypting:
        raise TooMany("another package of yours is being encrypted", retry_after=5, first=True)
    _encrypting.add(session.subject)
    try:
        yield
    finally:
        _encrypting.discard(session.subject)


async def _oldest_counted(services: Services, session: Session, now: datetime) -> datetime | None:
    """Return when the oldest request that counts was received, if the limit is reached; else None."""
    statement = (
        select(REQUEST.c.received_at)
        .where(
            REQUEST.c.tenant_id == session.tenant,
            REQUEST.c.subject_id == session.subject,
            REQUEST.c.received_at > now - DAY,
        )
        .order_by(REQUEST.c.received_at.desc())
        .offset(MOST_A_DAY - 1)
        .limit(1)
    )
    async with services.data.reading() as connection:
        found: datetime | None = (await connection.execute(statement)).scalar_one_or_none()
    return found


async def _note(services: Services, session: Session, request_id: str, action: Action, error: VaultError) -> None:
    caller = data_subject_caller(session.tenant, request_id)
    await record_failure(services, caller, action, error, subjects=(session.pseudonym,))


async def forget_identity(services: Services) -> int:
    """Delete codes that no limit counts any more, and expired sessions; return how many."""
    return await forget_codes(services) + await forget_sessions(services)
