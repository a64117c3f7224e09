"""Change one request in one transaction: lock it, move it, store the events, and append the audit entries."""

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
from vault.requests.model import CLOSED, RUNNING, Event, after
from vault.requests.store import events_of, find_request, locked_request, save_request
from vault.subjects.store import is_erased, pseudonym_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
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
    """Return the error for a request that does not exist, or that the caller may not know of: one for both."""
    return NotFound("there is no such request", code="request-not-found", hint="check its id")


def request_aad(tenant: TenantId, subject: UUID, request: UUID) -> bytes:
    """Return the associated data for sealing a request's ``details`` and ``note:<number>``."""
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

    @property
    def is_running(self) -> bool:
        """Whether the request is in progress: a job that comes late must not do anything."""
        return self.request.state == RUNNING and self.request.subject is not None

    @property
    def is_due(self) -> bool:
        """Whether the request is in progress and was not yet carried out in this run."""
        return self.is_running and not self.is_carried_out

    @property
    def is_carried_out(self) -> bool:
        """Whether the request was carried out in this run."""
        return self.request.carried_out == self.request.run

    def mark_done(self, results: Sequence[UUID]) -> None:
        """Note that the request was carried out in this run, and the ids of what it changed."""
        self.request = msgspec.structs.replace(
            self.request, carried_out=self.request.run, results=(*self.request.results, *results)
        )

    def move(
        self, move: Move, *, code: str | None = None, note: str | None = None, by: Caller | None = None, **changes: Any
    ) -> Request:
        """Make a move: change the state and other fields, and add an event.

        Args:
            code: a ground or reason in one word.
            note: a note of staff or the person. It is sealed; it is dropped if the person has no keys.
            by: who makes the move, if it is not the caller of the whole change.
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
        self._add_event(move, before, code, note, by or self.caller)
        return self.request

    def receive(self, *, code: str | None = None) -> None:
        """Add the first event of a new request."""
        self._add_event("receive", None, code, None, self.caller)

    def _add_event(self, move: Move, before: State | None, code: str | None, note: str | None, mover: Caller) -> None:
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
        """Seal a text or details as JSON; return None if there is none, or the person has no keys."""
        if words is None or self.keys is None or self.request.subject is None:
            return None
        aad = request_aad(self.caller.tenant, self.request.subject, self.request.id)
        return self.keys.seal(field, msgspec.json.encode(words), aad)

    def open(self, field: str, sealed: bytes | None) -> Any:
        """Open a sealed text or details; return None if there is none, or the person's keys are destroyed."""
        if sealed is None or self.keys is None or self.request.subject is None:
            return None
        aad = request_aad(self.caller.tenant, self.request.subject, self.request.id)
        return msgspec.json.decode(self.keys.open(field, sealed, aad))

    def opened_details(self) -> dict[str, Any]:
        """Return the opened details; empty if there are none."""
        return self.open(DETAILS, self.details) or {}

    def set_details(self, details: dict[str, Any]) -> None:
        """Seal new details, which replace the old ones."""
        self.details = self.seal(DETAILS, details)

    def entries(self, action: Action) -> list[Entry]:
        """Return one audit entry for each event."""
        return [
            audit_entry(
                self.services,
                mover,
                action=action,
                decision="allowed",
                code=event.move,
                subjects=() if self.pseudonym is None else (self.pseudonym,),
                target=self.request.id,
                policy=self.services.policies.active(self.caller.tenant).version,
            )
            for mover, event in zip(self._movers, self.events, strict=True)
        ]


@asynccontextmanager
async def changing_request(
    services: Services, caller: Caller, request: UUID, *, action: Action = "move-request"
) -> AsyncIterator[RequestChange]:
    """Open the transaction on a request. It includes the audit entries; a failure is recorded as well.

    Locks are taken in the global order: request, subject, records.

    Raises:
        NotFound: there is no such request.
        WrongState: by :meth:`RequestChange.move`.
        Unavailable: the person's entries are being merged at this moment.
    """
    # The keys are fetched before the transaction, because the key store is another database.
    subject = await _subject_of(services, caller, request)
    keys = None if subject is None else (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
    pseudonym: UUID | None = None
    try:
        async with services.data.transaction() as connection:
            stored = await locked_request(connection, caller.tenant, request)
            if stored is None:
                raise no_request()
            if stored.request.subject != subject:  # a merge happened since, so these keys are another subject's
                raise Unavailable("this person's entries are being merged at this moment", hint="send it again")
            pseudonym = await pseudonym_of(connection, caller.tenant, stored.request.subject)
            if subject is not None and pseudonym is None and await is_erased(connection, caller.tenant, subject):
                keys = None
            if keys is not None and subject is not None:
                keys = (await current_keys(services, connection, caller.tenant, {subject: keys}))[subject]
            history = await events_of(connection, caller.tenant, request)
            change = RequestChange(
                services, caller, connection, stored.request, stored.details, history, pseudonym, keys
            )
            yield change
            if change.events or change.details != stored.details or change.request != stored.request:
                await save_request(connection, caller.tenant, change.request, change.details, change.events)
            await services.audit_log.append_in(connection, change.entries(action))
    except VaultError as error:
        await record_failure(
            services, caller, action, error, target=request, subjects=() if pseudonym is None else (pseudonym,)
        )
        raise


async def _subject_of(services: Services, caller: Caller, request: UUID) -> SubjectId | None:
    async with services.data.reading() as connection:
        stored = await find_request(connection, caller.tenant, request)
    return None if stored is None or stored.request.subject is None else SubjectId(stored.request.subject)


RESOURCE = "vault:requests"


async def require_own_or(services: Services, caller: Caller, request: UUID, verb: str, *, audit_action: Action) -> bool:
    """Require a permission on requests, or that the caller submitted this one.

    Returns:
        whether the caller has the permission; False if the request is only its own.

    Raises:
        Denied: neither is so. The denial is recorded in the audit log first.
    """
    decisions = services.policies.active(caller.tenant).decisions
    roles = caller.principal.roles
    if not decisions.may(roles, RESOURCE, verb).granted and decisions.may(roles, RESOURCE, "submit").granted:
        async with services.data.reading() as connection:
            stored = await find_request(connection, caller.tenant, request)
        if stored is not None and _is_own(caller, stored.request):
            return False
    await require_permission(services, caller, RESOURCE, verb, audit_action=audit_action)
    return True


def _is_own(caller: Caller, request: Request) -> bool:
    """Return whether the caller submitted a request; the principal that all data subjects share owns none."""
    return request.recorder == caller.principal.id and caller.principal.id != THE_PERSON
