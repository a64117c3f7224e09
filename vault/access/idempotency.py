"""Idempotency keys: a write happens once, however often it is sent (the ``Idempotency-Key`` header).

The response is stored in the transaction of the write, so that a crash keeps both or neither. The key and the body are
stored as keyed digests only. Stored responses have ids and revisions, and no values.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID  # noqa: TC003 - SQLModel reads the annotations

from sqlalchemy import LargeBinary, SmallInteger, String, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from vault.access.recording import record_failure
from vault.errors import Conflict, InvalidInput, VaultError
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.audit.entry import Action
    from vault.context import Caller, Services

KEPT_FOR = timedelta(hours=24)
IN_FLIGHT_FOR = timedelta(seconds=60)
"""After this time a call has died with its process, and the key can be used again."""
LONGEST_KEY = 200


class IdempotencyRow(DataTable, table=True):
    """One call: in progress (without a status) or answered."""

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
    """The stored response of the first call with this key."""

    status: int
    answer: bytes


class Once:
    """One call under an idempotency key, begun by :func:`begin`."""

    def __init__(self, services: Services, caller: Caller, key_digest: bytes) -> None:
        self._services = services
        self.row = {"tenant_id": caller.tenant, "principal_id": caller.principal.id, "key_digest": key_digest}
        self.where = [CALL.c[name] == value for name, value in self.row.items()]

    async def keep(self, connection: AsyncConnection, status: int, answer: bytes) -> None:
        """Store the response, in the transaction of the write."""
        await connection.execute(update(CALL).where(*self.where).values(status=status, answer=answer))

    async def give_up(self) -> None:
        """Release the key: the call failed and changed nothing, so it can be repeated."""
        async with self._services.data.transaction() as connection:
            await connection.execute(delete(CALL).where(*self.where, CALL.c.status.is_(None)))


async def begin(
    services: Services, caller: Caller, key: str, route: str, body: bytes, *, action: Action
) -> Once | Answered:
    """Begin a call under a key, or return the stored response.

    Args:
        key: 1 to 200 printable characters.
        route: method and path.
        action: the action in the audit log, if the key is refused.

    Raises:
        InvalidInput: the key was used for another call, or is invalid.
        Conflict: the same call is in progress.
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
    once = Once(services, caller, key_digest)
    now = services.clock.now()
    died = CALL.c.status.is_(None) & (CALL.c.started_at < now - IN_FLIGHT_FOR)
    stale = delete(CALL).where(*once.where, died | (CALL.c.started_at < now - KEPT_FOR))
    try:
        async with services.data.transaction() as connection:
            await connection.execute(stale)
            await connection.execute(insert(CALL), [{**once.row, "call_digest": call_digest, "started_at": now}])
    except IntegrityError:
        return await _existing(services, once, call_digest)
    return once


async def forget_old(services: Services) -> int:
    """Delete calls that are older than a day; returns their number."""
    async with services.data.transaction() as connection:
        deleted = await connection.execute(delete(CALL).where(CALL.c.started_at < services.clock.now() - KEPT_FOR))
    return deleted.rowcount


async def _existing(services: Services, once: Once, call_digest: bytes) -> Answered:
    async with services.data.reading() as connection:
        statement = select(CALL.c.call_digest, CALL.c.status, CALL.c.answer).where(*once.where)
        row = (await connection.execute(statement)).one_or_none()
    if row is not None and row.call_digest != call_digest:
        raise InvalidInput(
            "this idempotency key was used for another call",
            code="idempotency-key-reused",
            hint="make a fresh key for each new call",
        )
    if row is None or row.status is None:
        raise Conflict(
            "the same call is still in progress", code="in-flight", hint="wait a moment and send it again unchanged"
        )
    return Answered(row.status, row.answer)
