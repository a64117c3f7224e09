"""Write down the consents that have ended by themselves.

A read looks at the moment at which a consent ends, so nothing depends on this: it completes the ledger, so that the
end has its event and its receipt.

Who must be asked again: what a change of notices means for the consents that stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from vault.clock import from_microseconds, to_microseconds
from vault.consent.append import count_by_notice, people_who_said_something
from vault.consent.state import unpack
from vault.consent.transaction import Change
from vault.subjects.store import GONE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import date, datetime

    from vault.consent.state import ConsentState, PurposeStanding
    from vault.context import Caller, Services
    from vault.ids import SubjectId, TenantId
    from vault.policy.policy_set import PolicySet


class Lapsed(NamedTuple):
    """How many people a step went through, and how many consents it found to have ended."""

    people: int
    ended: int


async def expire_lapsed(services: Services, caller: Caller) -> AsyncIterator[Lapsed]:
    """Append an event for each consent whose time has run out, some people at a time; done twice, it finds none.

    Raises:
        Unavailable: the database does not answer; what was written stays.
    """
    async for rows in people_who_said_something(services, caller.tenant):
        now = to_microseconds(services.clock.now())
        over = [row.id for row in rows if row.state not in GONE and _over(unpack(row.standing), now)]
        yield Lapsed(len(rows), sum([await _expire(services, caller, subject) for subject in over]))


async def _expire(services: Services, caller: Caller, subject: SubjectId) -> int:
    async with services.data.transaction() as connection:
        change = await Change.lock(services, caller, connection, subject)
        if change is None:
            return 0
        over = _over(change.standing, to_microseconds(change.now))  # once more, now that the row is locked
        if over:
            await change.append(
                *[
                    change.event(
                        "expired",
                        by="app",
                        origin="system",
                        purpose=name,
                        notice=said.notice,
                        answers=UUID(bytes=said.event),
                        occurred_at=_ended(said),
                    )
                    for name, said in over.items()
                ]
            )
            await services.audit_log.append_in(connection, change.entries("record-consent"))
        return len(over)


def _ended(said: PurposeStanding) -> datetime:
    """Return when it ended: at its moment, which lies after all that was said."""
    return from_microseconds(max(said.valid_until or 0, said.since + 1))


def _over(standing: ConsentState, now: int) -> dict[str, PurposeStanding]:
    """Pick the consents that still stand as given and have ended."""
    return {
        name: said
        for name, said in standing.purposes.items()
        if said.state == "given" and said.valid_until is not None and said.valid_until <= now
    }


class AskAgain(NamedTuple):
    """One purpose: the versions that are good, and how many people agreed to another one, by version."""

    purpose: str
    accepted: tuple[str, ...]
    people: dict[str, int]

    @property
    def total(self) -> int:
        """Return how many people are to be asked again."""
        return sum(self.people.values())


async def ask_again(services: Services, tenant: TenantId, name: str, policies: PolicySet, day: date) -> list[AskAgain]:
    """Count, for each purpose that asks for consent by a notice, the people whose consent is not good any more.

    Args:
        tenant: whose people.
        name: name of the notice, without a version.
        policies: those that count on that day, in force already or not.
        day: the day that is asked about.
    """
    found = []
    for purpose in policies.purposes.values():
        if purpose.notice is None or purpose.notice.partition("@")[0] != name:
            continue
        accepted = policies.notices.accepted(purpose, day)
        counted = await count_by_notice(services, tenant, purpose.name)
        people = {notice: count for notice, count in sorted(counted.items()) if notice not in accepted}
        found.append(AskAgain(purpose.name, tuple(sorted(accepted)), people))
    return found
