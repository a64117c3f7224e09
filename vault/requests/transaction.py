"""Change one request in one transaction: lock, move, write what happened, and its audit entries.

An app may follow, and take back, the requests that it brought in itself, without the right to see others.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from vault.access.authorization import audit_entry, require_permission
from vault.access.callers import THE_PERSON
from vault.access.recording import record_failure
from vault.crypto.seal import record_aad
from vault.errors import NotFound, Unavailable, VaultError
from vault.ids import SubjectId
from vault.lifecycle.key_fence import current_keys
from vault.requests.model import CLOSED, Event, after
from vault.requests.store import events_of, find_request, locked_request, save_request
from vault.subjects.store import is_erased, pseudonym_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Action, Entry
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.requests.model import Move, Request, State


__all__ = ["DETAILS", "RequestChange", "changing_request", "no_request", "pseudonym_of", "request_aad"]

COLLECTION = "request"
DETAILS = "details"


def no_request() -> NotFound:
    """Make the one error for a request that is not there, or not the caller's to know of."""
    return NotFound("there is no such request", code="request-not-found", hint="check its id")


def request_aad(tenant: TenantId, subject: UUID, request: UUID) -> bytes:
    """Say where what was written about a request belongs, for sealing: fields ``details`` and ``note:<number>``."""
    return record_aad(tenant, subject, COLLECTION, request)


class RequestChange:
    """An open transaction on one request."""

    def __init__(
        self,
        services: Services,
        caller: Caller,
        connection: AsyncConnection,
        request: Request,
        details: bytes | None,
        history: list[Event],
        pseudonym: UUID | None,
        keys: SubjectKeys | None,
    ) -> None:
        self.services = services
        self.caller = caller
        self.connection = connection
        self.request = request
        self.details = details
        self.history = history
        self.pseudonym = pseudonym
        self.keys = keys
        self.now: datetime = services.clock.now()
        self.events: list[Event] = []
        self._movers: list[Caller] = []

    def move(
        self, move: Move, *, code: str | None = None, note: str | None = None, by: Caller | None = None, **changes: Any
    ) -> Request:
        """Make a move: the state that follows, what else changes, and an event.

        Args:
            move: which.
            by: who makes it, where that is not the caller of the whole change but the vault by itself.
            code: why, in one word.
            note: why, in the words of staff or of the person; sealed. Of somebody who has no keys it is not kept.
            changes: further fields of the request.

        Raises:
            WrongState: the move is not possible from this state.
        """
        before = self.request.state
        state = after(before, move)
        closed = {"closed_at": self.now} if state in CLOSED and before not in CLOSED else {}
        self.request = msgspec.structs.replace(
            self.request, **{"state": state, "revision": self.request.revision + 1, **closed, **changes}
        )
        self._tell(move, before, code, note, by or self.caller)
        return self.request

    def receive(self, *, code: str | None = None) -> None:
        """Note that a new request came in: its first event."""
        self._tell("receive", None, code, None, self.caller)

    def _tell(self, move: Move, before: State | None, code: str | None, note: str | None, mover: Caller) -> None:
        number = len(self.history) + len(self.events) + 1
        event = Event(
            number=number,
            at=self.now,
            move=move,
            before=before,
            after=self.request.state,
            by=mover.principal.id,
            by_name=mover.principal.name,
            code=code,
            note=self.seal(f"note:{number}", note),
        )
        self.events.append(event)
        self._movers.append(mover)

    def seal(self, field: str, words: object) -> bytes | None:
        """Seal what was written, as JSON; none where nothing was, or the person has no keys."""
        if words is None or self.keys is None or self.request.subject is None:
            return None
        where = request_aad(self.caller.tenant, self.request.subject, self.request.id)
        return self.keys.seal(field, msgspec.json.encode(words), where)

    def open(self, field: str, sealed: bytes | None) -> Any:
        """Open what was written; none where nothing was, or the person's keys are gone."""
        if sealed is None or self.keys is None or self.request.subject is None:
            return None
        where = request_aad(self.caller.tenant, self.request.subject, self.request.id)
        return msgspec.json.decode(self.keys.open(field, sealed, where))

    def opened_details(self) -> dict[str, Any]:
        """Open the details; empty where there are none."""
        return self.open(DETAILS, self.details) or {}

    def set_details(self, details: dict[str, Any]) -> None:
        """Seal new details in place of the old ones."""
        self.details = self.seal(DETAILS, details)

    def entries(self, action: Action) -> list[Entry]:
        """Make one audit entry for each move."""
        return [
            audit_entry(
                self.services,
                mover,
                action=action,
                decision="allowed",
                code=each.move,
                subjects=() if self.pseudonym is None else (self.pseudonym,),
                target=self.request.id,
                policy=self.services.policies.active(self.caller.tenant).version,
            )
            for mover, each in zip(self._movers, self.events, strict=True)
        ]


