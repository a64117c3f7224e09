"""Try a restore into a temporary place, count, and open a sample: a backup that was never tried is a hope.

1. Every file is there, is this backup's, and opens from its first byte to its last; before that nothing is made.
2. Data, keys and ledger come back: into SQLite files in a temporary folder, or into temporary databases of PostgreSQL.
3. Their pages are in order, and they hold the rows that the manifest counts.
4. The key store opens with this root key, and of a sample of people every value opens with their keys.
5. The temporary place is taken away, whatever came of it.
"""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from vault.backup.load import load_database, require_empty, temporary_database
from vault.backup.manifest import DATABASES, KINDS
from vault.backup.note import note_backup
from vault.backup.sealed_file import check_files
from vault.backup.verify import open_sample
from vault.errors import Misconfigured, Unavailable, VaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vault.backup.location import Backup
    from vault.backup.postgres_tools import PostgresTools
    from vault.backup.verify import Sample
    from vault.context import House
    from vault.crypto.providers import KeyProvider
    from vault.storage.migrate import Which

SAMPLE = 1_000
"""People whose every value is opened, at the most, unless more are asked for."""


class Verified(NamedTuple):
    """What a try of a restore has shown: rows by database and table, and the sample that opened."""

    rows: dict[Which, dict[str, int]]
    sample: Sample


async def verify_backup(
    house: House,
    backup: Backup,
    provider: KeyProvider,
    tools: PostgresTools,
    servers: Mapping[Which, str],
    *,
    sample: int = SAMPLE,
    told: Callable[[str, int], None],
) -> Verified:
    """Try a restore of a backup, without touching the vault's own databases; what it shows is on the audit log.

    Args:
        house: the rooms, for the clock and the audit log.
        backup: which.
        provider: holds the root key.
        tools: PostgreSQL's programs.
        servers: for each database a URL on the server that takes its temporary database, where that is PostgreSQL.
        sample: of how many people at the most every value is opened.
        told: is told how many bytes of what were looked at.

    Raises:
        NotABackup, BackupDamaged: a file is not there, is another backup's, was cut off or changed.
        Misconfigured: another root key sealed it, or there is no place to try the restore in.
        DatabaseDamaged: what came back is not what was backed up, or does not open.
        Unavailable: a database does not answer.
    """
    try:
        check_files(backup, provider, told, KINDS)
        async with AsyncExitStack() as stack:
            urls = await _temporary(stack, backup, servers, tools)
            rows: dict[Which, dict[str, int]] = {}
            for kind in DATABASES:
                rows[kind] = (await load_database(backup, kind, provider, urls[kind], tools)).rows
                told(f"restored {kind}", backup.manifest.files[kind].size)
            opened = await open_sample(urls["data"], urls["keys"], provider, house.clock, most=sample)
    except VaultError as error:
        if not isinstance(error, Unavailable):
            await note_backup(house, backup.manifest.id, error.code, decision="failed")
        raise
    await note_backup(house, backup.manifest.id, "verified")
    return Verified(rows, opened)


async def _temporary(
    stack: AsyncExitStack, backup: Backup, servers: Mapping[Which, str], tools: PostgresTools
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
