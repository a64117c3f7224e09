"""Do a thing once, however often it is asked for (the ``Idempotency-Key`` header).

The answer is kept in the transaction of the change itself, so that after a crash either both are there or neither.
Neither the key nor the body is kept, only keyed digests of them; the answers hold ids and revisions and no values.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID  # noqa: TC003 - as above

from sqlalchemy import LargeBinary, SmallInteger, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from vault.access.recording import record_failure
from vault.errors import Conflict, InvalidInput, VaultError
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Action
    from vault.context import Caller, Services

from sqlalchemy import String

KEPT_FOR = timedelta(hours=24)
IN_FLIGHT_FOR = timedelta(seconds=60)
"""A call that has not ended by then has died with its process: the key may be used again."""
LONGEST_KEY = 200


class IdempotencyRow(DataTable, table=True):
    """One call, under way (no status yet) or answered."""

    __tablename__ = "idempotency"

    tenant_id: str = column(String(64), primary_key=True)
    principal_id: UUID = column(Id, primary_key=True)
    key_digest: bytes = column(LargeBinary(32), primary_key=True)
    call_digest: bytes = column(LargeBinary(32))
    started_at: datetime = column(Moment, index=True)
    status: int | None = column(SmallInteger, nullable=True)
    answer: bytes | None = column(LargeBinary, nullable=True)


CALL = table_of(IdempotencyRow)


class Answered(NamedTuple):
    """The answer that the first call of this key got."""

    status: int
    answer: bytes


class Once:
    """One call under an idempotency key; made by :func:`begin`, handed to the operation, which keeps its answer."""

    def __init__(self, services: Services, tenant: str, principal: UUID, key_digest: bytes) -> None:
        self._services = services
        self._where = (
            CALL.c.tenant_id == tenant,
            CALL.c.principal_id == principal,
            CALL.c.key_digest == key_digest,
        )

    async def keep(self, connection: AsyncConnection, status: int, answer: bytes) -> None:
        """Keep the answer, in the transaction of the change."""
        await connection.execute(update(CALL).where(*self._where).values(status=status, answer=answer))

    async def give_up(self) -> None:
        """Free the key: the call failed and changed nothing, so it may be tried again."""
        async with self._services.data.transaction() as connection:
            await connection.execute(delete(CALL).where(*self._where, CALL.c.status.is_(None)))


async def begin(
    services: Services, caller: Caller, key: str, route: str, body: bytes, *, action: Action
) -> Once | Answered:
    """Begin a call under a key, or find that it has been answered.

    Args:
        caller: whose key it is.
        key: the caller's own, 1 to 200 printable characters.
        route: method and path.
        body: the bytes of the request.
        action: what the audit log calls the call, should the key be refused.

    Raises:
        InvalidInput: the key has been used for another call, or has no proper form.
        Conflict: the same call is under way.
    """
    try:
        return await _begin(services, caller, key, route, body)
    except VaultError as error:
        await record_failure(services, caller, action, error)
        raise


async def _begin(services: Services, caller: Caller, key: str, route: str, body: bytes) -> Once | Answered:
    if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise InvalidInput("an idempotency key has 1 to 200 printable characters", code="invalid-idempotency-key")
    tokens = await services.keyring.token_key(caller.tenant)
    key_digest = tokens.digest("idempotency-key", key.encode())
    call_digest = tokens.digest("idempotency-call", route.encode() + b"\0" + body)
    once = Once(services, caller.tenant, caller.principal.id, key_digest)
    now = services.clock.now()
    row = {
        "tenant_id": caller.tenant,
        "principal_id": caller.principal.id,
        "key_digest": key_digest,
        "call_digest": call_digest,
        "started_at": now,
    }
    try:
        async with services.data.transaction() as connection:
            await connection.execute(_stale(once, now))
            await connection.execute(insert(CALL), [row])
    except IntegrityError:
        return await _earlier(services, once, call_digest)
    return once


async def forget_old(services: Services) -> int:
    """Delete what was kept for longer than a day; returns how many."""
    async with services.data.transaction() as connection:
        gone = await connection.execute(delete(CALL).where(CALL.c.started_at < services.clock.now() - KEPT_FOR))
    return gone.rowcount


def _stale(once: Once, now: datetime) -> Any:
    died = CALL.c.status.is_(None) & (CALL.c.started_at < now - IN_FLIGHT_FOR)
    return delete(CALL).where(*once._where, died | (CALL.c.started_at < now - KEPT_FOR))  # noqa: SLF001 - its own module


async def _earlier(services: Services, once: Once, call_digest: bytes) -> Answered:
    async with services.data.reading() as connection:
        statement = select(CALL.c.call_digest, CALL.c.status, CALL.c.answer).where(*once._where)  # noqa: SLF001 - as above
        row = (await connection.execute(statement)).one_or_none()
    if row is not None and row.call_digest != call_digest:
        raise InvalidInput(
            "this idempotency key was used for another call",
            code="idempotency-key-reused",
            hint="make a fresh key for each new call",
        )
    if row is None or row.status is None:
        raise Conflict(
            "the same call is still under way", code="in-flight", hint="wait a moment and send it again unchanged"
        )
    return Answered(row.status, row.answer)
