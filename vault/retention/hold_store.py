"""Holds in the main database: what each is about, and whom; no value of anybody's."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import delete, insert, select, update

from vault.ids import SubjectId
from vault.retention.tables import HOLD, HOLD_SUBJECT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import TenantId

State = Literal["active", "lifted"]
AT_ONCE: Final = 500
"""Ids in one statement."""


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A legal hold.

    Attributes:
        id: its id.
        state: active until it is lifted.
        matter: what it is about, as a reference: a file number, no name of a person.
        owner: who answers for it, as a reference too.
        purpose: for which what it covers is used.
        also_for: purposes that go on with it meanwhile.
        names: canonical names of the fields that it covers; ``*`` is everything.
        since: the first day on which a record that it covers happened; none: from the beginning.
        until: the last such day.
        review_on: the day on which somebody looks whether it is needed still.
        people: how many people it covers, or covered when it was lifted.
        placed_at: when it was placed.
        placed_by: by whom.
        lifted_at: when it was lifted.
        lifted_by: by whom.
        because: why it was lifted, as a reference.
    """

    id: UUID
    state: State = "active"
    matter: str
    owner: str
    purpose: str
    also_for: tuple[str, ...] = ()
    names: tuple[str, ...] = ("*",)
    since: date | None = None
    until: date | None = None
    review_on: date
    people: int
    placed_at: datetime
    placed_by: UUID
    lifted_at: datetime | None = None
    lifted_by: UUID | None = None
    because: str | None = None


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Hold).decode


async def add_hold(connection: AsyncConnection, tenant: TenantId, hold: Hold) -> None:
    """Insert a hold."""
    await connection.execute(insert(HOLD), [{"tenant_id": tenant, "id": hold.id, **_columns(hold)}])


async def save_hold(connection: AsyncConnection, tenant: TenantId, hold: Hold) -> None:
    """Write a hold that is locked."""
    await connection.execute(
        update(HOLD).where(HOLD.c.tenant_id == tenant, HOLD.c.id == hold.id).values(**_columns(hold))
    )


async def find_hold(connection: AsyncConnection, tenant: TenantId, hold: UUID, *, lock: bool = False) -> Hold | None:
    """Fetch a hold; none where there is none."""
    statement = select(HOLD.c.body).where(HOLD.c.tenant_id == tenant, HOLD.c.id == hold)
    body = (await connection.execute(statement.with_for_update() if lock else statement)).scalar_one_or_none()
    return None if body is None else _decode(body)


async def list_holds(
    connection: AsyncConnection,
    tenant: TenantId,
    *,
    states: Collection[State],
    due_by: date | None = None,
    after: Hold | None = None,
    limit: int,
) -> list[Hold]:
    """List holds, the next due for review first.

    Args:
        connection: to the main database.
        tenant: whose.
        states: in which the holds are.
        due_by: only those whose review is due on this day, or was before.
        after: the last one of the page before.
        limit: at most so many.
    """
    statement = select(HOLD.c.body).where(HOLD.c.tenant_id == tenant, HOLD.c.state.in_(list(states)))
    if due_by is not None:
        statement = statement.where(HOLD.c.review_on <= due_by.isoformat())
    if after is not None:
        on = after.review_on.isoformat()
        later = (HOLD.c.review_on > on) | ((HOLD.c.review_on == on) & (HOLD.c.id > after.id))
        statement = statement.where(later)
    rows = await connection.execute(statement.order_by(HOLD.c.review_on, HOLD.c.id).limit(limit))
    return [_decode(body) for body in rows.scalars()]


async def people_of(connection: AsyncConnection, tenant: TenantId, hold: UUID) -> list[SubjectId]:
    """List the people whom a hold covers, by id."""
    table = HOLD_SUBJECT
    statement = select(table.c.subject_id).where(
        table.c.tenant_id == tenant, table.c.hold_id == hold, table.c.erasure_id.is_(None)
    )
    rows = await connection.execute(statement.order_by(table.c.subject_id))
    return [SubjectId(each) for each in rows.scalars()]


async def add_people(connection: AsyncConnection, tenant: TenantId, hold: UUID, subjects: Sequence[SubjectId]) -> None:
    """Put people under a hold."""
    rows = [{"tenant_id": tenant, "hold_id": hold, "subject_id": each} for each in subjects]
    if rows:
        await connection.execute(insert(HOLD_SUBJECT), rows)


