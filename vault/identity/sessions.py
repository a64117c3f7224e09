"""People sign in: by a one-time code to a contact that the vault holds. Nobody who calls here is known beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vault.access.authorization import entry
from vault.access.callers import the_person
from vault.access.minute import Minute
from vault.errors import NotAuthenticated, TooMany, Unavailable, VaultError
from vault.identity.claim import claim_digest
from vault.identity.codes import code_invalid, issue, spend, use
from vault.identity.send import Asked, send_code_to
from vault.identity.session import add_session, end, find_session
from vault.ids import DEFAULT_TENANT, TenantId
from vault.letters.contact import THERE
from vault.requests.verification import find_person
from vault.subjects.changes import locked_subject

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from vault.audit.entry import Action
    from vault.context import House
    from vault.identity.codes import Issued, Spent
    from vault.identity.session import Opened, Session

MOST_A_MINUTE: Final = 300
"""Codes asked for, codes tried and tokens not known, each, that one process looks at in a minute."""
MOST_ENTRIES_A_MINUTE: Final = 60
"""Entries on the audit log for refusals; the next one says how many it stands for."""


class People:
    """Signs people in and out.

    The limits are here so that nobody floods mailboxes, the database or the audit log by trying: each process lets so
    many attempts of strangers pass in a minute, and each claim and each person gets so many codes.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._asked, self._tried, self._shown = (Minute(house.clock) for _ in range(3))

    async def ask(self, tenant: TenantId, identity: Mapping[str, Any], language: str | None, request_id: str) -> Issued:
        """Have a code sent to whoever is claimed. The answer is the same whether or not there is such a person.

        Raises:
            InvalidInput: the claim has no proper form.
            MailNotConfigured: this vault sends no letters.
            NotFound: there is no such tenant.
            TooMany: as many codes as there may be were asked for.
        """
        try:
            self._asked.look(MOST_A_MINUTE)
            self._house.policies.active(tenant)
            self._house.mail.require()
            issued = await self._issue(tenant, identity, request_id)
        except VaultError as error:
            await self._refuse(self._asked, "send-code", error, request_id)
            raise
        self._house.mail.soon(self._send(Asked(tenant, issued.id, language), identity))
        return issued

    async def enter(self, code: UUID, typed: str, request_id: str) -> Opened:
        """Open a session for whoever has the code.

        Raises:
            NotFound: the code is not right.
            TooMany: this process has looked at too many within the minute.
        """
        try:
            self._tried.look(MOST_A_MINUTE)
            tenants = self._tenants()
            spent = await spend(self._house, tenants, code, "session", typed) if tenants else None
            if spent is None:
                raise code_invalid()
            return await self._open(spent, request_id)
        except VaultError as error:
            await self._refuse(self._tried, "open-session", error, request_id)
            raise

    async def sign_in(self, bearer: str | None, request_id: str) -> Session:
        """Return the session that a bearer stands for.

        Raises:
            NotAuthenticated: it stands for nobody, or there is none: one answer for all reasons.
            TooMany: too many unknown ones came in within the minute.
        """
        now = self._house.clock.now()
        found = None
        if bearer is not None:
            async with self._house.data.reading() as connection:
                found = await find_session(connection, self._tenants(), bearer, now)
        if found is not None:
            return found
        error: VaultError = NotAuthenticated(
            "the bearer is not accepted", hint="Sign in: POST /v1/me/sessions, and then send `Authorization: Bearer …`"
        )
        try:
            self._shown.look(MOST_A_MINUTE)
        except TooMany as too_many:
            error = too_many
        await self._refuse(self._shown, "sign-in", error, request_id)
        raise error

    async def sign_out(self, session: Session, request_id: str) -> None:
        """End a session."""
        house = self._house
        async with house.data.transaction() as connection:
            await end(connection, session, house.clock.now())
            made = entry(
                house,
                the_person(session.tenant, request_id),
                action="end-session",
                decision="allowed",
                subjects=(session.pseudonym,),
                target=session.id,
            )
            await house.ledger.append_in(connection, [made])

    async def _issue(self, tenant: TenantId, identity: Mapping[str, Any], request_id: str) -> Issued:
        house = self._house
        claim = claim_digest(await house.keyring.token_key(tenant), identity)
        async with house.data.transaction() as connection:
            issued = await issue(house, connection, tenant, "session", claim=claim)
            made = entry(
                house, the_person(tenant, request_id), action="send-code", decision="allowed", target=issued.id
            )
            await house.ledger.append_in(connection, [made])
        return issued

    async def _send(self, asked: Asked, identity: Mapping[str, Any]) -> None:
        who = await find_person(self._house, asked.tenant, identity)
        await send_code_to(self._house, asked, who.subject)

    async def _open(self, spent: Spent, request_id: str) -> Opened:
        house, now = self._house, self._house.clock.now()
        async with house.data.transaction() as connection:
            row = await locked_subject(connection, spent.tenant, spent.subject)
            if row is None or row.state not in THERE or not await use(connection, spent, now):
                raise code_invalid()
            session, opened = await add_session(connection, spent.tenant, spent.subject, now)
            made = entry(
                house,
                the_person(spent.tenant, request_id),
                action="open-session",
                decision="allowed",
                subjects=(row.pseudonym,),
                target=session,
            )
            await house.ledger.append_in(connection, [made])
        return opened

    def _tenants(self) -> list[TenantId]:
        return [TenantId(each.decisions.tenant) for each in self._house.policies.all_active()]

    async def _refuse(self, minute: Minute, action: Action, error: VaultError, request_id: str) -> None:
        """Write a refusal down on the default tenant's log, for it names nobody; without letting anybody flood it."""
        if isinstance(error, Unavailable) or error.audit is not None:
            return
        count = minute.refused(MOST_ENTRIES_A_MINUTE)
        if count is None:
            return
        made = self._house.ledger.entry(
            tenant=DEFAULT_TENANT,
            action=action,
            decision="denied",
            code=error.code,
            request=request_id,
            count=count,
        )
        await self._house.ledger.append(made)
        error.audit = str(made.id)
