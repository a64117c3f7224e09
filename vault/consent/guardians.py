"""Children: below an age that each country sets, a parent or guardian must consent for them (Art. 8 GDPR)."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select

from vault.catalogue.types import decode
from vault.consent.transaction import Change
from vault.crypto.seal import record_aad
from vault.subjects.record_body import unpack
from vault.subjects.store import PROFILE
from vault.subjects.tables import RECORD, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Caller, Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import SubjectId

BIRTH_DATE = "birth_date"
"""The profile field that the age follows from; without it in the catalogue, no one counts as a child."""
_OPEN = frozenset({"given", "pending"})


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
    stored = None if body is None else unpack(body).get(BIRTH_DATE)
    if stored is None:
        return None
    return _day(decode(keys.open(BIRTH_DATE, stored.sealed, record_aad(tenant, subject, PROFILE, subject))))


def needs_guardian(change: Change, born: date | None, jurisdiction: str | None) -> bool:
    """Return whether a guardian has to consent for the person today."""
    if born is None:
        return False
    rules = change.services.policies.active(change.caller.tenant).policy_set.consent
    return rules.needs_guardian(born, change.now.date(), jurisdiction)


async def expire_childs_consents(
    services: Services, caller: Caller, connection: AsyncConnection, subject: SubjectId, born: object
) -> None:
    """Expire the consents of a person who turns out to be a child, except those that a guardian gave.

    Args:
        services: the open vault.
        caller: the caller that writes the date.
        connection: the transaction that writes the date of birth. A consent recorded at the same time waits for the
            person's row, and then sees the new date.
        subject: the person.
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
        if current.state in _OPEN and current.by != "guardian"
    }
    if not doubtful:
        return
    events = (await services.consents.events_of(connection, caller.tenant, [subject])).get(subject, [])
    law = {event.id: event.jurisdiction for event in events}
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
