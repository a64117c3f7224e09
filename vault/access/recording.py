"""Whatever fails after the caller is known is on the audit log too, once, before anybody is told.

What all writes share: their answer, the hook that keeps it, and the record of those that failed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.access.authorization import audit_entry
from vault.errors import Conflict, TooMany, Unavailable, VaultError
from vault.ids import Pseudonym, RecordId, SubjectId  # noqa: TC001 - aliases below are made of them at run time

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from vault.audit.entry import Action, Entry
    from vault.context import Caller, Services
    from vault.policy.decision import Decision


Operation = TypeVar("Operation", bound="Callable[..., Coroutine[Any, Any, Any]]")


async def record_failure(services: Services, caller: Caller, action: Action, error: Exception, **facts: object) -> None:
    """Write down that a request failed, unless the error's entry is there already.

    Args:
        caller: who asked.
        action: what was asked for.
        error: why it failed; it learns which entry tells of it.
        facts: more for the entry: fields, subjects, purpose, policy.
    """
    if not _is_worth_noting(error) or getattr(error, "audit", None) is not None:
        return
    code = error.code if isinstance(error, VaultError) else "internal-error"
    made = audit_entry(services, caller, **{"action": action, "decision": "failed", "code": code, **facts})
    await services.audit_log.append(made)
    if isinstance(error, VaultError):
        error.audit = str(made.id)


def _is_worth_noting(error: Exception) -> bool:
    """Tell whether a failure gets an entry.

    Without a database there is no log. Of refusals by rate the first of a minute is enough to show who enumerates; a
    refusal must not cost more than what it refuses.
    """
    if isinstance(error, TooMany):
        return error.first
    return not isinstance(error, Unavailable)


def audited(action: Action) -> Callable[[Operation], Operation]:
    """Make an operation of which no failure goes unrecorded.

    Args:
        action: what the audit log calls it, where the operation has not written its own entry.
    """

    def recorded(operation: Operation) -> Operation:
        @wraps(operation)
        async def run(services: Services, caller: Caller, *args: Any, **kwargs: Any) -> Any:
            try:
                return await operation(services, caller, *args, **kwargs)
            except Exception as error:
                await record_failure(services, caller, action, error)
                raise

        return cast("Operation", run)

    return recorded


class Written(NamedTuple):
    """What a write answers: the thing's id, its revision, and whether it is new."""

    id: SubjectId | RecordId
    revision: int
    created: bool


SaveResponse = Callable[[AsyncConnection, Any], Awaitable[None]]
"""Called with the open transaction and what the write will answer; see :mod:`vault.access.idempotency`."""


def write_entry(
    services: Services, caller: Caller, action: Action, granted: Decision, pseudonym: Pseudonym | None, **facts: object
) -> Entry:
    """Make the audit entry of a write that the policies granted."""
    return audit_entry(
        services,
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
    services: Services,
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
        caller: who writes.
        action: what the audit log calls it.
        decision: what granted it.
        pseudonym: of the subject; none where there is no such subject.
        taken: what to raise where a unique key stands in the way; none lets the ``IntegrityError`` pass, unrecorded,
            for a caller who then takes another way.
        facts: more for the entry.
    """
    try:
        async with services.data.transaction() as connection:
            yield connection
            await services.audit_log.append_in(
                connection, [write_entry(services, caller, action, decision, pseudonym, **facts)]
            )
    except IntegrityError:
        if taken is None:
            raise
        await _note(services, caller, action, decision, pseudonym, taken)
        raise taken from None
    except VaultError as error:
        await _note(services, caller, action, decision, pseudonym, error)
        raise


async def _note(
    services: Services,
    caller: Caller,
    action: Action,
    decision: Decision,
    pseudonym: Pseudonym | None,
    error: VaultError,
) -> None:
    await record_failure(
        services,
        caller,
        action,
        error,
        purpose=decision.purpose.name,
        fields=tuple(view.name for view in decision.views.values()),
        subjects=() if pseudonym is None else (pseudonym,),
        policy=decision.policy_version,
    )
