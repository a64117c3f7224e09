"""The Global Privacy Control: a browser says no to the sale and sharing of data (``Sec-GPC: 1``), and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select

from vault.access.on_record import on_record
from vault.access.rights import require_right
from vault.consent.event import NO
from vault.consent.tables import EVENT
from vault.consent.transaction import Change, changing

if TYPE_CHECKING:
    from vault.context import Caller, House
    from vault.ids import SubjectId


@on_record("record-consent")
async def record_signal(house: House, caller: Caller, subject: SubjectId) -> dict[str, str]:
    """Record the signal: a withdrawal of each purpose that sells or shares, where the person has not said no before.

    Returns:
        how each of those purposes stands now.

    Raises:
        NotFound: there is no such subject.
    """
    await require_right(house, caller, "vault:consents", "record", audited_as="record-consent")
    async with changing(house, caller, "record-consent", subject) as change:
        await honour_signal(change)
        return {name: change.said(name).state for name in _sold(change)}


async def honour_signal(change: Change) -> None:
    """Withdraw, in an open transaction, what the signal is about; sent again it changes nothing."""
    withdrawn = [
        change.event("withdrawn", by="subject", purpose=name, method="signal", occurred_at=change.next_moment(name))
        for name in _sold(change)
        if change.said(name).state not in NO or await is_asked_again(change, name)
    ]
    if withdrawn:
        await change.append(*withdrawn)


async def is_asked_again(change: Change, purpose: str) -> bool:
    """Tell whether a double opt-in was begun after the no: its link must not outlive the signal."""
    statement = (
        select(EVENT.c.id)
        .where(
            EVENT.c.tenant_id == change.caller.tenant,
            EVENT.c.subject_id == change.subject,
            EVENT.c.id > UUID(bytes=change.said(purpose).event),
            EVENT.c.purpose == purpose,
            EVENT.c.kind == "requested",
        )
        .limit(1)
    )
    return (await change.connection.execute(statement)).first() is not None


def _sold(change: Change) -> list[str]:
    purposes = change.house.policies.active(change.caller.tenant).policy_set.purposes
    return [purpose.name for purpose in purposes.values() if purpose.sale_or_share]
