"""One transaction in which one person's ledger is added to, with its audit entries; the person's row is locked.

What recording something in a person's ledger is answered.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from sqlalchemy import select

from vault.access.authorization import SUBJECT_NOT_FOUND, audit_entry
from vault.access.recording import record_failure
from vault.clock import MICROSECOND, from_microseconds
from vault.consent.append import append_events
from vault.consent.event import Event
from vault.consent.ledger import EVENT
from vault.consent.state import UNSAID, unpack
from vault.crypto.seal import version_of
from vault.errors import NotFound, SubjectMerged, VaultError
from vault.ids import Pseudonym, new_id
from vault.lifecycle.key_fence import require_current
from vault.subjects.changes import locked_subject
from vault.subjects.merged import merged_into
from vault.subjects.store import GONE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Action, Entry
    from vault.consent.event import By, Kind
    from vault.consent.state import ConsentState, PurposeStanding
    from vault.context import Caller, Services
    from vault.ids import SubjectId


class Change:
    """A person whose row is locked, and what is added to the ledger of theirs."""

    def __init__(
        self, services: Services, caller: Caller, connection: AsyncConnection, row: Any, last: UUID | None
    ) -> None:
        self.services = services
        self.caller = caller
        self.connection = connection
        self.row = row
        self.subject: SubjectId = row.id
        self.pseudonym = Pseudonym(row.pseudonym)
        self.standing: ConsentState = unpack(row.standing)
        self.now = services.clock.now()
        self.events: list[Event] = []
        self._last = last

    @classmethod
    async def lock(
        cls, services: Services, caller: Caller, connection: AsyncConnection, subject: SubjectId
    ) -> Change | None:
        """Lock a person's row until the transaction ends; none where there is no such person, or no longer."""
        row = await locked_subject(connection, caller.tenant, subject)
        if row is None or row.state in GONE:
            return None
        newest = (
            select(EVENT.c.id)
            .where(EVENT.c.tenant_id == caller.tenant, EVENT.c.subject_id == subject)
            .order_by(EVENT.c.id.desc())
            .limit(1)
        )
        return cls(services, caller, connection, row, (await connection.execute(newest)).scalar_one_or_none())

    def new_id(self) -> UUID:
        """Make the id of the next event: after all that are there, even if their node's clock was ahead of ours.

        The order of ids is the order of the ledger, in which it is summed up again.
        """
        made = new_id()
        self._last = made if self._last is None else max(made, UUID(int=self._last.int + 1))
        return self._last

    def said(self, purpose: str) -> PurposeStanding:
        """Return where the person stands on a purpose."""
        return self.standing.purposes.get(purpose, UNSAID)

    def next_moment(self, purpose: str) -> datetime:
        """Return the moment of what is said just now: after all that was said before.

        Nodes whose clocks differ by a little, and two clicks within a microsecond, are told apart by the order in
        which they came.
        """
        said = self.said(purpose)
        last = max(said.since, said.objected_at or 0)
        return max(self.now, from_microseconds(last) + MICROSECOND)

    def event(self, kind: Kind, *, by: By, occurred_at: datetime | None = None, **facts: Any) -> Event:
        """Make an event of now; see :class:`vault.consent.event.Event` for the facts."""
        return Event(
            id=facts.pop("id", None) or self.new_id(),
            subject=self.subject,
            kind=kind,
            by=by,
            occurred_at=occurred_at or self.now,
            recorded_at=self.now,
            recorder=self.caller.principal.id,
            policy=self.services.policies.active(self.caller.tenant).version,
            **facts,
        )

    async def append(self, *events: Event) -> ConsentState:
        """Append events, in this order."""
        versions = [version_of(each.evidence) for each in events if each.evidence]
        if versions:
            await require_current(self.services, self.connection, self.caller.tenant, {self.subject: min(versions)})
        self.standing = await append_events(self.services, self.connection, self.caller.tenant, self.subject, events)
        self.events.extend(events)
        return self.standing

    def entries(self, action: Action) -> list[Entry]:
        """Make the audit entries: one for each event, and one where there was nothing to add."""
        told: list[tuple[str | None, UUID | None]] = [(each.purpose, each.id) for each in self.events]
        return [
            audit_entry(
                self.services,
                self.caller,
                action=action,
                decision="allowed",
                purpose=purpose,
                subjects=(self.pseudonym,),
                target=target,
                policy=self.services.policies.active(self.caller.tenant).version,
            )
            for purpose, target in told or [(None, None)]
        ]


async def missing(services: Services, caller: Caller, connection: AsyncConnection, subject: SubjectId) -> NotFound:
    """Make the error for somebody who is not there.

    Of somebody who was merged into another, it tells a caller who may see that people are there which id to use: what
    a person says must not be lost because an app remembers the old one.
    """
    decisions = services.policies.active(caller.tenant).decisions
    if decisions.may(caller.principal.roles, "vault:subjects", "read").granted:
        into = await merged_into(connection, caller.tenant, subject)
        if into is not None:
            return SubjectMerged(into)
    return NotFound(SUBJECT_NOT_FOUND.detail, code=SUBJECT_NOT_FOUND.code)


@asynccontextmanager
async def changing(
    services: Services,
    caller: Caller,
    action: Action,
    subject: SubjectId,
    *,
    purpose: str | None = None,
    silent: bool = False,
) -> AsyncIterator[Change]:
    """Open the transaction; the audit entries are part of it, and a failure is on the log too.

    Args:
        caller: who records it.
        action: what the audit log calls it.
        subject: whose ledger.
        purpose: of which purpose, for the entry of a failure.
        silent: whether no entry is made where there was nothing to add.

    Raises:
        NotFound: there is no such person, or no longer.
    """
    pseudonym: Pseudonym | None = None
    try:
        async with services.data.transaction() as connection:
            change = await Change.lock(services, caller, connection, subject)
            if change is None:
                raise await missing(services, caller, connection, subject)
            pseudonym = change.pseudonym
            yield change
            if change.events or not silent:
                await services.audit_log.append_in(connection, change.entries(action))
    except VaultError as error:
        whom = () if pseudonym is None else (pseudonym,)
        await record_failure(services, caller, action, error, purpose=purpose, subjects=whom)
        raise


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a person has to send back to confirm: told once, and kept as a digest only."""

    token: str = field(repr=False)
    expires_at: datetime


class Recorded(NamedTuple):
    """The event, and how things stand after it."""

    id: UUID
    state: str
    confirmation: Confirmation | None = None
