"""Verify a backup: restore it to a temporary location, count its rows, and open a sample of its values.

1. Every file exists, belongs to this backup, and opens from its first byte to its last. Nothing is created before that.
2. Data, keys and ledger are restored: to SQLite files in a temporary folder, or to temporary databases of PostgreSQL.
3. Their pages are intact, and they contain the rows that the manifest counts.
4. The key store opens with this root key, and every value of a sample of subjects opens with their keys. None is shown.
5. The temporary databases are deleted in any case.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
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
from vault.subjects.rows import unpack
from vault.subjects.tables import RECORD
from vault.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.backup.manifest import BackupFolder, VaultParts
    from vault.clock import Clock
    from vault.context import Services
    from vault.crypto.seal import SubjectKeys
    from vault.storage.migrate import Which


_AT_ONCE: Final = 200
_TIMEOUT: Final = 60.0
SAMPLE: Final = 1_000
"""The maximum number of subjects whose values are opened, unless more are requested."""


class Sample(NamedTuple):
    """How many values of how many subjects were opened, and how many subjects with records there are."""

    people: int
    values: int
    of: int


class Verified(NamedTuple):
    """The result of a verification: rows by database and table, and the opened sample."""

    rows: dict[Which, dict[str, int]]
    sample: Sample


async def verify_backup(
    services: Services,
    backup: BackupFolder,
    vault: VaultParts,
    *,
    sample: int = SAMPLE,
    progress: Callable[[str, int], None],
) -> Verified:
    """Verify a backup without touching the vault's own databases, and write the result to the audit log.

    Args:
        vault: for databases of PostgreSQL, the URLs name the servers on which temporary databases are created.
        sample: maximum number of subjects whose values are opened.
        progress: called with the name of a step and the bytes checked so far.

    Raises:
        NotABackup, BackupDamaged: a file is missing, belongs to another backup, was cut off or changed.
        Misconfigured: another root key sealed it, or there is no place to try the restore in.
        DatabaseDamaged: the restored content differs from the manifest, or does not open.
        Unavailable: a database does not answer.
    """
    try:
        await asyncio.to_thread(check_files, backup, vault.provider, progress, KINDS)
        async with AsyncExitStack() as stack:
            target = vault._replace(urls=await _temporary(stack, backup, vault))
            rows: dict[Which, dict[str, int]] = {}
            for kind in DATABASES:
                rows[kind] = (await load_database(backup, kind, target)).rows
                progress(f"restored {kind}", backup.manifest.files[kind].size)
            opened = await _open_sample(target, services.clock, sample)
    except VaultError as error:
        if not isinstance(error, Unavailable):
            await note_backup(services, backup.manifest.id, error.code, decision="failed")
        raise
    await note_backup(services, backup.manifest.id, "verified")
    return Verified(rows, opened)


async def _temporary(stack: AsyncExitStack, backup: BackupFolder, vault: VaultParts) -> dict[Which, str]:
    """Create the temporary location of each database; all exist before anything is restored."""
    urls: dict[Which, str] = {}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cdv-verify-")))
    for kind in DATABASES:
        if backup.manifest.files[kind].dialect == "sqlite":
            urls[kind] = f"sqlite:///{quote(str(folder / kind))}.sqlite"  # a URL: TMPDIR may contain a ?
            continue
        if not vault.urls[kind].startswith("postgres"):
            raise Misconfigured(
                "this backup is of PostgreSQL, and there is no server to try the restore on",
                hint="name one by --into postgresql://…; a database of its own is made there and dropped again",
            )
        urls[kind] = await stack.enter_async_context(temporary_database(vault.urls[kind]))
        await require_empty(backup, kind, urls[kind], vault.tools)
    return urls


async def _open_sample(restored: VaultParts, clock: Clock, most: int) -> Sample:
    """Open every value of every N-th subject of restored databases that are not in use.

    Raises:
        Misconfigured: another root key sealed the key store.
        DatabaseDamaged: a value does not open, or has no key.
    """
    data = Database(restored.urls["data"], timeout=_TIMEOUT)
    keys = Database(restored.urls["keys"], timeout=_TIMEOUT)
    keyring = Keyring(keys, restored.provider, clock, most=0)
    try:
        await keyring.check_root()
        chosen, of = await _choose(data, most)
        values = wrong = 0
        for start in range(0, len(chosen), _AT_ONCE):
            for tenant, group in groupby(chosen[start : start + _AT_ONCE], key=itemgetter(0)):
                opened, failed = await _open_values(data, keyring, tenant, [subject for _tenant, subject in group])
                values, wrong = values + opened, wrong + failed
    finally:
        await data.close()
        await keys.close()
    if wrong:
        raise DatabaseDamaged(
            f"of {counted(values + wrong, 'value')} tried, {wrong:,} did not open with the keys of this backup",
            hint="take another backup, and see by `cdv backup verify` whether that one is whole",
        )
    return Sample(len(chosen), values, of)


async def _choose(data: Database, most: int) -> tuple[list[tuple[TenantId, SubjectId]], int]:
    """Choose every N-th of the subjects with records; returns them by tenant, and the number of all."""
    people = select(RECORD.c.tenant_id, RECORD.c.subject_id).distinct().subquery()
    number = func.row_number().over(order_by=(people.c.tenant_id, people.c.subject_id)).label("number")
    async with data.reading() as connection:
        of = (await connection.execute(select(func.count()).select_from(people))).scalar_one()
        numbered = select(people.c.tenant_id, people.c.subject_id, number).subquery()
        step = max(1, -(-of // most))
        statement = select(numbered.c.tenant_id, numbered.c.subject_id).where(numbered.c.number % step == 0)
        rows = (await connection.execute(statement.order_by(numbered.c.number))).all()
    return [(TenantId(tenant), SubjectId(subject)) for tenant, subject in rows], of


async def _open_values(
    data: Database, keyring: Keyring, tenant: TenantId, subjects: list[SubjectId]
) -> tuple[int, int]:
    """Open all values of some subjects; returns the numbers of those that opened and of those that did not."""
    keys = await _keys_of(keyring, tenant, subjects)
    statement = select(RECORD).where(RECORD.c.tenant_id == tenant, RECORD.c.subject_id.in_(subjects))
    async with data.reading() as connection:
        rows = (await connection.execute(statement)).all()
    opened = failed = 0
    for row in rows:
        aad = record_aad(tenant, row.subject_id, row.collection, row.id)
        try:
            body = unpack(row.body)
        except CannotOpen:
            failed += 1
            continue
        for name, stored in body.items():
            if _opens(keys.get(row.subject_id), name, stored.sealed, aad):
                opened += 1
            else:
                failed += 1
    return opened, failed


async def _keys_of(keyring: Keyring, tenant: TenantId, subjects: list[SubjectId]) -> dict[SubjectId, SubjectKeys]:
    """Fetch the keys of subjects. A subject with damaged keys, or of a tenant without keys, has none."""
    try:
        return await keyring.subject_keys(tenant, subjects)
    except NotFound:
        return {}
    except CannotOpen:
        if len(subjects) == 1:
            return {}
    keys: dict[SubjectId, SubjectKeys] = {}
    for subject in subjects:
        keys |= await _keys_of(keyring, tenant, [subject])
    return keys


def _opens(keys: SubjectKeys | None, name: str, sealed: bytes, aad: bytes) -> bool:
    if keys is None:
        return False
    try:
        keys.open(name, sealed, aad)
    except CannotOpen:
        return False
    return True
