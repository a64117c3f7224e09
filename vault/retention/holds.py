"""Legal holds: which values a hold covers, its marks on subjects' rows, and its storage.

Nothing deletes or overwrites what a hold covers until the hold is lifted (Art. 17(3)(e) GDPR), and only its purposes
may use it. A hold has a mark in the consent state of each subject that it covers, so reads and deletions need only the
subject's row. Marks change in transactions in which the subjects' rows are locked. Days are ordinals in UTC.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec.structs import replace
from sqlalchemy import delete, insert, select, update

from vault.catalogue.model import HOME, covers
from vault.consent.model import Held, pack, unpack
from vault.errors import Conflict
from vault.ids import SubjectId
from vault.retention.ends import day_of
from vault.retention.tables import HOLD, HOLD_SUBJECT
from vault.subjects.rows import EXTERNAL_IDS
from vault.subjects.store import mark_due

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.consent.model import ConsentState
    from vault.context import Services
    from vault.ids import TenantId
    from vault.subjects.store import Subjects


CODE: Final = "held"
"""The code of an error because of a hold."""


def held_by(consent_state: ConsentState, whole: str, happened: int) -> Held | None:
    """Return a hold that covers a value, if there is one. Nothing may delete such a value.

    Args:
        whole: the whole name of its field, or of the view to which it was generalised.
        happened: the day of its record. It does not matter for the profile, which belongs to the records of all days.
    """
    return next((held for held in consent_state.holds if is_covered(held, whole, happened)), None)


def blocking_hold(consent_state: ConsentState, purpose: str, whole: str, happened: int) -> Held | None:
    """Return the hold that forbids the use of a value for a purpose; None if the purpose may use it.

    A hold's own purpose may always use the value. Any other purpose needs the permission of all holds on the value.
    No hold stops purposes that answer the subject: that is for the caller to check.
    """
    covering = [held for held in consent_state.holds if is_covered(held, whole, happened)]
    if any(held.purpose == purpose for held in covering):
        return None
    return next((held for held in covering if purpose not in held.also_for), None)


def is_covered(held: Held, whole: str, happened: int) -> bool:
    """Return whether a hold covers a value; the parameters are those of :func:`held_by`."""
    if not any(covers(whole, name) for name in held.names):
        return False
    if whole.startswith(f"{HOME}."):
        return True
    return (held.since is None or held.since <= happened) and (held.until is None or happened <= held.until)


AT_ONCE = 500


def with_mark(consent_state: ConsentState, mark: Held) -> ConsentState:
    """Return a consent state with a mark; it replaces an earlier mark of the same hold."""
    return replace(consent_state, holds=(*_others(consent_state, mark.hold), mark))


async def put_marks(
    subjects: Subjects, connection: AsyncConnection, tenant: TenantId, rows: Mapping[SubjectId, Any], hold: LegalHold
) -> None:
    """Put the mark of a hold on subjects whose rows are locked."""
    since = None if hold.since is None else hold.since.toordinal()
    until = None if hold.until is None else hold.until.toordinal()
    mark = Held(hold.id.bytes, hold.purpose, hold.also_for, hold.fields, since, until)
    states = {subject: with_mark(unpack(row.standing), mark) for subject, row in rows.items()}
    await _write(subjects, connection, tenant, rows, states)


async def take_marks(
    services: Services, connection: AsyncConnection, tenant: TenantId, rows: Mapping[SubjectId, Any], hold: UUID
) -> None:
    """Remove the mark of a hold from subjects whose rows are locked; the next sweep evaluates them."""
    states = {subject: unpack(row.standing) for subject, row in rows.items()}
    unmarked = {subject: replace(state, holds=_others(state, hold.bytes)) for subject, state in states.items()}
    await _write(services.subjects, connection, tenant, rows, unmarked)
    people, now = list(rows), services.clock.now()
    for start in range(0, len(people), AT_ONCE):
        await mark_due(connection, tenant, people[start : start + AT_ONCE], now)


async def join_marks(subjects: Subjects, connection: AsyncConnection, row: Any, others: Collection[Held]) -> None:
    """Add another subject's marks to a subject whose row is locked."""
    consent_state = unpack(row.standing)
    for mark in others:
        consent_state = with_mark(consent_state, mark)
    await _write(subjects, connection, row.tenant_id, {row.id: row}, {row.id: consent_state})


async def _write(
    subjects: Subjects,
    connection: AsyncConnection,
    tenant: TenantId,
    rows: Mapping[SubjectId, Any],
    states: Mapping[SubjectId, ConsentState],
) -> None:
    packed = {subject: pack(state) for subject, state in states.items()}
    await subjects.set_marks(connection, tenant, rows.values(), packed)


def _others(consent_state: ConsentState, hold: bytes) -> tuple[Held, ...]:
    return tuple(mark for mark in consent_state.holds if mark.hold != hold)


