"""Sessions of people: sign in with a one-time code, sign out, and the limits for a signed-in person.

A token is ``cdvs_<id>_<secret>``: the session's id in 32 hex digits, and 32 random bytes in base64url without padding.
The vault stores a keyed digest of it, and the row has a MAC: a row that the vault did not write opens no session.
"""

from __future__ import annotations

import base64
import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from pydantic import Field
from sqlalchemy import and_, delete, insert, select, update

from vault.access.authorization import audit_entry
from vault.access.callers import RateWindow, data_subject_caller, record_refusal
from vault.access.recording import record_failure
from vault.contacts.changes import changed_since, young_contacts
from vault.crypto.bearers import keyed_digest, matches, plain_digest
from vault.errors import NotAuthenticated, TooMany, Unavailable, VaultError
from vault.identity.codes import (
    SEVERAL,
    CodeRequest,
    claim_digest,
    code_invalid,
    forget_codes,
    is_live,
    issue,
    send_claimed,
    sent_along,
    settle_used,
    spend,
    use,
)
from vault.identity.tables import SESSIONS, SUBJECT_SESSION
from vault.ids import DEFAULT_TENANT, PrincipalId, Pseudonym, SubjectId, TenantId, new_id
from vault.letters.send import THERE
from vault.principals.principal import Principal
from vault.requests.store import REQUEST
from vault.requests.verification import Match, find_person
from vault.subjects.tables import SUBJECT, SUBJECTS
from vault.views import Moment, View

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Action
    from vault.context import Caller, Services
    from vault.identity.codes import Spent


