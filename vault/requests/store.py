"""The tables of requests and their events, and the statements on them. The rows contain no value that is not sealed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Index, Integer, LargeBinary, String, and_, bindparam, func, insert, or_, select, update

from vault.crypto.row_mac import MAC, MacedTable
from vault.requests.model import OPEN, UNVERIFIED, Event, Request, decode, encode
from vault.storage.columns import DataTable, Id, Moment, column, table_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import date, datetime
    from uuid import UUID

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.crypto.row_mac import RowKeys
    from vault.ids import SubjectId, TenantId


class RequestRow(DataTable, table=True):
    """One request: its body, the columns by which it is looked for, and what was written about it, sealed."""

    __tablename__ = "rights_request"
    __table_args__ = (
        Index("ix_rights_request_subject", "tenant_id", "subject_id"),
        Index("ix_rights_request_due", "tenant_id", "state", "due_on"),
    )

    tenant_id: str = column(String(64), primary_key=True)
    id: UUID = column(Id, primary_key=True)
    subject_id: UUID | None = column(Id, nullable=True)
    kind: str = column(String(16))
    state: str = column(String(16))
    regime: str = column(String(8))
    received_at: datetime = column(Moment)
    due_on: str = column(String(10))
    revision: int = column(Integer)
    body: bytes = column(LargeBinary)
    details: bytes | None = column(LargeBinary, nullable=True)
    mac: bytes | None = column(LargeBinary, nullable=True)


class RequestEventRow(DataTable, table=True):
    """One move of a request. Rows are only ever added."""

    __tablename__ = "request_event"

    tenant_id: str = column(String(64), primary_key=True)
    request_id: UUID = column(Id, primary_key=True)
    number: int = column(Integer, primary_key=True, autoincrement=False)
    at: datetime = column(Moment)
    body: bytes = column(LargeBinary)


REQUEST = table_of(RequestRow)
REQUEST_EVENT = table_of(RequestEventRow)
REQUESTS = MacedTable(
    REQUEST,
    *("tenant_id", "id", "subject_id", "kind", "state", "regime", "received_at", "due_on", "revision", "body"),
    "details",
)


_encode = msgspec.json.Encoder(order="sorted").encode
_events = msgspec.json.Decoder(Event)


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request and its sealed details."""

    request: Request
    details: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestQuery:
    """Which requests to list.

    Attributes:
        states: only these; if empty, all.
        kinds: only these; if empty, all.
        due_before: only those with an earlier legal deadline.
        after: due date and id of the last request of the previous page.
    """

    subject: SubjectId | None = None
    states: Collection[str] = ()
    kinds: Collection[str] = ()
    due_before: date | None = None
    after: tuple[str, UUID] | None = None
    limit: int = 50


async def add_request(
    connection: AsyncConnection, keys: RowKeys, request: Request, details: bytes | None, events: Sequence[Event]
) -> None:
    """Insert a new request with its first events."""
    await connection.execute(insert(REQUEST), [_row(keys, request, details)])
    await _add_events(connection, keys.tenant, request.id, events)


async def save_request(
    connection: AsyncConnection, keys: RowKeys, request: Request, details: bytes | None, events: Sequence[Event]
) -> None:
    """Update a locked request, and add its new events."""
    this = REQUEST.c.tenant_id == keys.tenant, REQUEST.c.id == request.id
    await connection.execute(update(REQUEST).where(*this).values(_row(keys, request, details)))
    await _add_events(connection, keys.tenant, request.id, events)


async def _add_events(connection: AsyncConnection, tenant: TenantId, request: UUID, events: Sequence[Event]) -> None:
    rows = [
        {"tenant_id": tenant, "request_id": request, "number": event.number, "at": event.at, "body": _encode(event)}
        for event in events
    ]
    if rows:
        await connection.execute(insert(REQUEST_EVENT), rows)


