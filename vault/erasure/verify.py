"""After the data is gone: its keys destroyed, the databases' files cleaned, and the look that finds nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace
from sqlalchemy import func, select

from vault.consent.store import CONFIRMATION, EVENT
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, Conflict
from vault.export.tables import PACKAGE, PACKAGE_CHUNK
from vault.identity.tables import IDENTITY_CODE, SUBJECT_SESSION
from vault.ids import SubjectId
from vault.lifecycle.erasures import Look, find_erasure, save_erasure
from vault.lifecycle.tables import ERASURE
from vault.rectification.tables import RECTIFICATION
from vault.requests.tables import REQUEST, REQUEST_EVENT
from vault.subjects.changes import count_left, records_of
from vault.subjects.record_body import unpack
from vault.subjects.tables import BLIND_INDEX, EXTERNAL_REF, RECORD, SUBJECT, SUBJECT_ALIAS

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.ids import TenantId
    from vault.lifecycle.erasures import Erasure, State

SOON: Final = 0.2
"""Seconds until the files are cleaned once more, where a reader stood in the way."""
MOST_LOOKS: Final = 50
"""So often is looked again before people have to find out what is wrong."""
TOUCHED: Final[tuple[Table, ...]] = (
    SUBJECT, RECORD, BLIND_INDEX, EXTERNAL_REF, SUBJECT_ALIAS, EVENT, CONFIRMATION, PACKAGE, PACKAGE_CHUNK,
    SUBJECT_SESSION, IDENTITY_CODE, REQUEST, REQUEST_EVENT, RECTIFICATION, ERASURE,
)  # fmt: skip
"""Tables from which an erasure deletes, or in which it writes anew."""


class NotProven(Conflict):
    """Something of an erased person is still found; people have to look why."""

    code = "erasure-not-proven"


class Left(NamedTuple):
    """How many rows were looked at, and how many should not be there, or do not open."""

    rows: int
    wrong: int


class Seen(NamedTuple):
    """In how many files of what size, and in how many rows was looked; and what was found: keys, and wrong rows."""

    files: int
    bytes: int
    rows: int
    keys: int
    wrong: int


async def destroy_keys(services: Services, tenant: TenantId, erasure: Erasure) -> None:
    """Destroy every key that is not needed any more. From here on no copy of what was erased opens, wherever it is."""
    subject = SubjectId(erasure.subject)
    others = [SubjectId(each) for each in erasure.facts.aliases]
    if erasure.key_version is None:
        await services.keyring.destroy_subject_keys(tenant, [subject, *others])
    else:
        await services.keyring.destroy_older_keys(tenant, {subject: erasure.key_version})
        await services.keyring.destroy_subject_keys(tenant, others)
    await go_on(services, tenant, erasure.id, "taken", "destroyed")


async def scrub(services: Services, tenant: TenantId, erasure: Erasure) -> float | None:
    """Clean the files of both databases; answers after how many seconds to try again, should a reader be in the way."""
    if not (await services.keyring.scrub() and await services.data.scrub(TOUCHED)):
        return SOON
    await go_on(services, tenant, erasure.id, "destroyed", "scrubbed")
    return None


async def look(services: Services, tenant: TenantId, erasure: Erasure) -> float | None:
    """Look whether anything is left that opens, or leads to what was erased.

    Returns:
        nothing where there is none; else after how many seconds to look again, with the files cleaned once more.

    Raises:
        NotProven: it was looked often enough.
    """
    seen = await look_for_remains(services, tenant, erasure)
    if seen.keys or seen.wrong:
        await _look_again(services, tenant, erasure)
        await services.keyring.scrub()
        await services.data.scrub(TOUCHED)
        return SOON
    found = Look(services.clock.now(), seen.files, seen.bytes, seen.rows)
    await go_on(services, tenant, erasure.id, "scrubbed", "checked", look=found)
    return None


async def look_for_remains(services: Services, tenant: TenantId, erasure: Erasure) -> Seen:
    """Look through the key store's files for keys that are destroyed, and through the rows for what leads to nobody."""
    subject = SubjectId(erasure.subject)
    newest = max(erasure.facts.newest, 1)
    remains = await services.keyring.remains(tenant, subject, kept=erasure.key_version, newest=newest)
    keys = remains.keys
    for alias in erasure.facts.aliases:
        keys += (await services.keyring.remains(tenant, SubjectId(alias), kept=None, newest=newest)).keys
    left = await _rows_left(services, tenant, erasure)
    return Seen(remains.files, remains.bytes, left.rows, keys, left.wrong)


async def go_on(services: Services, tenant: TenantId, erasure: UUID, before: State, after: State, **facts: Any) -> None:
    """Write down that an erasure has come further; nothing where somebody else did so, or it is past that."""
    async with services.data.transaction() as connection:
        current = await find_erasure(connection, tenant, erasure, lock=True)
        if current is not None and current.state == before:
            done = replace(current, state=after, changed_at=services.clock.now(), facts=replace(current.facts, **facts))
            await save_erasure(connection, tenant, done)


async def _look_again(services: Services, tenant: TenantId, erasure: Erasure) -> None:
    async with services.data.transaction() as connection:
        current = await find_erasure(connection, tenant, erasure.id, lock=True)
        if current is None:
            return
        looks = current.facts.looks + 1
        await save_erasure(connection, tenant, replace(current, facts=replace(current.facts, looks=looks)))
    if looks >= MOST_LOOKS:
        raise NotProven(
            "something of the erased person is still found in the databases",
            hint="see that no other program holds the database files open, then approve the request again",
        )


async def _rows_left(services: Services, tenant: TenantId, erasure: Erasure) -> Left:
    """Count what leads to the person, and what of that should not; what was kept has to open under the key kept."""
    subject = SubjectId(erasure.subject)
    keys = (await services.keyring.subject_keys(tenant, [subject])).get(subject)
    async with services.data.reading() as connection:
        records = await records_of(connection, tenant, subject)
        found = await count_left(connection, tenant, subject) | await _beside(connection, tenant, subject)
    wrong = sum(_unreadable(tenant, keys, row) for row in records)
    if erasure.is_whole:
        wrong += sum(count for table, count in found.items() if table != RECORD.name)
    return Left(sum(found.values()), wrong)


def _unreadable(tenant: TenantId, keys: SubjectKeys | None, row: Any) -> int:
    """Count the values of a record that do not open: each of them stayed, so each has to."""
    where = record_aad(tenant, row.subject_id, row.collection, row.id)
    wrong = 0
    for name, stored in unpack(row.body).items():
        try:
            if keys is not None:
                keys.open(name, stored.sealed, where)
        except CannotOpen:
            wrong += 1
    return wrong if keys is not None else 1


async def _beside(connection: AsyncConnection, tenant: TenantId, subject: SubjectId) -> dict[str, int]:
    found = {}
    for table in (CONFIRMATION, SUBJECT_SESSION, RECTIFICATION):
        statement = select(func.count()).select_from(table)
        statement = statement.where(table.c.tenant_id == tenant, table.c.subject_id == subject)
        found[str(table.name)] = (await connection.execute(statement)).scalar_one()
    return found
