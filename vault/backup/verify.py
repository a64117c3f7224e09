"""Open a sample of a restored backup: that its values and its keys belong together. Nobody sees a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import func, select

from vault.backup.contents import DatabaseDamaged
from vault.crypto.keyring import Keyring
from vault.crypto.seal import place
from vault.errors import CannotOpen, NotFound
from vault.ids import SubjectId, TenantId
from vault.storage.database import Database
from vault.subjects.record_body import unpack
from vault.subjects.tables import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vault.clock import Clock
    from vault.crypto.providers import KeyProvider
    from vault.crypto.seal import SubjectKeys

_TOGETHER: Final = 200
_TIMEOUT: Final = 60.0


class Sample(NamedTuple):
    """Of how many people how many values were opened, and how many people there are with records."""

    people: int
    values: int
    of: int


async def open_sample(data_url: str, keys_url: str, provider: KeyProvider, clock: Clock, *, most: int) -> Sample:
    """Open every value of every N-th person.

    Args:
        data_url: of a restored main database that nobody else uses.
        keys_url: of the key store restored with it.
        provider: holds the root key.
        clock: the time.
        most: people at the most, spread evenly.

    Raises:
        Misconfigured: another root key sealed the key store.
        DatabaseDamaged: a value does not open, or has no key.
    """
    data, keys = Database(data_url, timeout=_TIMEOUT), Database(keys_url, timeout=_TIMEOUT)
    keyring = Keyring(keys, provider, clock, most=0)
    try:
        await keyring.check_root()
        return await _opened(data, keyring, most)
    finally:
        await data.close()
        await keys.close()


async def _opened(data: Database, keyring: Keyring, most: int) -> Sample:
    chosen, of = await _choose(data, most)
    values = wrong = 0
    for start in range(0, len(chosen), _TOGETHER):
        by_tenant: dict[TenantId, list[SubjectId]] = {}
        for tenant, subject in chosen[start : start + _TOGETHER]:
            by_tenant.setdefault(tenant, []).append(subject)
        for tenant, subjects in by_tenant.items():
            seen = await _look(data, keyring, tenant, subjects)
            values += seen[0]
            wrong += seen[1]
    if wrong:
        raise DatabaseDamaged(
            f"{wrong:,} of {values + wrong:,} values that were tried do not open with the keys of this backup",
            hint="take another backup, and see by `cdv backup verify` whether that one is whole",
        )
    return Sample(len(chosen), values, of)


async def _choose(data: Database, most: int) -> tuple[list[tuple[TenantId, SubjectId]], int]:
    """Choose every N-th of those who have records."""
    people = select(RECORD.c.tenant_id, RECORD.c.subject_id).distinct().subquery()
    number = func.row_number().over(order_by=(people.c.tenant_id, people.c.subject_id)).label("number")
    async with data.reading() as connection:
        of = (await connection.execute(select(func.count()).select_from(people))).scalar_one()
        numbered = select(people.c.tenant_id, people.c.subject_id, number).subquery()
        step = max(1, -(-of // max(most, 1)))
        statement = select(numbered.c.tenant_id, numbered.c.subject_id).where(numbered.c.number % step == 0)
        found = (await connection.execute(statement)).all() if most else []
    return [(TenantId(tenant), SubjectId(subject)) for tenant, subject in found], of


async def _look(data: Database, keyring: Keyring, tenant: TenantId, subjects: list[SubjectId]) -> tuple[int, int]:
    """Open all values of some people; counts those that opened and those that did not."""
    keys = await _keys_of(keyring, tenant, subjects)
    statement = select(RECORD).where(RECORD.c.tenant_id == tenant, RECORD.c.subject_id.in_(subjects))
    async with data.reading() as connection:
        rows = (await connection.execute(statement)).all()
    return _count(tenant, rows, keys)


async def _keys_of(keyring: Keyring, tenant: TenantId, subjects: list[SubjectId]) -> dict[SubjectId, SubjectKeys]:
    """Fetch people's keys; who has some that do not open, or whose tenant has none, is as one who has none."""
    try:
        return await keyring.subject_keys(tenant, subjects)
    except NotFound:
        return {}
    except CannotOpen:
        if len(subjects) == 1:
            return {}
    found: dict[SubjectId, SubjectKeys] = {}
    for subject in subjects:
        found |= await _keys_of(keyring, tenant, [subject])
    return found


def _count(tenant: TenantId, rows: Iterable[Any], keys: dict[SubjectId, SubjectKeys]) -> tuple[int, int]:
    good = wrong = 0
    for row in rows:
        where = place(tenant, row.subject_id, row.collection, row.id)
        try:
            body = unpack(row.body)
        except CannotOpen:
            wrong += 1
            continue
        for name, stored in body.items():
            if _opens(keys.get(row.subject_id), name, stored.sealed, where):
                good += 1
            else:
                wrong += 1
    return good, wrong


def _opens(keys: SubjectKeys | None, name: str, sealed: bytes, where: bytes) -> bool:
    if keys is None:
        return False
    try:
        keys.open(name, sealed, where)
    except CannotOpen:
        return False
    return True