async def rewrite_events(connection: AsyncConnection, tenant: TenantId, events: Iterable[tuple[UUID, Event]]) -> None:
    """Replace events whose notes were resealed or erased."""
    rows = [{"of": request, "event": event.number, "changed": _encode(event)} for request, event in events]
    if rows:
        this = REQUEST_EVENT.c.request_id == bindparam("of"), REQUEST_EVENT.c.number == bindparam("event")
        statement = update(REQUEST_EVENT).where(REQUEST_EVENT.c.tenant_id == tenant, *this)
        await connection.execute(statement.values(body=bindparam("changed")), rows)


async def save_details(
    connection: AsyncConnection, keys: RowKeys, details: Iterable[tuple[Request, bytes | None]]
) -> None:
    """Replace the details of requests that were resealed or erased; they are locked."""
    rows = [{f"new_{name}": value for name, value in _row(keys, *each).items()} for each in details]
    if rows:
        statement = update(REQUEST).where(REQUEST.c.tenant_id == keys.tenant, REQUEST.c.id == bindparam("new_id"))
        # The body too: an older program may have written it in another form, and the MAC covers it.
        new: dict[str, Any] = {name: bindparam(f"new_{name}") for name in ("body", "details", MAC)}
        await connection.execute(statement.values(new), [{name: row[name] for name in _NEW} for row in rows])


_NEW: Final = ("new_id", "new_body", "new_details", "new_mac")


async def find_request(
    connection: AsyncConnection, keys: RowKeys, request: UUID, *, lock: bool = False
) -> StoredRequest | None:
    """Fetch a request, for an update if ``lock``; None if it does not exist.

    Raises:
        RowTampered: the vault did not write the row.
    """
    statement = select(*REQUESTS.columns).where(REQUEST.c.tenant_id == keys.tenant, REQUEST.c.id == request)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return None if row is None else _stored(keys, row)


async def requests_of(
    connection: AsyncConnection, keys: RowKeys, subjects: Sequence[SubjectId], *, lock: bool = False
) -> list[StoredRequest]:
    """Fetch all requests of people, for an update if ``lock``: in order of their ids, to avoid deadlock.

    Raises:
        RowTampered: the vault did not write one of the rows, so that it is unknown what it keeps from an erasure.
    """
    statement = (
        select(*REQUESTS.columns)
        .where(REQUEST.c.tenant_id == keys.tenant, REQUEST.c.subject_id.in_(subjects))
        .order_by(REQUEST.c.id)
    )
    rows = await connection.execute(statement.with_for_update() if lock else statement)
    return [_stored(keys, row) for row in rows.all()]


