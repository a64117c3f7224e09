"""A transaction that appends events of one person, with its audit entries; the person's row is locked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from sqlalchemy import select

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry, subject_not_found
from vault.access.recording import record_failure
from vault.catalogue.types import decode, encode
from vault.clock import MICROSECOND, from_microseconds
from vault.consent.model import UNSAID, Event, unpack
from vault.consent.store import EVENT, append_events
from vault.crypto.seal import record_aad, version_of
from vault.errors import NotFound, SubjectMerged, VaultError
from vault.ids import Pseudonym, new_id
from vault.lifecycle.key_fence import require_current
from vault.recipients.outbox import DataChange, notify_recipients
from vault.subjects.store import GONE, merged_into

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.access.recording import SaveResponse
    from vault.audit.entry import Action, Entry
    from vault.consent.model import By, ConsentState, Kind, PurposeState
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId
    from vault.policy.policy_set import PolicySet
    from vault.recipients.store import NoticeKind
    from vault.views import View

ViewT = TypeVar("ViewT", bound="View")


@dataclass(eq=False)
class Change:
    """A person whose row is locked, and the events that are appended.

    Attributes:
        last: the id of the person's last event.
        keys: to seal the free text of events with; without them, no text is stored.
        events: that were appended.
    """

    services: Services
    caller: Caller
    connection: AsyncConnection
    row: Row[tuple[object, ...]]
    last: UUID | None
    keys: SubjectKeys | None = None
    events: list[Event] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.subject: SubjectId = self.row.id
        self.pseudonym = Pseudonym(self.row.pseudonym)
        self.state: ConsentState = unpack(self.row.standing)
        self.now = self.services.clock.now()

    @classmethod
    async def lock(
        cls,
        services: Services,
        caller: Caller,
        connection: AsyncConnection,
        subject: SubjectId,
        keys: SubjectKeys | None = None,
    ) -> Change | None:
        """Lock a person's row until the transaction ends; None if there is no such person, or no longer."""
        # The state is folded into the row, so events of one person are appended one transaction after the other.
        row = await services.subjects.locked(connection, caller.tenant, subject)
        if row is None or row.state in GONE:
            return None
        newest = (
            select(EVENT.c.id)
            .where(EVENT.c.tenant_id == caller.tenant, EVENT.c.subject_id == subject)
            .order_by(EVENT.c.id.desc())
            .limit(1)
        )
        return cls(services, caller, connection, row, (await connection.execute(newest)).scalar_one_or_none(), keys)

    @property
    def policy_set(self) -> PolicySet:
        """The policies in force."""
        return self.services.policies.active(self.caller.tenant).policy_set

    async def history(self) -> list[Event]:
        """Return all events of the person, in their order."""
        tenant, subject = self.caller.tenant, self.subject
        return (await self.services.consents.events_of(self.connection, tenant, [subject])).get(subject, [])

    def new_id(self) -> UUID:
        """Return an id for the next event, greater than all ids of the person's events."""
        candidate = new_id()
        # Events are folded in the order of their ids, and another node's clock may have been ahead of this one's.
        self.last = candidate if self.last is None else max(candidate, UUID(int=self.last.int + 1))
        return self.last

    def purpose_state(self, purpose: str) -> PurposeState:
        """Return the state of a purpose."""
        return self.state.purposes.get(purpose, UNSAID)

    def next_moment(self, purpose: str) -> datetime:
        """Return the time of an event that is said now: later than all events of the purpose before it."""
        current = self.purpose_state(purpose)
        last = max(current.since, current.objected_at or 0)
        # Nodes' clocks differ a little, and two clicks may fall into one microsecond: the order of arrival decides.
        return max(self.now, from_microseconds(last) + MICROSECOND)

    def event(
        self, kind: Kind, *, by: By, occurred_at: datetime | None = None, words: str | None = None, **facts: Any
    ) -> Event:
        """Build an event of now.

        Args:
            words: free text about it, which is sealed.
            facts: see :class:`vault.consent.model.Event`.
        """
        event = facts.pop("id", None) or self.new_id()
        if words is not None and self.keys is not None:
            facts["evidence"] = seal_words(self.keys, self.caller.tenant, self.subject, event, words)
        return Event(
            id=event,
            subject=self.subject,
            kind=kind,
            by=by,
            occurred_at=occurred_at or self.now,
            recorded_at=self.now,
            recorder=self.caller.principal.id,
            policy=self.policy_set.version,
            **facts,
        )

    async def append(self, *events: Event) -> ConsentState:
        """Append events, in this order."""
        # The oldest version decides: if it is current, all of them are.
        versions = [version_of(event.evidence) for event in events if event.evidence]
        if versions:
            # Key fencing: a concurrent erasure may have replaced the key that the evidence was sealed with.
            await require_current(self.services, self.connection, self.caller.tenant, {self.subject: min(versions)})
        self.state = await append_events(self.services, self.connection, self.caller.tenant, self.subject, events)
        self.events.extend(events)
        return self.state

    async def notify_recipients(self, kind: NoticeKind, fields: Collection[str], request: UUID | None) -> None:
        """Notify the apps that were shown these fields (Art. 19), for they may still use them."""
        await notify_recipients(
            self.services,
            self.connection,
            self.caller.tenant,
            DataChange(subject=self.subject, pseudonym=self.pseudonym, kind=kind, fields=fields, request=request),
        )

    async def answer(self, view: ViewT, on_commit: SaveResponse | None) -> ViewT:
        """Return the answer of the operation, after saving the response under an idempotency key if there is one."""
        if on_commit is not None:
            await on_commit(self.connection, view)
        return view

    def entries(self, action: Action) -> list[Entry]:
        """Build the audit entries: one for each event, and one if there were none."""
        said: list[tuple[str | None, str | None, UUID | None]] = [
            (event.kind, event.purpose, event.id) for event in self.events
        ]
        return [
            audit_entry(
                self.services,
                self.caller,
                action=action,
                decision="allowed",
                purpose=purpose,
                code=kind,
                subjects=(self.pseudonym,),
                target=target,
                policy=self.policy_set.version,
            )
            for kind, purpose, target in said or [(None, None, None)]
        ]


