"""Legal holds: which values each covers, and for what they may be used meanwhile. Pure.

What a hold covers is not deleted by anything until the hold is lifted (Art. 17(3)(e) GDPR), and is used for nothing
but what it is held for. Days are counted as the proleptic calendar does (``date.toordinal``), in UTC.

The marks of holds on people's rows: every read and every deletion looks at the row, and at no table of holds.

All of it happens within a transaction in which the people's rows are locked.

What a hold covers is not overwritten: the old value would be lost, and it is the evidence.

Holds in the main database: what each is about, and whom; no value of anybody's.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec.structs import replace
from sqlalchemy import bindparam, delete, insert, select, update

from vault.catalogue.model import HOME, covers
from vault.consent.state import NOTHING, Held, pack, unpack
from vault.errors import Conflict
from vault.ids import SubjectId
from vault.retention.ends import day_of
from vault.retention.tables import HOLD, HOLD_SUBJECT
from vault.subjects.changes import mark_due
from vault.subjects.rows import EXTERNAL_IDS
from vault.subjects.tables import SUBJECT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.state import ConsentState
    from vault.ids import TenantId


CODE: Final = "held"
"""The code of what is refused because of a hold."""


def held_by(standing: ConsentState, whole: str, happened: int) -> Held | None:
    """Return a hold that covers a value, if there is one; as long as there is, nothing may delete the value.

    Args:
        standing: the person's.
        whole: the whole name of its field; of what was generalised also that of the view.
        happened: the day on which its record happened. Of the profile it does not matter: who a person is belongs to
            whatever they did on any day.
    """
    return next((held for held in standing.holds if is_covered(held, whole, happened)), None)


def blocking_hold(standing: ConsentState, purpose: str, whole: str, happened: int) -> Held | None:
    """Return the hold because of which a value is not used for a purpose; none: it may be.

    Of several holds on one value each goes on with its own purpose, and any other purpose only if all of them let it.
    Whether the purpose answers the person, which no hold stops, is for the caller to know.
    """
    covering = [held for held in standing.holds if is_covered(held, whole, happened)]
    if any(held.purpose == purpose for held in covering):
        return None
    return next((held for held in covering if purpose not in held.also_for), None)


def is_covered(held: Held, whole: str, happened: int) -> bool:
    """Tell whether a hold covers a value; see :func:`held_by`."""
    if not any(covers(whole, name) for name in held.names):
        return False
    if whole.startswith(f"{HOME}."):
        return True
    return (held.since is None or held.since <= happened) and (held.until is None or happened <= held.until)


AT_ONCE = 500


def mark_for(hold: LegalHold) -> Held:
    """Make the mark of a hold."""
    since, until = _day(hold.since), _day(hold.until)
    return Held(hold.id.bytes, hold.purpose, hold.also_for, hold.names, since, until)


def with_mark(standing: ConsentState, mark: Held) -> ConsentState:
    """Put a mark on somebody; one of the same hold that was there before gives way."""
    return replace(standing, holds=(*_others(standing, mark.hold), mark))


def without_mark(standing: ConsentState, hold: UUID) -> ConsentState:
    """Take the mark of a hold off somebody."""
    return replace(standing, holds=_others(standing, hold.bytes))


async def put_marks(
    connection: AsyncConnection, tenant: TenantId, rows: Mapping[SubjectId, Any], hold: LegalHold
) -> None:
    """Put the mark of a hold on people whose rows are locked."""
    mark = mark_for(hold)
    await _write(connection, tenant, {who: with_mark(unpack(row.standing), mark) for who, row in rows.items()})


async def take_marks(
    connection: AsyncConnection, tenant: TenantId, rows: Mapping[SubjectId, Any], hold: UUID, now: datetime
) -> None:
    """Take the mark of a hold off people whose rows are locked; the next sweep looks what has ended meanwhile."""
    await _write(connection, tenant, {who: without_mark(unpack(row.standing), hold) for who, row in rows.items()})
    people = list(rows)
    for start in range(0, len(people), AT_ONCE):
        await mark_due(connection, tenant, people[start : start + AT_ONCE], now)


async def join_marks(connection: AsyncConnection, tenant: TenantId, row: Any, others: Collection[Held]) -> None:
    """Put somebody else's marks on a person whose row is locked, beside their own."""
    standing = unpack(row.standing)
    for mark in others:
        standing = with_mark(standing, mark)
    await _write(connection, tenant, {row.id: standing})