async def details_of(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> list[bytes | None]:
    """Return the sealed details of all requests of people, to see under which key they are."""
    statement = select(REQUEST.c.details).where(REQUEST.c.tenant_id == tenant, REQUEST.c.subject_id.in_(subjects))
    return list((await connection.execute(statement)).scalars())


async def request_ids_of(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> frozenset[UUID]:
    """Return the ids of all requests of people."""
    statement = select(REQUEST.c.id).where(REQUEST.c.tenant_id == tenant, REQUEST.c.subject_id.in_(subjects))
    return frozenset((await connection.execute(statement)).scalars())


async def events_of(connection: AsyncConnection, tenant: TenantId, request: UUID) -> list[Event]:
    """Return a request's history, oldest first."""
    statement = (
        select(REQUEST_EVENT.c.body)
        .where(REQUEST_EVENT.c.tenant_id == tenant, REQUEST_EVENT.c.request_id == request)
        .order_by(REQUEST_EVENT.c.number)
    )
    return [_events.decode(body) for body in (await connection.execute(statement)).scalars()]


async def events_by_request(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[UUID]
) -> dict[UUID, list[Event]]:
    """Fetch the whole histories of all requests of subjects, by request, oldest event first."""
    requests = select(REQUEST.c.id).where(REQUEST.c.tenant_id == tenant, REQUEST.c.subject_id.in_(subjects))
    statement = select(REQUEST_EVENT.c.request_id, REQUEST_EVENT.c.body).where(
        REQUEST_EVENT.c.tenant_id == tenant, REQUEST_EVENT.c.request_id.in_(requests)
    )
    events: defaultdict[UUID, list[Event]] = defaultdict(list)
    for request, body in (await connection.execute(statement.order_by(REQUEST_EVENT.c.number))).all():
        events[request].append(_events.decode(body))
    return events


async def open_requests_of(connection: AsyncConnection, keys: RowKeys, subject: SubjectId) -> list[Request]:
    """Return a person's open requests, oldest first, except those that the vault did not write."""
    statement = (
        select(*REQUESTS.columns)
        .where(REQUEST.c.tenant_id == keys.tenant, REQUEST.c.subject_id == subject, REQUEST.c.state.in_(sorted(OPEN)))
        .order_by(REQUEST.c.id)
    )
    return _genuine(keys, (await connection.execute(statement)).all())


async def list_requests(connection: AsyncConnection, keys: RowKeys, query: RequestQuery) -> list[Request]:
    """Return requests by their due date, the most urgent first, except those that the vault did not write.

    A page is full or the last one: a refused row neither fails the list nor hides what comes after it.
    """
    found: list[Request] = []
    after = query.after
    while True:
        rows = (await connection.execute(_page(keys.tenant, query, after))).all()
        found += _genuine(keys, rows)
        if len(found) >= query.limit or len(rows) < query.limit:
            return found[: query.limit]
        after = rows[-1].due_on, rows[-1].id


def _page(tenant: TenantId, query: RequestQuery, after: tuple[str, UUID] | None) -> Select[Any]:
    statement = select(*REQUESTS.columns).where(REQUEST.c.tenant_id == tenant)
    if query.subject is not None:
        statement = statement.where(REQUEST.c.subject_id == query.subject)
    if query.states:
        statement = statement.where(REQUEST.c.state.in_(sorted(query.states)))
    if query.kinds:
        statement = statement.where(REQUEST.c.kind.in_(sorted(query.kinds)))
    if query.due_before is not None:
        statement = statement.where(REQUEST.c.due_on < query.due_before.isoformat())
    if after is not None:
        day, last = after
        same_day = and_(REQUEST.c.due_on == day, REQUEST.c.id > last)
        statement = statement.where(or_(REQUEST.c.due_on > day, same_day))
    return statement.order_by(REQUEST.c.due_on, REQUEST.c.id).limit(query.limit)


async def waiting_since(connection: AsyncConnection, tenant: TenantId, before: datetime, *, limit: int) -> list[UUID]:
    """Return the ids of unverified requests whose last event was before, the most urgent first."""
    last = (
        select(func.max(REQUEST_EVENT.c.at))
        .where(REQUEST_EVENT.c.tenant_id == tenant, REQUEST_EVENT.c.request_id == REQUEST.c.id)
        .scalar_subquery()
    )
    statement = (
        select(REQUEST.c.id)
        .where(REQUEST.c.tenant_id == tenant, REQUEST.c.state.in_(sorted(UNVERIFIED)), last < before)
        .order_by(REQUEST.c.due_on, REQUEST.c.id)
        .limit(limit)
    )
    return list((await connection.execute(statement)).scalars())


def _genuine(keys: RowKeys, rows: Sequence[Any]) -> list[Request]:
    return [decode(row.body) for row in rows if REQUESTS.is_genuine(keys, row)]


def _stored(keys: RowKeys, row: Any) -> StoredRequest:
    REQUESTS.check(keys, row)
    return StoredRequest(decode(row.body), row.details)


def _row(keys: RowKeys, request: Request, details: bytes | None) -> dict[str, Any]:
    row = {
        "tenant_id": keys.tenant,
        "id": request.id,
        "subject_id": request.subject,
        "kind": request.kind,
        "state": request.state,
        "regime": request.regime,
        "received_at": request.received_at,
        "due_on": request.due.on.isoformat(),
        "revision": request.revision,
        "body": encode(request),
        "details": details,
    }
    return REQUESTS.seal(keys, row)
