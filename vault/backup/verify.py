"""Try a restore into a temporary place, count, and open a sample: a backup that was never tried is a hope.

1. Every file is there, is this backup's, and opens from its first byte to its last; before that nothing is made.
2. Data, keys and ledger come back: into SQLite files in a temporary folder, or into temporary databases of PostgreSQL.
3. Their pages are in order, and they hold the rows that the manifest counts.
4. The key store opens with this root key, and of a sample of people every value opens with their keys.
5. The temporary databases are deleted in any case.

Open a sample of a restored backup, to check that values and keys belong together. No value is shown.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from sqlalchemy import func, select

from vault.backup.load import load_database, require_empty, temporary_database
from vault.backup.make import note_backup
from vault.backup.manifest import DATABASES, KINDS
from vault.backup.sealed_file import check_files
from vault.backup.snapshot import DatabaseDamaged
from vault.crypto.keyring import Keyring
from vault.crypto.seal import record_aad
from vault.errors import CannotOpen, Misconfigured, NotFound, Unavailable, VaultError
from vault.ids import SubjectId, TenantId
from vault.storage.database import Database
from vault.subjects.record_body import unpack
from vault.subjects.tables import RECORD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vault.backup.location import BackupFolder
    from vault.backup.postgres_tools import PostgresTools
    from vault.clock import Clock
    from vault.context import Services
    from vault.crypto.providers import KeyProvider
    from vault.crypto.seal import SubjectKeys
    from vault.storage.migrate import Which


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
        data_url: of a restored main database that is not in use.
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
    """Fetch the keys of people. A person with damaged keys, or of a tenant without keys, has none."""
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
        where = record_aad(tenant, row.subject_id, row.collection, row.id)
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


SAMPLE = 1_000
"""The largest number of people to open completely, unless more are requested."""


class Verified(NamedTuple):
    """What a try of a restore has shown: rows by database and table, and the sample that opened."""

    rows: dict[Which, dict[str, int]]
    sample: Sample


async def verify_backup(
    services: Services,
    backup: BackupFolder,
    provider: KeyProvider,
    tools: PostgresTools,
    servers: Mapping[Which, str],
    *,
    sample: int = SAMPLE,
    progress: Callable[[str, int], None],
) -> Verified:
    """Try a restore of a backup, without touching the vault's own databases; what it shows is on the audit log.

    Args:
        house: the rooms, for the clock and the audit log.
        backup: which.
        provider: holds the root key.
        tools: PostgreSQL's programs.
        servers: for each database a URL on the server that takes its temporary database, where that is PostgreSQL.
        sample: of how many people at the most every value is opened.
        progress: called with a name and the bytes checked so far.

    Raises:
        NotABackup, BackupDamaged: a file is not there, is another backup's, was cut off or changed.
        Misconfigured: another root key sealed it, or there is no place to try the restore in.
        DatabaseDamaged: what came back is not what was backed up, or does not open.
        Unavailable: a database does not answer.
    """
    try:
        await asyncio.to_thread(check_files, backup, provider, progress, KINDS)
        async with AsyncExitStack() as stack:
            urls = await _temporary(stack, backup, servers, tools)
            rows: dict[Which, dict[str, int]] = {}
            for kind in DATABASES:
                rows[kind] = (await load_database(backup, kind, provider, urls[kind], tools)).rows
                progress(f"restored {kind}", backup.manifest.files[kind].size)
            opened = await open_sample(urls["data"], urls["keys"], provider, services.clock, most=sample)
    except VaultError as error:
        if not isinstance(error, Unavailable):
            await note_backup(services, backup.manifest.id, error.code, decision="failed")
        raise
    await note_backup(services, backup.manifest.id, "verified")
    return Verified(rows, opened)


async def _temporary(
    stack: AsyncExitStack, backup: BackupFolder, servers: Mapping[Which, str], tools: PostgresTools
) -> dict[Which, str]:
    """Make the temporary place of each database; all are there before anything is restored."""
    urls: dict[Which, str] = {}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cdv-verify-")))
    for kind in DATABASES:
        dialect = backup.manifest.files[kind].dialect
        if dialect == "sqlite":
            urls[kind] = f"sqlite:///{quote(str(folder / kind))}.sqlite"  # a URL: in TMPDIR there may be a ?
            continue
        if not servers[kind].startswith("postgres"):
            raise Misconfigured(
                "this backup is of PostgreSQL, and there is no server to try the restore on",
                hint="name one by --into postgresql://…; a database of its own is made there and dropped again",
            )
        urls[kind] = await stack.enter_async_context(temporary_database(servers[kind]))
        await require_empty(kind, dialect, urls[kind], tools)
    return urls
