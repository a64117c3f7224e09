"""Audit entries of failures, and what all writes share: the transaction, the result, the hook that saves a response.

A failure after the caller is known is recorded once, before the error is returned.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar, cast
from uuid import UUID

from pydantic import Field
from sqlalchemy.exc import IntegrityError

from vault.access.authorization import audit_entry, record_denial
from vault.errors import Conflict, Denied, TooMany, Unavailable, VaultError
from vault.views import View

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Action
    from vault.context import Caller, Services
    from vault.ids import Pseudonym
    from vault.policy.decision import Decision


REPLAYED: Final = "replayed"
"""Code of an audit entry: nothing was done, the stored response of the first call was sent again."""
Operation = TypeVar("Operation", bound="Callable[..., Coroutine[object, object, object]]")


async def record_failure(services: Services, caller: Caller, action: Action, error: Exception, **facts: object) -> None:
    """Record that a request failed, unless the error has an audit entry already.

    Args:
        action: the action in the audit log.
        error: the cause; its ``audit`` is set to the id of the entry.
        facts: more for the entry: fields, subjects, purpose, policy.
    """
    if getattr(error, "audit", None) is not None:
        return
    if isinstance(error, Unavailable):
        return  # without a database there is no log either
    if isinstance(error, TooMany) and not error.first:
        # The first refusal of a minute shows who enumerates. A refusal must not cost more than the refused request.
        return
    code = error.code if isinstance(error, VaultError) else "internal-error"
    entry = audit_entry(services, caller, **{"action": action, "decision": "failed", "code": code, **facts})
    audit = await services.audit_log.append_refusal(entry)
    if isinstance(error, VaultError):
        error.audit = str(audit)


async def take_call(services: Services, caller: Caller, kind: Literal["read", "write"]) -> None:
    """Count a call against the caller's rate of reads or writes; a refused call counts too.

    Raises:
        TooMany: the rate is used up; the first refusal of a minute is recorded.
    """
    try:
        await services.limits.take(caller.principal, kind, 1)
    except TooMany as error:
        await record_failure(services, caller, kind, error)
        raise


def audited(action: Action) -> Callable[[Operation], Operation]:
    """Decorate an operation so that each of its failures is recorded, and each replay of a response.

    Args:
        action: the action in the audit log, for failures that the operation has not recorded itself.
    """

    def recorded(operation: Operation) -> Operation:
        @wraps(operation)
        async def run(services: Services, caller: Caller, *args: object, **kwargs: object) -> object:
            try:
                return await operation(services, caller, *args, **kwargs)
            except AlreadyAnswered as error:
                if error.audit is None:
                    entry = audit_entry(services, caller, action=action, decision="allowed", code=REPLAYED)
                    await services.audit_log.append(entry)
                    error.audit = str(entry.id)
                raise
            except Exception as error:
                await record_failure(services, caller, action, error)
                raise

        return cast("Operation", run)

    return recorded


class WriteResult(View):
    """The id and the revision of what was written."""

    id: UUID
    revision: int
    created: bool = Field(exclude=True)
    """Whether it is new: the HTTP status says so, not the body."""


class SaveResponse(Protocol):
    """Saves the response of an operation under an idempotency key; see :mod:`vault.access.idempotency`."""

    async def begin(self) -> None:
        """Begin the call, or raise :class:`AlreadyAnswered`."""

    async def __call__(self, connection: AsyncConnection, result: Any) -> None:
        """Save the response, in the open transaction of the write."""


class AlreadyAnswered(Exception):
    """The same call under the same idempotency key was answered before: its response is sent again."""

    def __init__(self, status: int, answer: bytes) -> None:
        super().__init__("the call was answered before")
        self.status = status
        self.answer = answer
        self.audit: str | None = None


async def begin_once(on_commit: SaveResponse | None) -> None:
    """Begin a call that may have an idempotency key. An operation does so once the caller has been authorized.

    A stored response is for callers who still have the right that the operation requires.

    Raises:
        AlreadyAnswered: the call was answered before; :func:`audited` records it.
        InvalidInput: the key was used for another call, or is invalid.
        Conflict: the same call is in progress.
    """
    if on_commit is not None:
        await on_commit.begin()


def granted_facts(decision: Decision, pseudonym: Pseudonym | None) -> dict[str, Any]:
    """Return what an entry says of a granted write: purpose, fields, subject and policy."""
    return {
        "purpose": decision.purpose.name,
        "fields": tuple(view.name for view in decision.views.values()),
        "subjects": () if pseudonym is None else (pseudonym,),
        "policy": decision.policy_version,
    }


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
    """Open the one transaction of a write. Its audit entry is part of the transaction; a failed write is recorded too.

    Args:
        action: the action in the audit log.
        pseudonym: the subject's; None if there is no such subject.
        taken: the error to raise if a unique key exists already. With None, the ``IntegrityError`` passes unrecorded,
            for an operation that then updates instead.
        facts: more for the entry.
    """
    granted = granted_facts(decision, pseudonym)
    try:
        async with services.data.transaction() as connection:
            yield connection
            entry = audit_entry(services, caller, action=action, decision="allowed", **granted, **facts)
            await services.audit_log.append_in(connection, [entry])
    except IntegrityError:
        if taken is None:
            raise
        await record_failure(services, caller, action, taken, **granted)
        raise taken from None
    except VaultError as error:
        # The legal ground is evaluated under the lock, but its denial cannot be recorded there: the entry would be
        # rolled back, or wait for the transaction that it is about.
        if isinstance(error, Denied) and error.denied and error.audit is None:
            await record_denial(services, caller, decision, action, error, pseudonym)
        await record_failure(services, caller, action, error, **granted)
        raise