async def remove_people(
    connection: AsyncConnection, tenant: TenantId, hold: UUID, subjects: Sequence[SubjectId]
) -> None:
    """Take people out of a hold."""
    for start in range(0, len(subjects), AT_ONCE):
        await connection.execute(delete(HOLD_SUBJECT).where(*_rows(tenant, hold, subjects[start : start + AT_ONCE])))


async def let_wait(
    connection: AsyncConnection, tenant: TenantId, hold: UUID, erasures: Mapping[SubjectId, UUID]
) -> None:
    """Write down which erasure goes on for each of some people whom a hold does not cover any more."""
    for subject, erasure in erasures.items():
        await connection.execute(update(HOLD_SUBJECT).where(*_rows(tenant, hold, [subject])).values(erasure_id=erasure))


async def waiting(connection: AsyncConnection, tenant: TenantId) -> list[UUID]:
    """List the erasures that are to go on with what holds kept back, by their ids."""
    table = HOLD_SUBJECT
    statement = select(table.c.erasure_id).where(table.c.tenant_id == tenant, table.c.erasure_id.is_not(None))
    return list((await connection.execute(statement.order_by(table.c.erasure_id))).scalars())


async def who_waits(connection: AsyncConnection, tenant: TenantId, erasure: UUID) -> SubjectId | None:
    """Tell whose erasure is to go on; none where it has ended, or was never to."""
    table = HOLD_SUBJECT
    statement = select(table.c.subject_id).where(table.c.tenant_id == tenant, table.c.erasure_id == erasure)
    found = (await connection.execute(statement)).scalar_one_or_none()
    return None if found is None else SubjectId(found)


async def waiting_among(
    connection: AsyncConnection, tenant: TenantId, hold: UUID, subjects: Sequence[SubjectId]
) -> list[SubjectId]:
    """Pick the people whose erasure goes on because a hold let go of them."""
    found: list[SubjectId] = []
    for start in range(0, len(subjects), AT_ONCE):
        mine = _rows(tenant, hold, subjects[start : start + AT_ONCE])
        statement = select(HOLD_SUBJECT.c.subject_id).where(*mine, HOLD_SUBJECT.c.erasure_id.is_not(None))
        found += [SubjectId(each) for each in (await connection.execute(statement)).scalars()]
    return found


async def wait_no_more(connection: AsyncConnection, tenant: TenantId, erasure: UUID) -> None:
    """Forget an erasure that has gone on to its end."""
    table = HOLD_SUBJECT
    await connection.execute(delete(table).where(table.c.tenant_id == tenant, table.c.erasure_id == erasure))


async def move_people(connection: AsyncConnection, tenant: TenantId, *, of: SubjectId, to: SubjectId) -> None:
    """Put the one who stays after a merge under the other's holds; of one that covers both, one row is enough."""
    table = HOLD_SUBJECT
    both = select(table.c.hold_id).where(table.c.tenant_id == tenant, table.c.subject_id == to)
    mine = (table.c.tenant_id == tenant, table.c.subject_id == of)
    twice = (await connection.execute(select(table.c.hold_id).where(*mine, table.c.hold_id.in_(both)))).scalars().all()
    if twice:
        # Whichever of the two rows says that the hold stands, stands for both.
        stands = select(table.c.hold_id).where(*mine, table.c.hold_id.in_(twice), table.c.erasure_id.is_(None))
        held = (await connection.execute(stands)).scalars().all()
        survivors = (table.c.tenant_id == tenant, table.c.subject_id == to, table.c.hold_id.in_(held))
        await connection.execute(update(table).where(*survivors).values(erasure_id=None))
        await connection.execute(delete(table).where(*mine, table.c.hold_id.in_(twice)))
    await connection.execute(update(table).where(*mine).values(subject_id=to))


def _rows(tenant: TenantId, hold: UUID, subjects: Sequence[SubjectId]) -> tuple[Any, ...]:
    table = HOLD_SUBJECT
    return table.c.tenant_id == tenant, table.c.hold_id == hold, table.c.subject_id.in_(subjects)


def _columns(hold: Hold) -> dict[str, Any]:
    return {
        "state": hold.state,
        "review_on": hold.review_on.isoformat(),
        "placed_at": hold.placed_at,
        "lifted_at": hold.lifted_at,
        "body": _encode(hold),
    }
