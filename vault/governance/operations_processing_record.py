"""The record of processing activities (Art. 30 GDPR), from the policies in force and from what was really read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vault.access.authorization import entry
from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.errors import Fault, InvalidInput
from vault.governance.facts import Facts
from vault.governance.processing_record import build
from vault.governance.record_facts import grants_of
from vault.governance.record_schema import Made
from vault.governance.usage import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.context import Caller, House
    from vault.principals.principal import Principal

YEAR = timedelta(days=365)
"""How far back the log is read unless somebody says otherwise: policies are looked through once a year."""


def _nobody_watches(_entries: int, _reached: str) -> None:
    pass


@on_record("read-processing")
async def processing_record(
    house: House,
    caller: Caller,
    *,
    since: datetime | None = None,
    watch: Callable[[int, str], None] = _nobody_watches,
) -> Made:
    """Make the record of the caller's tenant.

    Args:
        house: the rooms.
        caller: who asks; it needs ``read`` on ``vault:processing``.
        since: from when on the audit log is read; 365 days back unless given.
        watch: is told how many entries were read so far, and the time of the last of them (RFC 3339).

    Raises:
        Denied: no role of the caller's has that right.
        InvalidInput: ``since`` is not in the past.
        Unavailable: the log cannot be read.
    """
    until = house.clock.now()
    begin = _checked(since, until)
    await require_right(house, caller, "vault:processing", "read", audited_as="read-processing")
    active = house.policies.active(caller.tenant)
    tally = await _tally(house, caller, begin, until, watch)
    facts = Facts(
        tenant=caller.tenant,
        policy_set=active.policy_set,
        grants=await asyncio.to_thread(grants_of, active.policy_set, caller.tenant, until.date()),
        principals=await _principals(house, caller),
        usage=tally.by_purpose(),
        since=begin,
        until=until,
    )
    record = await asyncio.to_thread(build, facts)
    made = entry(house, caller, action="read-processing", decision="allowed", policy=active.version)
    await house.ledger.append(made)
    return Made(record, made.id)


async def _tally(
    house: House, caller: Caller, since: datetime, until: datetime, watch: Callable[[int, str], None]
) -> Tally:
    tally = Tally()
    async for uses in house.ledger.uses(caller.tenant, since, until):
        tally.add(uses)
        watch(tally.told, uses[-1].at)
        await asyncio.sleep(0)  # some milliseconds a chunk; others are served in between
    return tally


async def _principals(house: House, caller: Caller) -> dict[str, Principal]:
    async with house.data.reading() as connection:
        return {str(each.id): each for each in await house.principals.list_principals(connection, caller.tenant)}


def _checked(since: datetime | None, now: datetime) -> datetime:
    if since is None:
        return now - YEAR
    try:
        begin = since.astimezone(UTC) if since.tzinfo is not None else now
    except OverflowError:  # the year 1, in a zone in which UTC was still in the year 0
        begin = now
    if begin < now:
        return begin
    fault = Fault("/since", "invalid-since", "`since` is a moment in the past with its time zone (RFC 3339).")
    raise InvalidInput(fault.detail, faults=[fault], code="invalid-since")
