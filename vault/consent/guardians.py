"""Children: below an age that each country sets, a parent or guardian consents for them (Art. 8 GDPR)."""

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
"""The profile's field that tells a child; a catalogue without it knows no children."""
STANDS = frozenset({"given", "pending"})


async def birth_date(change: Change, keys: SubjectKeys) -> date | None:
    """Read the person's date of birth within the transaction: for the check, and for nobody to see."""
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
    """Tell whether a guardian has to consent for the person today."""
    if born is None:
        return False
    rules = change.services.policies.active(change.caller.tenant).policy_set.consent
    return rules.needs_guardian(born, change.now.date(), jurisdiction)


async def expire_childs_consents(
    services: Services, caller: Caller, connection: AsyncConnection, subject: SubjectId, born: object
) -> None:
    """End the consents of somebody who turns out to be a child, but for those that a guardian gave.

    To be called in the transaction that writes the date of birth. Whoever consents at the same moment waits for the
    person's row, and then sees the new date.

    Args:
        caller: who writes the date.
        subject: who is concerned.
        born: the date of birth as it is kept (``YYYY-MM-DD``); none where there is none any more.
    """
    day = _day(born)
    if day is None:
        return
    change = await Change.lock(services, caller, connection, subject)
    if change is None:
        return
    doubtful = {
        name: UUID(bytes=said.event)
        for name, said in change.standing.purposes.items()
        if said.state in STANDS and said.by != "guardian"
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
    """Do the same for many; of whom nothing was ever said, nothing is looked at."""
    if not born:
        return
    statement = (
        select(SUBJECT.c.id)
        .where(SUBJECT.c.tenant_id == caller.tenant, SUBJECT.c.id.in_(born), SUBJECT.c.standing.is_not(None))
        .order_by(SUBJECT.c.id)
    )
    for subject in (await connection.execute(statement.with_for_update())).scalars().all():
        await expire_childs_consents(services, caller, connection, subject, born[subject])


def _day(kept: object) -> date | None:
    """Read a date as its field keeps it; a catalogue may have given the field another type."""
    try:
        return date.fromisoformat(kept) if isinstance(kept, str) else None
    except ValueError:
        return None