def require_not_held(
    consent_state: ConsentState, collection: str, happened: int, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Check that a write loses no value under a hold.

    Args:
        happened: when the record happened, in microseconds since 1970.
        before: the current values of the fields that are written.
        after: the new values; a field that is left out becomes empty.

    Raises:
        Conflict: a value would be lost. External ids are exempt, because they are only ever added to.
    """
    if not consent_state.holds:
        return
    lost = [name for name in before if name != EXTERNAL_IDS and before[name] != after.get(name)]
    if any(held_by(consent_state, f"{collection}.{name}", day_of(happened)) for name in lost):
        raise held()


def unchanged_under_hold(
    consent_state: ConsentState, collection: str, happened: int, before: Mapping[str, Any], after: Mapping[str, Any]
) -> set[str]:
    """Return the names of values under a hold that a write leaves as they are, with their source and dates."""
    same = [name for name in before if name in after and before[name] == after[name]]
    return {name for name in same if held_by(consent_state, f"{collection}.{name}", day_of(happened))}


def held() -> Conflict:
    """Return the error for a value that may not be overwritten."""
    return Conflict(
        "a legal hold covers a value that would be overwritten",
        code=CODE,
        hint="`cdv holds list` shows who is responsible for the hold; new records can still be added",
    )


State = Literal["active", "lifted"]
ROWS_AT_ONCE: Final = 500
"""Ids in one statement."""


class LegalHold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A legal hold.

    Attributes:
        state: active until it is lifted.
        matter: what it is about, as a reference: a file number, no name of a person.
        owner: who is responsible for it, as a reference too.
        purpose: the purpose for which what it covers is used.
        also_for: further purposes that may use what it covers.
        fields: canonical names of the fields that it covers; ``*`` is everything.
        since: the first day of the records that it covers; None for all earlier ones.
        until: the last such day.
        review_on: the day on which to check whether it is still needed.
        people: how many subjects it covers, or covered when it was lifted.
        reason: why it was lifted, as a reference.
    """

    id: UUID
    state: State = "active"
    matter: str
    owner: str
    purpose: str
    also_for: tuple[str, ...] = ()
    fields: tuple[str, ...] = msgspec.field(default=("*",), name="names")
    since: date | None = None
    until: date | None = None
    review_on: date
    people: int
    placed_at: datetime
    placed_by: UUID
    lifted_at: datetime | None = None
    lifted_by: UUID | None = None
    reason: str | None = msgspec.field(default=None, name="because")


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
    """Fetch a hold; None if there is none."""
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
        after: the last hold of the previous page.
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
    """List the subjects that a hold covers, by id."""
    table = HOLD_SUBJECT
    statement = select(table.c.subject_id).where(
        table.c.tenant_id == tenant, table.c.hold_id == hold, table.c.erasure_id.is_(None)
    )
    rows = await connection.execute(statement.order_by(table.c.subject_id))
    return [SubjectId(subject) for subject in rows.scalars()]


async def add_subjects(
    connection: AsyncConnection, tenant: TenantId, hold: UUID, subjects: Sequence[SubjectId]
) -> None:
    """Add subjects to a hold."""
    rows = [{"tenant_id": tenant, "hold_id": hold, "subject_id": subject} for subject in subjects]
    if rows:
        await connection.execute(insert(HOLD_SUBJECT), rows)


async def remove_subjects(
    connection: AsyncConnection, tenant: TenantId, hold: UUID, subjects: Sequence[SubjectId]
) -> None:
    """Remove subjects from a hold."""
    for start in range(0, len(subjects), ROWS_AT_ONCE):
        await connection.execute(
            delete(HOLD_SUBJECT).where(*_rows(tenant, hold, subjects[start : start + ROWS_AT_ONCE]))
        )


async def set_waiting_erasures(
    connection: AsyncConnection, tenant: TenantId, hold: UUID, erasures: Mapping[SubjectId, UUID]
) -> None:
    """Store which erasure continues for each of some subjects that a hold no longer covers."""
    for subject, erasure in erasures.items():
        await connection.execute(update(HOLD_SUBJECT).where(*_rows(tenant, hold, [subject])).values(erasure_id=erasure))


async def list_waiting_erasures(connection: AsyncConnection, tenant: TenantId) -> list[UUID]:
    """List the erasures that continue because a hold has released values, by id."""
    table = HOLD_SUBJECT
    statement = select(table.c.erasure_id).where(table.c.tenant_id == tenant, table.c.erasure_id.is_not(None))
    return list((await connection.execute(statement.order_by(table.c.erasure_id))).scalars())


async def subject_of_erasure(connection: AsyncConnection, tenant: TenantId, erasure: UUID) -> SubjectId | None:
    """Return the subject of an erasure that is to continue; None if it has ended, or there is none."""
    table = HOLD_SUBJECT
    statement = select(table.c.subject_id).where(table.c.tenant_id == tenant, table.c.erasure_id == erasure)
    subject = (await connection.execute(statement)).scalar_one_or_none()
    return None if subject is None else SubjectId(subject)


async def subjects_with_waiting_erasure(
    connection: AsyncConnection, tenant: TenantId, hold: UUID, subjects: Sequence[SubjectId]
) -> list[SubjectId]:
    """Return the subjects whose erasure continues because a hold has released them."""
    waiting: list[SubjectId] = []
    for start in range(0, len(subjects), ROWS_AT_ONCE):
        rows = _rows(tenant, hold, subjects[start : start + ROWS_AT_ONCE])
        statement = select(HOLD_SUBJECT.c.subject_id).where(*rows, HOLD_SUBJECT.c.erasure_id.is_not(None))
        waiting += [SubjectId(subject) for subject in (await connection.execute(statement)).scalars()]
    return waiting


async def remove_waiting_erasure(connection: AsyncConnection, tenant: TenantId, erasure: UUID) -> None:
    """Delete the row of an erasure that has ended."""
    table = HOLD_SUBJECT
    await connection.execute(delete(table).where(table.c.tenant_id == tenant, table.c.erasure_id == erasure))


async def move_people(connection: AsyncConnection, tenant: TenantId, *, of: SubjectId, to: SubjectId) -> None:
    """Move the holds of a merged subject to the survivor; a hold on both keeps one row."""
    table = HOLD_SUBJECT
    both = select(table.c.hold_id).where(table.c.tenant_id == tenant, table.c.subject_id == to)
    mine = (table.c.tenant_id == tenant, table.c.subject_id == of)
    twice = (await connection.execute(select(table.c.hold_id).where(*mine, table.c.hold_id.in_(both)))).scalars().all()
    if twice:
        # If one of the two rows says that the hold is active, it is active for the survivor.
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
