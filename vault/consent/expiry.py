"""Consents that end without a word of the person: by their date, by a new notice, or because the person is a child.

No read depends on the events of expiry, because each read compares the end of a consent with the clock. They complete
the history, so that the end has an event and a receipt.

Below an age that each country sets, a parent or guardian must consent for a child (Art. 8 GDPR).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select

from vault.catalogue.types import decode
from vault.clock import from_microseconds, to_microseconds
from vault.consent.model import unpack
from vault.consent.store import count_by_notice, pages_with_state
from vault.consent.transaction import Change
from vault.crypto.seal import record_aad
from vault.subjects import rows as record_rows
from vault.subjects.store import GONE, PROFILE
from vault.subjects.tables import RECORD, SUBJECT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.model import ConsentState, PurposeState
    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId, TenantId
    from vault.policy.policy_set import PolicySet


@dataclass(frozen=True, slots=True)
class ExpiryStep:
    """One page of people: how many there were, and how many of their consents have expired."""

    people: int
    ended: int


async def expire_lapsed(services: Services, caller: Caller) -> AsyncIterator[ExpiryStep]:
    """Append an event for each expired consent, a page of people at a time; a second run finds none.

    Raises:
        Unavailable: the database does not answer; the pages before stay written.
    """
    async for rows in pages_with_state(services, caller.tenant):
        now = to_microseconds(services.clock.now())
        expired = [row.id for row in rows if row.state not in GONE and _expired(unpack(row.standing), now)]
        yield ExpiryStep(len(rows), sum([await _expire(services, caller, subject) for subject in expired]))


async def _expire(services: Services, caller: Caller, subject: SubjectId) -> int:
    async with services.data.transaction() as connection:
        change = await Change.lock(services, caller, connection, subject)
        if change is None:
            return 0
        expired = _expired(change.state, to_microseconds(change.now))  # again, now that the row is locked
        if expired:
            await change.append(
                *[
                    change.event(
                        "expired",
                        by="app",
                        origin="system",
                        purpose=name,
                        notice=consent.notice,
                        answers=UUID(bytes=consent.event),
                        # At its end, and later than all events before.
                        occurred_at=from_microseconds(max(consent.valid_until or 0, consent.since + 1)),
                    )
                    for name, consent in expired.items()
                ]
            )
            await services.audit_log.append_in(connection, change.entries("record-consent"))
        return len(expired)


def _expired(state: ConsentState, now: int) -> dict[str, PurposeState]:
    """Return the consents in the state ``given`` whose end has passed."""
    return {
        name: consent
        for name, consent in state.purposes.items()
        if consent.state == "given" and consent.valid_until is not None and consent.valid_until <= now
    }


@dataclass(frozen=True, slots=True)
class AskAgain:
    """One purpose: the accepted versions of its notice, and how many people agreed to another version, by version."""

    purpose: str
    accepted: tuple[str, ...]
    people: dict[str, int]

    @property
    def total(self) -> int:
        """Return how many people must be asked again."""
        return sum(self.people.values())


async def ask_again(services: Services, tenant: TenantId, name: str, policies: PolicySet, day: date) -> list[AskAgain]:
    """Count, for each purpose that uses a notice, the people whose consent no longer counts on a day.

    Args:
        name: of the notice, without a version.
        policies: of that day, in force already or not.
    """
    purposes = []
    for purpose in policies.purposes.values():
        if purpose.notice is None or purpose.notice.partition("@")[0] != name:
            continue
        accepted = policies.notices.accepted(purpose, day)
        counted = await count_by_notice(services, tenant, purpose.name)
        people = {notice: count for notice, count in sorted(counted.items()) if notice not in accepted}
        purposes.append(AskAgain(purpose.name, tuple(sorted(accepted)), people))
    return purposes


BIRTH_DATE = "birth_date"
"""The profile field that the age follows from; without it in the catalogue, no one counts as a child."""


async def birth_date(change: Change, keys: SubjectKeys) -> date | None:
    """Read the person's date of birth within the transaction, for the check alone; it is not returned to any caller."""
    tenant, subject = change.caller.tenant, change.subject
    statement = select(RECORD.c.body).where(
        RECORD.c.tenant_id == tenant,
        RECORD.c.subject_id == subject,
        RECORD.c.collection == PROFILE,
        RECORD.c.id == subject,
    )
    body = (await change.connection.execute(statement)).scalar_one_or_none()
    stored = None if body is None else record_rows.unpack(body).get(BIRTH_DATE)
    if stored is None:
        return None
    return _day(decode(keys.open(BIRTH_DATE, stored.sealed, record_aad(tenant, subject, PROFILE, subject))))


def needs_guardian(change: Change, born: date | None, jurisdiction: str | None) -> bool:
    """Return whether a guardian has to consent for the person today."""
    if born is None:
        return False
    return change.policy_set.consent.needs_guardian(born, change.now.date(), jurisdiction)


async def expire_childs_consents(
    services: Services, caller: Caller, connection: AsyncConnection, subject: SubjectId, born: object
) -> None:
    """Expire the consents of a person who turns out to be a child, except those that a guardian gave.

    Args:
        connection: the transaction that writes the date of birth. A consent recorded at the same time waits for the
            person's row, and then sees the new date.
        born: the date of birth as stored (``YYYY-MM-DD``); None if it was deleted.
    """
    day = _day(born)
    if day is None:
        return
    change = await Change.lock(services, caller, connection, subject)
    if change is None:
        return
    doubtful = {
        name: UUID(bytes=current.event)
        for name, current in change.state.purposes.items()
        if current.state in {"given", "pending"} and current.by != "guardian"
    }
    if not doubtful:
        return
    law = {event.id: event.jurisdiction for event in await change.history()}
    ended = [
        change.event(
            "expired",
            by="app",
            origin="system",
            purpose=name,
            answers=event,
            occurred_at=change.next_moment(name),
        )
        for name, event in doubtful.items()
        if needs_guardian(change, day, law.get(event))
    ]
    if ended:
        await change.append(*ended)
        await services.audit_log.append_in(connection, change.entries("record-consent"))


async def expire_childrens_consents(
    services: Services, caller: Caller, connection: AsyncConnection, born: Mapping[SubjectId, object]
) -> None:
    """Do the same for many people; those without any event are skipped."""
    if not born:
        return
    statement = (
        select(SUBJECT.c.id)
        .where(SUBJECT.c.tenant_id == caller.tenant, SUBJECT.c.id.in_(born), SUBJECT.c.standing.is_not(None))
        .order_by(SUBJECT.c.id)
    )
    # The rows are locked in the order of their ids, so that two writers cannot deadlock.
    for subject in (await connection.execute(statement.with_for_update())).scalars().all():
        await expire_childs_consents(services, caller, connection, subject, born[subject])


def _day(stored: object) -> date | None:
    """Read a stored date; None for other values, because a catalogue may give the field another type."""
    try:
        return date.fromisoformat(stored) if isinstance(stored, str) else None
    except ValueError:
        return None