@asynccontextmanager
async def changing_request(
    services: Services, caller: Caller, request: UUID, *, action: Action = "move-request"
) -> AsyncIterator[RequestChange]:
    """Open the transaction on a request; the audit entries are part of it, and a failure is on the log too.

    The subject's keys are fetched before: the key store is another database. Locks are taken in the order request,
    subject, records.

    Raises:
        NotFound: there is no such request.
        WrongState: by :meth:`RequestChange.move`.
        Unavailable: the person was merged with another at this moment.
    """
    subject = await _subject_of(services, caller, request)
    keys = None if subject is None else (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
    pseudonym: UUID | None = None
    try:
        async with services.data.transaction() as connection:
            kept = await locked_request(connection, caller.tenant, request)
            if kept is None:
                raise no_request()
            if kept.request.subject != subject:  # the keys are those of an entry that was merged meanwhile
                raise Unavailable("this person's entries are being merged at this moment", hint="send it again")
            pseudonym = await pseudonym_of(connection, caller.tenant, kept.request.subject)
            if subject is not None and pseudonym is None and await is_erased(connection, caller.tenant, subject):
                keys = None
            if keys is not None and subject is not None:
                keys = (await current_keys(services, connection, caller.tenant, {subject: keys}))[subject]
            history = await events_of(connection, caller.tenant, request)
            change = RequestChange(services, caller, connection, kept.request, kept.details, history, pseudonym, keys)
            yield change
            if change.events or change.details != kept.details or change.request != kept.request:
                await save_request(connection, caller.tenant, change.request, change.details, change.events)
            await services.audit_log.append_in(connection, change.entries(action))
    except VaultError as error:
        await record_failure(
            services, caller, action, error, target=request, subjects=() if pseudonym is None else (pseudonym,)
        )
        raise


async def _subject_of(services: Services, caller: Caller, request: UUID) -> SubjectId | None:
    async with services.data.reading() as connection:
        kept = await find_request(connection, caller.tenant, request)
    return None if kept is None or kept.request.subject is None else SubjectId(kept.request.subject)


RESOURCE = "vault:requests"


async def require_own_or(services: Services, caller: Caller, request: UUID, verb: str, *, audit_action: Action) -> bool:
    """Go on where a role of the caller's has a right on requests, or where the caller brought this one in.

    Returns:
        whether the caller has the right; false: it is only its own.

    Raises:
        Denied: neither; that is on the audit log before it is raised.
    """
    decisions = services.policies.active(caller.tenant).decisions
    roles = caller.principal.roles
    if not decisions.may(roles, RESOURCE, verb).granted and decisions.may(roles, RESOURCE, "submit").granted:
        async with services.data.reading() as connection:
            kept = await find_request(connection, caller.tenant, request)
        if kept is not None and _is_own(caller, kept.request):
            return False
    await require_permission(services, caller, RESOURCE, verb, audit_action=audit_action)
    return True


def _is_own(caller: Caller, request: Request) -> bool:
    """Tell whether a caller brought a request in. All people in their sessions are one caller: it is none of theirs."""
    return request.recorder == caller.principal.id and caller.principal.id != THE_PERSON
