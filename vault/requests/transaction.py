"""Change one request in one transaction: lock it, move it, store the events, and append the audit entries."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from vault.access.authorization import audit_entry, require_permission
from vault.access.recording import record_failure
from vault.crypto.seal import record_aad
from vault.errors import NotFound, Unavailable, VaultError
from vault.ids import THE_PERSON, SubjectId
from vault.lifecycle.key_fence import current_keys
from vault.requests.model import CLOSED, RUNNING, Event, after
from vault.requests.store import events_of, find_request, save_request
from vault.subjects.store import is_erased

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Action, Entry
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.policy.policy_set import PolicySet
    from vault.requests.model import Move, Request, State


COLLECTION = "request"
DETAILS = "details"


def no_request() -> NotFound:
    """Return the error for a request that does not exist, or that the caller may not know of: one for both."""
    return NotFound("there is no such request", code="request-not-found", hint="check its id")


def request_aad(tenant: TenantId, subject: UUID, request: UUID) -> bytes:
    """Return the associated data for sealing a request's ``details`` and ``note:<number>``."""
    return record_aad(tenant, subject, COLLECTION, request)


def open_sealed(keys: SubjectKeys | None, tenant: TenantId, request: Request, field: str, sealed: bytes | None) -> Any:
    """Open details or a note of a request: a JSON value; None if there is none, or the person's keys are destroyed.

    Raises:
        CannotOpen: it was not sealed with these keys, or not for this place.
    """
    if sealed is None or keys is None or request.subject is None:
        return None
    return msgspec.json.decode(keys.open(field, sealed, request_aad(tenant, request.subject, request.id)))


@dataclass(eq=False)
class RequestChange:
    """An open transaction on one request.

    Attributes:
        details: sealed.
        history: the events before this change.
        keys: of the person; None if there is no such person, or the keys are destroyed.
        events: the new events.
    """

    services: Services
    caller: Caller
    connection: AsyncConnection
    request: Request
    details: bytes | None
    history: list[Event]
    pseudonym: UUID | None
    keys: SubjectKeys | None
    now: datetime = field(init=False)
    events: list[Event] = field(init=False, default_factory=list)
    _movers: list[Caller] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.now = self.services.clock.now()

    @property
    def policy_set(self) -> PolicySet:
        """The policies in force."""
        return self.services.policies.active(self.caller.tenant).policy_set

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
        # Before anything changes: a move that is not possible leaves the request as it is.
        state = after(before, move)
        closed = {"closed_at": self.now} if state in CLOSED and before not in CLOSED else {}
        self.request = msgspec.structs.replace(
            self.request, **{"state": state, "revision": self.request.revision + 1, **closed, **changes}
        )
        self._add_event(move, before, by or self.caller, code, note)
        return self.request

    def receive(self, *, code: str | None = None) -> None:
        """Add the first event of a new request."""
        self._add_event("receive", None, self.caller, code, None)

    def _add_event(self, move: Move, before: State | None, mover: Caller, code: str | None, note: str | None) -> None:
        number = len(self.history) + len(self.events) + 1
        event = Event(
            number=number,
            at=self.now,
            move=move,
            before=before,
            after=self.request.state,
            by=mover.principal.id,
            by_name=mover.name,
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

    def opened_details(self) -> dict[str, Any]:
        """Return the opened details; empty if there are none, or the person's keys are destroyed."""
        return open_sealed(self.keys, self.caller.tenant, self.request, DETAILS, self.details) or {}

    def set_details(self, details: Mapping[str, object]) -> None:
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
                policy=self.policy_set.version,
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
    row_keys = await services.keyring.row_keys(caller.tenant)
    pseudonym: UUID | None = None
    try:
        async with services.data.transaction() as connection:
            stored = await find_request(connection, row_keys, request, lock=True)
            if stored is None:
                raise no_request()
            if stored.request.subject != subject:  # a merge happened since, so these keys are another subject's
                raise Unavailable("this person's entries are being merged at this moment", hint="send it again")
            pseudonym = await services.subjects.pseudonym_of(connection, caller.tenant, stored.request.subject)
            # A node may have the keys of an erased person in its cache for some seconds; a note must not be sealed by
            # them.
            if subject is not None and pseudonym is None and await is_erased(connection, caller.tenant, subject):
                keys = None
            if keys is not None and subject is not None:
                keys = (await current_keys(services, connection, caller.tenant, {subject: keys}))[subject]
            # Under the lock: the number of the next event follows from it, and the note is sealed for that number.
            history = await events_of(connection, caller.tenant, request)
            request_before, details = stored.request, stored.details
            change = RequestChange(services, caller, connection, request_before, details, history, pseudonym, keys)
            yield change
            if change.events or (change.request, change.details) != (request_before, details):
                await save_request(connection, row_keys, change.request, change.details, change.events)
            await services.audit_log.append_in(connection, change.entries(action))
    except VaultError as error:
        await record_failure(
            services, caller, action, error, target=request, subjects=() if pseudonym is None else (pseudonym,)
        )
        raise


async def _subject_of(services: Services, caller: Caller, request: UUID) -> SubjectId | None:
    async with services.data.reading() as connection:
        stored = await find_request(connection, await services.keyring.row_keys(caller.tenant), request)
    return None if stored is None or stored.request.subject is None else SubjectId(stored.request.subject)


RESOURCE = "vault:requests"


async def require_own_or(services: Services, caller: Caller, request: UUID, verb: str, *, audit_action: Action) -> bool:
    """Require a permission on requests, or that the caller submitted this one.

    Returns:
        whether the caller has the permission; False if the request is only its own.

    Raises:
        Denied: neither is so. The denial is recorded in the audit log first.
    """
    decisions, principal = services.policies.active(caller.tenant).decisions, caller.principal
    may_submit = decisions.may(principal.roles, RESOURCE, "submit").granted
    if may_submit and not decisions.may(principal.roles, RESOURCE, verb).granted:
        async with services.data.reading() as connection:
            stored = await find_request(connection, await services.keyring.row_keys(caller.tenant), request)
        # All data subjects share one principal, so a request of one is not another's.
        if principal.id != THE_PERSON and stored is not None and stored.request.recorder == principal.id:
            return False
    await require_permission(services, caller, RESOURCE, verb, audit_action=audit_action)
    return True
