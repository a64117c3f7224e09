"""Record the consents that have expired, and count who must be asked again after a change of notices.

No read depends on the events of expiry, because each read compares the end of a consent with the clock. They complete
the history, so that the end has an event and a receipt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from vault.clock import from_microseconds, to_microseconds
from vault.consent.append import count_by_notice, pages_with_state
from vault.consent.state import unpack
from vault.consent.transaction import Change
from vault.subjects.store import GONE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date, datetime

    from vault.consent.state import ConsentState, PurposeState
    from vault.context import Caller, Services
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
                        occurred_at=_ended(consent),
                    )
                    for name, consent in expired.items()
                ]
            )
            await services.audit_log.append_in(connection, change.entries("record-consent"))
        return len(expired)


def _ended(consent: PurposeState) -> datetime:
    """Return when a consent expired: at its end, and later than all events before."""
    return from_microseconds(max(consent.valid_until or 0, consent.since + 1))


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
        services: the open vault.
        tenant: the tenant.
        name: name of the notice, without a version.
        policies: the policies of that day, in force already or not.
        day: the day.
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
