"""Idempotency keys: a write happens once, however often it is sent (the ``Idempotency-Key`` header).

The response is stored in the transaction of the write, so that a crash keeps both or neither. The key and the call are
stored as keyed digests only. Stored responses have ids and revisions, and no values.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID  # noqa: TC003 - SQLModel reads the annotations

import msgspec
from sqlalchemy import LargeBinary, SmallInteger, String, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from vault.access.recording import AlreadyAnswered
from vault.errors import Conflict, InvalidInput
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Caller, Services

KEPT_FOR = timedelta(hours=24)
BEYOND_DEADLINE: Final = timedelta(seconds=60)
"""How much longer than a request may take its key is in flight. After that it has died with its process."""
LONGEST_KEY = 200


class IdempotencyRow(DataTable, table=True):
    """One call: in progress (without a status) or answered. ``started_at`` is its token, see :class:`Once`."""

    __tablename__ = "idempotency"

    tenant_id: str = column(String(64), primary_key=True)
    principal_id: UUID = column(Id, primary_key=True)
    key_digest: bytes = column(LargeBinary(32), primary_key=True)
    call_digest: bytes = column(LargeBinary(32))
    started_at: datetime = column(Moment, index=True)
    status: int | None = column(SmallInteger, nullable=True)
    answer: bytes | None = column(LargeBinary, nullable=True)


CALL = table_of(IdempotencyRow)


class KeyedCall(NamedTuple):
    """A call under an idempotency key. With one key, it is the same call if all of the rest is the same.

    Attributes:
        key: 1 to 200 printable characters.
        target: method, path and query string.
        headers: the values of each header that changes what the call does.
        body: as it was sent.
        in_flight_for: how long the key is in use while the call has no answer; longer than a request may take.
    """

    key: str
    target: tuple[str, str, str]
    headers: Mapping[str, Sequence[str]]
    body: bytes
    in_flight_for: timedelta

    def content(self) -> bytes:
        """Return what the call is, without the key."""
        # JSON escapes control characters, so the zero byte ends it.
        return msgspec.json.encode([self.target, self.headers], order="sorted") + b"\0" + self.body


class Once:
    """One call under an idempotency key: :meth:`begin` takes the key, :meth:`keep` stores the response.

    The time at which a call began is its token. A later call takes over a key only if that time has passed long ago, so
    its own is another. A call that was held up, and goes on after its key was taken over, finds no row with its token:
    then nothing is committed.
    """

    def __init__(self, services: Services, caller: Caller, call: KeyedCall) -> None:
        self._services = services
        self._caller = caller
        self._call = call
        self._started_at: datetime | None = None
        self._key: dict[str, object] = {}

    async def begin(self) -> None:
        """Begin the call. Called again by the same call, it does nothing.

        Raises:
            AlreadyAnswered: the same call has been answered; the error has the stored response.
            InvalidInput: the key was used for another call, or is invalid.
            Conflict: the same call is in progress.
        """
        if self._started_at is not None:
            return
        services, call = self._services, self._call
        if not 1 <= len(call.key) <= LONGEST_KEY or not call.key.isprintable():
            raise InvalidInput("an idempotency key has 1 to 200 printable characters", code="invalid-idempotency-key")
        # Keyed digests: neither the key nor the body, which has personal values, can be guessed from the table.
        tokens = await services.keyring.token_key(self._caller.tenant)
        self._key = {
            "tenant_id": self._caller.tenant,
            "principal_id": self._caller.principal.id,
            "key_digest": tokens.digest("idempotency-key", call.key.encode()),
        }
        call_digest = tokens.digest("idempotency-call", call.content())
        now = services.clock.now()
        died = CALL.c.status.is_(None) & (CALL.c.started_at < now - call.in_flight_for)
        # A process that died left its key without an answer. The key is free again once no request can still be under
        # way.
        stale = delete(CALL).where(*self._rows(), died | (CALL.c.started_at < now - KEPT_FOR))
        try:
            async with services.data.transaction() as connection:
                await connection.execute(stale)
                await connection.execute(insert(CALL), [{**self._key, "call_digest": call_digest, "started_at": now}])
        except IntegrityError:
            # The unique key decides between two calls at the same moment, on all nodes; to look first and insert then
            # would not.
            raise await self._existing(call_digest) from None
        self._started_at = now

    async def keep(self, connection: AsyncConnection, status: int, answer: bytes) -> None:
        """Store the response, in the transaction of the write.

        Raises:
            Conflict: a later call has taken over the key. The transaction must not be committed.
        """
        if self._started_at is None:
            # An operation that did so would happen once for each time that it is sent.
            raise RuntimeError("an operation saves its response under an idempotency key that it has not begun")
        kept = await connection.execute(update(CALL).where(*self._mine()).values(status=status, answer=answer))
        # Held up for so long that a later call took the key over. That one writes; this one must not.
        if kept.rowcount != 1:
            raise _in_flight()

    async def give_up(self) -> None:
        """Release the key, if it is this call's: the call failed and changed nothing, so it can be repeated."""
        if self._started_at is None:
            return
        async with self._services.data.transaction() as connection:
            await connection.execute(delete(CALL).where(*self._mine()))

    def _rows(self) -> list[ColumnElement[bool]]:
        return [CALL.c[name] == value for name, value in self._key.items()]

    def _mine(self) -> list[ColumnElement[bool]]:
        return [*self._rows(), CALL.c.started_at == self._started_at, CALL.c.status.is_(None)]

    async def _existing(self, call_digest: bytes) -> AlreadyAnswered | InvalidInput | Conflict:
        async with self._services.data.reading() as connection:
            statement = select(CALL.c.call_digest, CALL.c.status, CALL.c.answer).where(*self._rows())
            row = (await connection.execute(statement)).one_or_none()
        # Before the stored answer: a caller that uses its key for another call must not get the first one's answer.
        if row is not None and row.call_digest != call_digest:
            return InvalidInput(
                "this idempotency key was used for another call",
                code="idempotency-key-reused",
                hint="make a fresh key for each new call",
            )
        if row is None or row.status is None:
            return _in_flight()
        return AlreadyAnswered(row.status, row.answer)


def _in_flight() -> Conflict:
    return Conflict(
        "the same call is still in progress", code="in-flight", hint="wait a moment and send it again unchanged"
    )


async def forget_old(services: Services) -> int:
    """Delete calls that are older than a day; returns their number."""
    async with services.data.transaction() as connection:
        deleted = await connection.execute(delete(CALL).where(CALL.c.started_at < services.clock.now() - KEPT_FOR))
    return deleted.rowcount