async def missing(services: Services, caller: Caller, connection: AsyncConnection, subject: SubjectId) -> NotFound:
    """Return the error for a subject that is not found.

    If the subject was merged into another, the error names the other's id, for callers who may see that subjects
    exist: an app that still has the old id must not lose what a person says.
    """
    decisions = services.policies.active(caller.tenant).decisions
    if decisions.may(caller.principal.roles, "vault:subjects", "read").granted:
        survivor = await merged_into(connection, caller.tenant, subject)
        if survivor is not None:
            return SubjectMerged(survivor)
    return subject_not_found()


async def not_found(
    services: Services, caller: Caller, action: Action, subject: SubjectId, row: Any, **facts: object
) -> NotFound:
    """Append the audit entry of a look at a subject that is not found, and return the error.

    Args:
        row: of a subject that exists no longer, or None.
        facts: more for the entry.
    """
    entry = audit_entry(
        services,
        caller,
        action=action,
        decision="denied",
        code=SUBJECT_NOT_FOUND.code,
        subjects=() if row is None else (row.pseudonym,),
        **facts,
    )
    # The entry comes before the answer: who may know that the subject was merged is on record.
    await services.audit_log.append(entry)
    async with services.data.reading() as connection:
        error = await missing(services, caller, connection, subject)
    error.audit = str(entry.id)
    return error


COLLECTION = "consent"
FIELD = "evidence"


async def keys_of(services: Services, caller: Caller, subject: SubjectId) -> SubjectKeys:
    """Return a person's keys.

    Raises:
        NotFound: there is no such person, or no longer.
    """
    keys = (await services.keyring.subject_keys(caller.tenant, [subject])).get(subject)
    if keys is None:
        async with services.data.reading() as connection:
            raise await missing(services, caller, connection, subject)
    return keys


def seal_words(keys: SubjectKeys, tenant: TenantId, subject: SubjectId, event: UUID, words: str | None) -> bytes | None:
    """Seal the free text of an event under the person's key; None stays None."""
    if words is None:
        return None
    # The associated data names the event, so that evidence moved to another event does not open.
    return keys.seal(FIELD, encode(words), record_aad(tenant, subject, COLLECTION, event))


def open_words(keys: SubjectKeys, tenant: TenantId, event: Event) -> str | None:
    """Open the free text of an event; None if it has none.

    Raises:
        CannotOpen: the text was not sealed for this event.
    """
    if event.evidence is None:
        return None
    return str(decode(keys.open(FIELD, event.evidence, record_aad(tenant, event.subject, COLLECTION, event.id))))


@asynccontextmanager
async def changing(
    services: Services,
    caller: Caller,
    action: Action,
    subject: SubjectId,
    *,
    keys: SubjectKeys | None = None,
    purpose: str | None = None,
    silent: bool = False,
) -> AsyncIterator[Change]:
    """Open the transaction; its audit entries are part of it, and a failure is recorded in the audit log too.

    Args:
        action: the action in the audit log.
        keys: to seal the free text of events with.
        purpose: the purpose in the audit entry of a failure.
        silent: write no audit entry if no event was appended.

    Raises:
        NotFound: there is no such person, or no longer.
    """
    pseudonym: Pseudonym | None = None
    try:
        async with services.data.transaction() as connection:
            change = await Change.lock(services, caller, connection, subject, keys)
            if change is None:
                raise await missing(services, caller, connection, subject)
            pseudonym = change.pseudonym
            yield change
            # Last, when it is known what was appended; in the same transaction, so that no event is without its entry.
            if change.events or not silent:
                await services.audit_log.append_in(connection, change.entries(action))
    except VaultError as error:
        # In a transaction of its own: the one above was rolled back, and its entries with it.
        subjects = () if pseudonym is None else (pseudonym,)
        await record_failure(services, caller, action, error, purpose=purpose, subjects=subjects)
        raise
