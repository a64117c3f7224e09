"""Whatever fails after the caller is known is on the audit log too, once, before anybody is told."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vault.access.authorization import entry
from vault.errors import TooMany, Unavailable, VaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from vault.audit.entry import Action
    from vault.context import Caller, House

Operation = TypeVar("Operation", bound="Callable[..., Coroutine[Any, Any, Any]]")


async def note_failure(house: House, caller: Caller, action: Action, error: Exception, **facts: object) -> None:
    """Write down that a request failed, unless the error's entry is there already.

    Args:
        house: the rooms.
        caller: who asked.
        action: what was asked for.
        error: why it failed; it learns which entry tells of it.
        facts: more for the entry: fields, subjects, purpose, policy.
    """
    if not _is_worth_noting(error) or getattr(error, "audit", None) is not None:
        return
    code = error.code if isinstance(error, VaultError) else "internal-error"
    made = entry(house, caller, **{"action": action, "decision": "failed", "code": code, **facts})
    await house.ledger.append(made)
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


def on_record(action: Action) -> Callable[[Operation], Operation]:
    """Make an operation of which no failure goes unrecorded.

    Args:
        action: what the audit log calls it, where the operation has not written its own entry.
    """

    def recorded(operation: Operation) -> Operation:
        @wraps(operation)
        async def run(house: House, caller: Caller, *args: Any, **kwargs: Any) -> Any:
            try:
                return await operation(house, caller, *args, **kwargs)
            except Exception as error:
                await note_failure(house, caller, action, error)
                raise

        return cast("Operation", run)

    return recorded
