"""The clocks of people in the main database: read, moved on, joined."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from vault.retention.clocks import Clocks
from vault.retention.tables import SUBJECT_CLOCK
from vault.storage.query import Query, any_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.ids import SubjectId, TenantId
    from vault.retention.clocks import Event
    from vault.storage.database import Database

RECORD: Final = "record:"
EVENT: Final = "event:"
AT_ONCE: Final = 500
NO_CLOCKS: Final = Clocks()
_CLOCKS = Query(
    select(SUBJECT_CLOCK.c.subject_id, SUBJECT_CLOCK.c.kind, SUBJECT_CLOCK.c.at).where(
        SUBJECT_CLOCK.c.tenant_id == bindparam("tenant"), any_of(SUBJECT_CLOCK.c.subject_id, "subjects")
    )
)


async def clocks_of(database: Database, tenant: TenantId, subjects: Sequence[SubjectId]) -> dict[SubjectId, Clocks]:
    """Fetch people's clocks by one query; who has none is left out (:data:`NO_CLOCKS`)."""
    return _read(await database.fetch(_CLOCKS, tenant=tenant, subjects=list(subjects)))


async def clocks_in(
    connection: AsyncConnection, tenant: TenantId, subjects: Sequence[SubjectId]
) -> dict[SubjectId, Clocks]:
    """Fetch people's clocks within a transaction."""
    table = SUBJECT_CLOCK
    statement = select(table.c.subject_id, table.c.kind, table.c.at)
    rows = await connection.execute(statement.where(table.c.tenant_id == tenant, table.c.subject_id.in_(subjects)))
    return _read([tuple(row) for row in rows.all()])


async def move_clocks(
    connection: AsyncConnection, tenant: TenantId, moments: Mapping[tuple[SubjectId, str], datetime]
) -> None:
    """Move clocks on, by person and kind (``record:purchase``, ``event:contract-ended``); none ever goes back."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    rows = [
        {"tenant_id": tenant, "subject_id": subject, "kind": kind, "at": at}
        for (subject, kind), at in sorted(moments.items(), key=lambda each: (each[0][0].bytes, each[0][1]))
    ]  # in order, so that two writers cannot wait in a ring
    for start in range(0, len(rows), AT_ONCE):
        statement = dialect.insert(SUBJECT_CLOCK).values(rows[start : start + AT_ONCE])
        newer = statement.excluded.at > SUBJECT_CLOCK.c.at
        keys = ["tenant_id", "subject_id", "kind"]
        await connection.execute(
            statement.on_conflict_do_update(index_elements=keys, set_={"at": statement.excluded.at}, where=newer)
        )


async def clear_clocks(
    connection: AsyncConnection, tenant: TenantId, subjects: Iterable[SubjectId], *, but: Iterable[str] = ()
) -> None:
    """Delete people's clocks, but for some kinds."""
    table = SUBJECT_CLOCK
    await connection.execute(
        delete(table).where(
            table.c.tenant_id == tenant, table.c.subject_id.in_(list(subjects)), table.c.kind.not_in(list(but))
        )
    )


async def join_clocks(connection: AsyncConnection, tenant: TenantId, *, of: SubjectId, to: SubjectId) -> None:
    """Move a merged person's clocks to the one who stays; of each kind the newer counts."""
    table = SUBJECT_CLOCK
    statement = select(table.c.kind, func.max(table.c.at)).where(table.c.tenant_id == tenant, table.c.subject_id == of)
    rows = (await connection.execute(statement.group_by(table.c.kind))).all()
    await move_clocks(connection, tenant, {(to, row[0]): row[1] for row in rows})
    await clear_clocks(connection, tenant, [of])


def _read(rows: Iterable[tuple[object, ...]]) -> dict[SubjectId, Clocks]:
    newest: defaultdict[SubjectId, dict[str, int]] = defaultdict(dict)
    events: defaultdict[SubjectId, dict[Event, int]] = defaultdict(dict)
    for subject, kind, at in rows:
        if not isinstance(at, datetime):
            raise TypeError("a clock has a moment")
        day, name = at.date().toordinal(), str(kind)
        if name.startswith(RECORD):
            newest[subject][name.removeprefix(RECORD)] = day  # type: ignore[index]
        else:
            events[subject][name.removeprefix(EVENT)] = day  # type: ignore[index]
    return {subject: Clocks(newest[subject], events[subject]) for subject in {*newest, *events}}