async def _write(connection: AsyncConnection, tenant: TenantId, standings: Mapping[SubjectId, ConsentState]) -> None:
    rows = [{"its": tenant, "who": who, "now": pack(standing)} for who, standing in standings.items()]
    if rows:
        mine = (SUBJECT.c.tenant_id == bindparam("its"), SUBJECT.c.id == bindparam("who"))
        await connection.execute(update(SUBJECT).where(*mine).values(standing=bindparam("now")), rows)


def _others(standing: ConsentState, hold: bytes) -> tuple[Held, ...]:
    return tuple(each for each in standing.holds if each.hold != hold)


def _day(day: date | None) -> int | None:
    return None if day is None else day.toordinal()


async def lock_consent_state(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> ConsentState:
    """Return where a person stands, and let nobody change it until the transaction ends.

    A hold that is placed at this moment waits for the write, or the write for the hold, and then sees it.
    """
    statement = select(SUBJECT.c.standing).where(SUBJECT.c.tenant_id == tenant, SUBJECT.c.id == subject)
    row = (await connection.execute(statement.with_for_update(read=True))).one_or_none()
    return NOTHING if row is None else unpack(row.standing)


def require_not_held(
    standing: ConsentState, collection: str, happened: int, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Go on only where no value that a hold covers would be lost.

    Args:
        standing: the person's, locked.
        collection: of the record.
        happened: when it happened, in microseconds since 1970.
        before: the values that are there, of the fields that are written.
        after: what they would become; a field that is left out would be empty.

    Raises:
        Conflict: one would be. An id of another system is only ever added to.
    """
    if not standing.holds:
        return
    lost = [name for name in before if name != EXTERNAL_IDS and before[name] != after.get(name)]
    if any(held_by(standing, f"{collection}.{name}", day_of(happened)) for name in lost):
        raise held()


def unchanged_under_hold(
    standing: ConsentState, collection: str, happened: int, before: Mapping[str, Any], after: Mapping[str, Any]
) -> set[str]:
    """Name the values under a hold that are written as they are: where they came from, and when, stays with them."""
    same = [name for name in before if name in after and before[name] == after[name]]
    return {name for name in same if held_by(standing, f"{collection}.{name}", day_of(happened))}


def held() -> Conflict:
    """Make the error for a value that may not be overwritten."""
    return Conflict(
        "a legal hold covers a value that would be overwritten, and the value has to stay as it is",
        code=CODE,
        hint="`cdv holds list` tells who answers for the hold; new records can be added all the same",
    )


State = Literal["active", "lifted"]
ROWS_AT_ONCE: Final = 500
"""Ids in one statement."""


class LegalHold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
_decode = msgspec.json.Decoder(LegalHold).decode


async def add_hold(connection: AsyncConnection, tenant: TenantId, hold: LegalHold) -> None:
    """Insert a hold."""
    await connection.execute(insert(HOLD), [{"tenant_id": tenant, "id": hold.id, **_columns(hold)}])


async def save_hold(connection: AsyncConnection, tenant: TenantId, hold: LegalHold) -> None:
    """Write a hold that is locked."""
    await connection.execute(
        update(HOLD).where(HOLD.c.tenant_id == tenant, HOLD.c.id == hold.id).values(**_columns(hold))
    )


async def find_hold(
    connection: AsyncConnection, tenant: TenantId, hold: UUID, *, lock: bool = False
) -> LegalHold | None:
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
    after: LegalHold | None = None,
    limit: int,
) -> list[LegalHold]:
    """List holds, the next due for review first.

    Args:
        connection: to the main database.
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


async def subjects_of(connection: AsyncConnection, tenant: TenantId, hold: UUID) -> list[SubjectId]:
    """List the people whom a hold covers, by id."""
    table = HOLD_SUBJECT
    statement = select(table.c.subject_id).where(
        table.c.tenant_id == tenant, table.c.hold_id == hold, table.c.erasure_id.is_(None)
    )
    rows = await connection.execute(statement.order_by(table.c.subject_id))
    return [SubjectId(each) for each in rows.scalars()]


async def add_subjects(
    connection: AsyncConnection, tenant: TenantId, hold: UUID, subjects: Sequence[SubjectId]
) -> None:
    """Put people under a hold."""
    rows = [{"tenant_id": tenant, "hold_id": hold, "subject_id": each} for each in subjects]
    if rows:
        await connection.execute(insert(HOLD_SUBJECT), rows)


async def remove_subjects(
    connection: AsyncConnection, tenant: TenantId, hold: UUID, subjects: Sequence[SubjectId]
) -> None:
    """Take people out of a hold."""
    for start in range(0, len(subjects), ROWS_AT_ONCE):
        await connection.execute(
            delete(HOLD_SUBJECT).where(*_rows(tenant, hold, subjects[start : start + ROWS_AT_ONCE]))
        )


async def set_waiting_erasures(
    connection: AsyncConnection, tenant: TenantId, hold: UUID, erasures: Mapping[SubjectId, UUID]
) -> None:
    """Write down which erasure goes on for each of some people whom a hold does not cover any more."""
    for subject, erasure in erasures.items():
        await connection.execute(update(HOLD_SUBJECT).where(*_rows(tenant, hold, [subject])).values(erasure_id=erasure))


async def list_waiting_erasures(connection: AsyncConnection, tenant: TenantId) -> list[UUID]:
    """List the erasures that are to go on with what holds kept back, by their ids."""
    table = HOLD_SUBJECT
    statement = select(table.c.erasure_id).where(table.c.tenant_id == tenant, table.c.erasure_id.is_not(None))
    return list((await connection.execute(statement.order_by(table.c.erasure_id))).scalars())


async def subject_of_erasure(connection: AsyncConnection, tenant: TenantId, erasure: UUID) -> SubjectId | None:
    """Tell whose erasure is to go on; none where it has ended, or was never to."""
    table = HOLD_SUBJECT
    statement = select(table.c.subject_id).where(table.c.tenant_id == tenant, table.c.erasure_id == erasure)
    found = (await connection.execute(statement)).scalar_one_or_none()
    return None if found is None else SubjectId(found)


async def subjects_with_waiting_erasure(
    connection: AsyncConnection, tenant: TenantId, hold: UUID, subjects: Sequence[SubjectId]
) -> list[SubjectId]:
    """Pick the people whose erasure goes on because a hold let go of them."""
    found: list[SubjectId] = []
    for start in range(0, len(subjects), ROWS_AT_ONCE):
        mine = _rows(tenant, hold, subjects[start : start + ROWS_AT_ONCE])
        statement = select(HOLD_SUBJECT.c.subject_id).where(*mine, HOLD_SUBJECT.c.erasure_id.is_not(None))
        found += [SubjectId(each) for each in (await connection.execute(statement)).scalars()]
    return found


async def remove_waiting_erasure(connection: AsyncConnection, tenant: TenantId, erasure: UUID) -> None:
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


def _columns(hold: LegalHold) -> dict[str, Any]:
    return {
        "state": hold.state,
        "review_on": hold.review_on.isoformat(),
        "placed_at": hold.placed_at,
        "lifted_at": hold.lifted_at,
        "body": _encode(hold),
    }
