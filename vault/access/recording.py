"""What all writes share: their answer, the hook that keeps it, and the record of those that failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.access.authorization import entry
from vault.access.on_record import note_failure
from vault.errors import Conflict, VaultError
from vault.ids import Pseudonym, RecordId, SubjectId  # noqa: TC001 - aliases below are made of them at run time

if TYPE_CHECKING:
    from vault.audit.entry import Action, Entry
    from vault.context import Caller, House
    from vault.policy.decision import Decision


class Written(NamedTuple):
    """What a write answers: the thing's id, its revision, and whether it is new."""

    id: SubjectId | RecordId
    revision: int
    created: bool


Keep = Callable[[AsyncConnection, Any], Awaitable[None]]
"""Called with the open transaction and what the write will answer; see :mod:`vault.access.idempotency`."""


def write_entry(
    house: House, caller: Caller, action: Action, granted: Decision, pseudonym: Pseudonym | None, **facts: object
) -> Entry:
    """Make the audit entry of a write that the policies granted."""
    return entry(
        house,
        caller,
        **{
            "action": action,
            "decision": "allowed",
            "purpose": granted.purpose.name,
            "fields": tuple(view.name for view in granted.views.values()),
            "subjects": () if pseudonym is None else (pseudonym,),
            "policy": granted.policy_version,
            **facts,
        },
    )


@asynccontextmanager
async def writing(
    house: House,
    caller: Caller,
    action: Action,
    decision: Decision,
    pseudonym: Pseudonym | None,
    *,
    taken: Conflict | None,
    **facts: object,
) -> AsyncIterator[AsyncConnection]:
    """Open the one transaction of a write; its audit entry is part of it, and a failed write is on the log too.

    Args:
        house: the rooms.
        caller: who writes.
        action: what the audit log calls it.
        decision: what granted it.
        pseudonym: of the subject; none where there is no such subject.
        taken: what to raise where a unique key stands in the way; none lets the ``IntegrityError`` pass, unrecorded,
            for a caller who then takes another way.
        facts: more for the entry.
    """
    try:
        async with house.data.transaction() as connection:
            yield connection
            await house.ledger.append_in(connection, [write_entry(house, caller, action, decision, pseudonym, **facts)])
    except IntegrityError:
        if taken is None:
            raise
        await _note(house, caller, action, decision, pseudonym, taken)
        raise taken from None
    except VaultError as error:
        await _note(house, caller, action, decision, pseudonym, error)
        raise


async def _note(
    house: House, caller: Caller, action: Action, decision: Decision, pseudonym: Pseudonym | None, error: VaultError
) -> None:
    await note_failure(
        house,
        caller,
        action,
        error,
        purpose=decision.purpose.name,
        fields=tuple(view.name for view in decision.views.values()),
        subjects=() if pseudonym is None else (pseudonym,),
        policy=decision.policy_version,
    )