LIFE: Final = timedelta(minutes=30)
FRESH: Final = timedelta(minutes=10)
"""How long after signing in a person may do what cannot be undone, and download packages."""
_SHAPE: Final = re.compile(r"cdvs_([0-9a-f]{32})_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_SESSION = SUBJECT_SESSION.c


class SessionCode(View):
    """A one-time code for signing in was requested. Whether one was sent, only the person learns."""

    session: UUID
    expires_at: Moment


class OtherSession(View):
    """A session of another entry with the same e-mail address. It opens this entry and no other."""

    token: Annotated[str, Field(repr=False, examples=["cdvs_…"])]
    expires_at: Moment


class OpenedSession(View):
    """A session. Its token is in this answer only."""

    token: Annotated[str, Field(repr=False, examples=["cdvs_…"])]
    expires_at: Moment
    fresh_until: Annotated[Moment, Field(description="Until then erasures, corrections and downloads are possible.")]
    others: Annotated[
        list[OtherSession],
        Field(description="If several entries share the e-mail address: a session for each of the others."),
    ]


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a signed-in person, and the caller that they are in this request."""

    caller: Caller
    id: UUID
    subject: SubjectId
    pseudonym: Pseudonym
    authenticated_at: datetime

    @property
    def tenant(self) -> TenantId:
        """Return the person's tenant."""
        return self.caller.tenant

    def is_fresh(self, now: datetime) -> bool:
        """Return whether the person signed in within the last minutes."""
        return self.authenticated_at <= now < self.authenticated_at + FRESH


async def add_session(
    services: Services, connection: AsyncConnection, tenant: TenantId, subject: SubjectId, *, fresh: bool = True
) -> tuple[UUID, OpenedSession]:
    """Add a session of a person whose row is locked; one that is not fresh never becomes fresh."""
    session, now, keyring = new_id(), services.clock.now(), services.keyring
    authenticated_at = now if fresh else now - FRESH
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    token = f"cdvs_{session.hex}_{secret}"
    row = {
        "tenant_id": tenant,
        "id": session,
        "subject_id": subject,
        "token_hash": keyed_digest(await keyring.token_key(tenant), "session-token", plain_digest(token)),
        "created_at": now,
        "authenticated_at": authenticated_at,
        "expires_at": now + LIFE,
        "ended_at": None,
    }
    await connection.execute(insert(SUBJECT_SESSION), [SESSIONS.seal(await keyring.row_keys(tenant), row)])
    # The token is in this answer only: its digest is stored.
    return session, OpenedSession(token=token, expires_at=now + LIFE, fresh_until=authenticated_at + FRESH, others=[])


async def _end(services: Services, connection: AsyncConnection, session: Session) -> None:
    """End a session, unless it has ended."""
    this = _SESSION.tenant_id == session.tenant, _SESSION.id == session.id, _SESSION.ended_at.is_(None)
    row = (await connection.execute(select(*SESSIONS.columns).where(*this).with_for_update())).one_or_none()
    if row is None:
        return
    keys = await services.keyring.row_keys(session.tenant)
    SESSIONS.check(keys, row)
    ended = SESSIONS.reseal(keys, row, ended_at=services.clock.now())
    await connection.execute(update(SUBJECT_SESSION).where(*this).values(ended))


MOST_A_MINUTE: Final = 300
"""Requests for codes, tries of codes, tries of unknown codes, and unknown tokens, each, that one process accepts in a
minute."""
MOST_ENTRIES_A_MINUTE: Final = 60
"""Audit entries for requests for codes in a tenant, and for refusals; the next has the count of the omitted ones."""


class People:
    """Signs people in and out.

    Limits keep unauthenticated callers from flooding mailboxes, the database or the audit log: for attempts in a minute
    in each process, and for codes of each claim and each person.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._asked, self._tried, self._unknown, self._shown = (RateWindow(services.clock) for _ in range(4))
        self._recorded: dict[TenantId, RateWindow] = {}

    async def ask(
        self, tenant: TenantId, identity: Mapping[str, Any], language: str | None, request_id: str
    ) -> SessionCode:
        """Send a code to the claimed person. The result is the same whether or not there is such a person or tenant.

        Raises:
            InvalidInput: the identity is invalid.
            MailNotConfigured: this vault sends no letters.
            NotFound: no tenant has policies in force.
            TooMany: the limit of codes is reached.
        """
        try:
            self._asked.count_attempt(MOST_A_MINUTE)
            home = self._home(tenant)
            self._services.mail.require()
            elsewhere = None if home == tenant else str(tenant)
            code = await self._issue(home, identity, request_id, elsewhere)
        except VaultError as error:
            await self._refuse(self._asked, "send-code", error, request_id)
            raise
        # The person is looked up after the response, so that its time does not reveal whether there is such a person.
        self._services.mail.soon(self._send(CodeRequest(home, code.session, language), identity, elsewhere))
        return code

    async def enter(self, code: UUID, typed: str, request_id: str) -> OpenedSession:
        """Open a session with a code.

        Raises:
            NotFound: the code is wrong.
            TooMany: the limit of this process for the minute is reached.
        """
        window = self._unknown  # a limit of their own: ids cannot be guessed, so strangers do not use up the other
        try:
            tenants = self._tenants()
            if tenants and await is_live(self._services, tenants, code):
                window = self._tried
            window.count_attempt(MOST_A_MINUTE)
            spent = await spend(self._services, tenants, code, typed) if window is self._tried else None
            if spent is None:
                raise code_invalid()
            return await self._open(spent, request_id)
        except VaultError as error:
            await self._refuse(window, "open-session", error, request_id)
            raise

    async def sign_in(self, bearer: str | None, request_id: str) -> Session:
        """Return the session of a bearer token.

        Raises:
            NotAuthenticated: there is no token, or it is not valid: one error for all reasons.
            TooMany: the limit of unknown tokens for the minute is reached.
        """
        session = None if bearer is None else await self._find_session(bearer, request_id)
        if session is not None:
            return session
        error: VaultError = NotAuthenticated(
            "the bearer is not accepted", hint="Sign in: POST /v1/me/sessions, and then send `Authorization: Bearer …`"
        )
        try:
            self._shown.count_attempt(MOST_A_MINUTE)
        except TooMany as too_many:
            error = too_many
        await self._refuse(self._shown, "sign-in", error, request_id)
        raise error

    async def sign_out(self, session: Session) -> None:
        """End a session."""
        services = self._services
        async with services.data.transaction() as connection:
            await _end(services, connection, session)
            entry = audit_entry(
                services,
                session.caller,
                action="end-session",
                decision="allowed",
                subjects=(session.pseudonym,),
                target=session.id,
            )
            await services.audit_log.append_in(connection, [entry])

    async def _find_session(self, token: str, request_id: str) -> Session | None:
        """Return the session of a token; None if it is unknown, ended or expired, or the person does not exist now."""
        now = self._services.clock.now()
        shaped = _SHAPE.fullmatch(token)
        row: Any = None
        if shaped is not None:
            whose = and_(SUBJECT.c.tenant_id == _SESSION.tenant_id, SUBJECT.c.id == _SESSION.subject_id)
            statement = (
                select(*SESSIONS.columns, *(column.label(f"person_{column.name}") for column in SUBJECTS.columns))
                .join(SUBJECT, whose)
                .where(_SESSION.tenant_id.in_(self._tenants()), _SESSION.id == UUID(hex=shaped[1]))
            )
            async with self._services.data.reading() as connection:
                row = (await connection.execute(statement)).one_or_none()
        stored, tokens = (
            (None, None) if row is None else (row.token_hash, await self._services.keyring.token_key(row.tenant_id))
        )
        if not matches("session-token", plain_digest(token), stored, tokens) or row is None:
            return None
        keys, end = await self._services.keyring.row_keys(row.tenant_id), len(SESSIONS.columns)
        if not (SESSIONS.is_genuine(keys, row[:end]) and SUBJECTS.is_genuine(keys, row[end:])):
            return None
        if row.ended_at is not None or now >= row.expires_at or row.person_state not in THERE:
            return None
        caller = data_subject_caller(TenantId(row.tenant_id), request_id)
        return Session(caller, row.id, SubjectId(row.subject_id), Pseudonym(row.person_pseudonym), row.authenticated_at)

    def _home(self, tenant: TenantId) -> TenantId:
        """Return the tenant, or an existing one for an unknown name, so that the work reveals no tenant.

        Raises:
            NotFound: no tenant has policies in force.
        """
        tenants = self._tenants()
        if tenant in tenants:
            return tenant
        if tenants and DEFAULT_TENANT not in tenants:
            return min(tenants)
        self._services.policies.active(DEFAULT_TENANT)
        return DEFAULT_TENANT

    async def _issue(
        self, tenant: TenantId, identity: Mapping[str, Any], request_id: str, elsewhere: str | None
    ) -> SessionCode:
        services = self._services
        claim = claim_digest(await services.keyring.token_key(tenant), identity, elsewhere)
        async with services.data.transaction() as connection:
            code, expires_at = await issue(services, connection, tenant, claim)
            # Counted for every claim alike: who it leads to is not known yet. A letter has an entry of its own.
            count = self._recorded.setdefault(tenant, RateWindow(services.clock)).count_event(MOST_ENTRIES_A_MINUTE)
            if count is not None:
                entry = audit_entry(
                    services,
                    data_subject_caller(tenant, request_id),
                    action="send-code",
                    decision="allowed",
                    target=code if count == 1 else None,
                    count=count,
                )
                await services.audit_log.append_in(connection, [entry])
        return SessionCode(session=code, expires_at=expires_at)

    async def _send(self, request: CodeRequest, identity: Mapping[str, Any], elsewhere: str | None) -> None:
        match = await find_person(self._services, request.tenant, identity)
        await send_claimed(self._services, request, match if elsewhere is None else Match(None))

    async def _open(self, spent: Spent, request_id: str) -> OpenedSession:
        services = self._services
        async with services.data.transaction() as connection:
            along = await sent_along(services, connection, spent)
            rows = await services.subjects.locked_many(connection, spent.tenant, [spent.subject, *along])
            there = {person for person in rows if rows[person].state in THERE}
            if spent.subject not in there or not await use(services, connection, spent):
                raise code_invalid()
            people = [spent.subject]
            for person, field in along.items():
                changed = await changed_since(connection, spent.tenant, person, field, spent.asked_at)
                people += [person] if person in there and not changed else []
            young = await young_contacts(services, connection, spent.tenant, spent.subject)
            # An address that several people share proves none of them beyond doubt.
            fresh = not along and spent.contact not in young
            sessions, entries = [], []
            for person in people:
                session, opened = await add_session(services, connection, spent.tenant, person, fresh=fresh)
                sessions.append(opened)
                entry = audit_entry(
                    services,
                    data_subject_caller(spent.tenant, request_id),
                    action="open-session",
                    decision="allowed",
                    code=SEVERAL if along else None,
                    subjects=(rows[person].pseudonym,),
                    target=session,
                )
                entries.append(entry)
            await services.audit_log.append_in(connection, entries)
        await settle_used(services, spent)
        others = [OtherSession(token=other.token, expires_at=other.expires_at) for other in sessions[1:]]
        return sessions[0].model_copy(update={"others": others})

    def _tenants(self) -> list[TenantId]:
        return [TenantId(active.decisions.tenant) for active in self._services.policies.all_active()]

    async def _refuse(self, minute: RateWindow, action: Action, error: VaultError, request_id: str) -> None:
        """Record a refusal in the audit log, at a limited rate."""
        if isinstance(error, Unavailable) or error.audit is not None:
            return
        error.audit = await record_refusal(
            self._services, minute, action, error, request_id, most=MOST_ENTRIES_A_MINUTE
        )


MOST_A_DAY: Final = 20
"""Requests of one person within a day: each may cost a package, which is stored for weeks."""
DAY: Final = timedelta(days=1)
_encrypting: Final[set[UUID]] = set()


async def require_pace(services: Services, session: Session, action: Action) -> None:
    """Count one call of a person against the rate of searches.

    Raises:
        TooMany: the person has exceeded the rate.
    """
    # Counted under the person's own id: all people share one principal, and must not use up each other's rate.
    person = Principal(PrincipalId(session.subject), session.tenant, "the-person", "app", ())
    try:
        await services.limits.take(person, "search", 1)
    except VaultError as error:
        raise await refused(services, session, action, error) from None


async def require_room(services: Services, session: Session) -> None:
    """Require that a person has not reached the limit of requests within a day.

    Raises:
        TooMany: they have, or have exceeded the rate.
    """
    await require_pace(services, session, "submit-request")
    now = services.clock.now()
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
        oldest: datetime | None = (await connection.execute(statement)).scalar_one_or_none()
    if oldest is not None:
        error = TooMany(
            f"limit of {MOST_A_DAY} requests per person per day reached",
            retry_after=ceil((oldest + DAY - now).total_seconds()),
            first=True,
            hint="Wait for the time in `Retry-After`; your earlier requests are being processed.",
        )
        raise await refused(services, session, "submit-request", error)


async def refused(services: Services, session: Session, action: Action, error: VaultError) -> VaultError:
    """Record that a person was refused something; return the error, to be raised."""
    await record_failure(services, session.caller, action, error, subjects=(session.pseudonym,))
    return error


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


async def forget_identity(services: Services) -> int:
    """Delete codes that no limit counts any more, and expired sessions; return how many."""
    async with services.data.transaction() as connection:
        expired = delete(SUBJECT_SESSION).where(_SESSION.expires_at <= services.clock.now())
        sessions = (await connection.execute(expired)).rowcount
    return sessions + await forget_codes(services)
