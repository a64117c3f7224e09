"""Restore a backup to an empty location, and leave it closed until the ledger of tombstones is replayed.

1. Everything that can be wrong is checked first: another root key; a file that is cut off, changed, missing or another
   backup's; a target that is not empty; a ledger that is older than the backup. Nothing is touched before.
2. An order is written to the new folder. From then on, ``cdv restore --continue`` resumes an interrupted restore.
3. Settings and policies are restored, then the key store, and if the ledger was lost, the ledger as of the backup.
4. The main database is restored, with the row that keeps it closed. The order is deleted.

:mod:`vault.backup.replay` does the rest. A folder is locked, so that there is one restore at a time.
"""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import os
import shutil
import tarfile
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec
from sqlalchemy import func, select

from vault.backup.gate import ORDER, Facts, Restore
from vault.backup.load import bring_back, bring_back_closed, is_back, require_alone, require_empty
from vault.backup.make import FOLDER
from vault.backup.manifest import DATABASES, find_backup
from vault.backup.sealed_file import check_files, open_part, publish, sync_folder, write_file
from vault.backup.snapshot import sqlite_path
from vault.crypto.providers import hide_from_git
from vault.errors import InvalidInput, Misconfigured, Unavailable
from vault.ids import new_id
from vault.lifecycle.restore_ledger import TOMBSTONE_LEDGER
from vault.storage.database import Database
from vault.storage.migrate import is_current, knows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vault.backup.manifest import BackupFolder, Kind, VaultParts
    from vault.crypto.providers import KeyProvider
    from vault.storage.migrate import Which


SETTINGS: Final = FOLDER[0]
THERE_BEFORE: Final = frozenset({".gitignore", "root.key", "ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"})
"""Files that the new folder may contain: the root key, which no backup contains, and the current ledger."""
LONGEST_REASON: Final = 500
_TIMEOUT: Final = 10.0


class LedgerMissing(Misconfigured):
    """The ledger of tombstones is missing, or is older than the backup or another vault's."""

    code = "ledger-missing"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A running restore, as stored in the new folder.

    Attributes:
        backup: the folder of the backup's data.
        keys: the file of its key store.
        ledger: the file of its ledger.
        settings: the content of the new ``cdv.toml``.
        restored_at: when the restore began.
        without_ledger: why the ledger of tombstones is lost; None if it exists.
    """

    id: UUID
    backup: str
    keys: str
    ledger: str
    settings: str
    restored_at: datetime
    without_ledger: str | None = None

    def opened(self, provider: KeyProvider) -> BackupFolder:
        """Open the backup; raises what :func:`vault.backup.manifest.find_backup` raises."""
        return find_backup(Path(self.backup), provider, keys=Path(self.keys), ledger=Path(self.ledger))


def new_order(backup: BackupFolder, settings: str, now: datetime, *, without_ledger: str | None) -> Order:
    """Return the order of a new restore; raises InvalidInput for an invalid reason of the missing ledger."""
    if without_ledger is not None and not 0 < len(without_ledger.strip()) <= LONGEST_REASON:
        raise InvalidInput(
            f"say in 1 to {LONGEST_REASON} characters why the ledger of tombstones is not there",
            code="invalid-reason",
        )
    return Order(
        id=new_id(),
        backup=str(backup.folder),
        keys=str(backup.keys.resolve()),
        ledger=str(backup.ledger.resolve()),
        settings=settings,
        restored_at=now,
        without_ledger=without_ledger,
    )


def require_new_folder(folder: Path) -> None:
    """Require that a folder does not exist, or contains nothing but :data:`THERE_BEFORE`; raises Misconfigured."""
    if (folder / ORDER).is_file():
        raise Misconfigured(
            "a restore into this folder has been begun", hint=f"run `cdv restore --continue --vault {folder}`"
        )
    if folder.exists() and (not folder.is_dir() or {file.name for file in folder.iterdir()} - THERE_BEFORE):
        raise Misconfigured(
            "the folder to restore into is not empty; nothing was touched",
            hint="name a new folder; only root.key, ledger.sqlite and .gitignore may lie in it",
        )


def settings_in(backup: BackupFolder, provider: KeyProvider) -> str:
    """Read the ``cdv.toml`` of a backup; raises what :func:`vault.backup.sealed_file.open_part` raises."""
    with _archive(backup, provider) as tar:
        try:
            file = tar.extractfile(SETTINGS)
        except KeyError:
            return ""
        return "" if file is None else file.read().decode("utf-8", "replace")


def adapted(settings: str, changes: Mapping[str, str]) -> str:
    """Return the text of a ``cdv.toml`` with some settings changed, and without the location of the root key."""
    dropped = {"root_key", *changes}
    unchanged = [line for line in settings.splitlines() if line.partition("=")[0].strip() not in dropped]
    return "\n".join([*(f"{name} = {json.dumps(value)}" for name, value in changes.items()), *unchanged]) + "\n"


async def check(
    backup: BackupFolder, target: VaultParts, *, without_ledger: bool, progress: Callable[[str, int], None]
) -> None:
    """Check everything that can be wrong, before anything is touched.

    Args:
        without_ledger: whether the ledger of tombstones is lost.
        progress: called with the name of a step and the bytes checked so far.

    Raises:
        NotABackup, BackupDamaged: a file is missing, belongs to another backup, was cut off or changed.
        Misconfigured: another root key, a newer program's backup, or a target that is not empty, or in use.
        LedgerMissing: the ledger of tombstones is missing, or older than the backup.
        Unavailable: a database does not answer.
    """
    _require_known(backup)
    restored: list[Kind] = ["folder", *_databases(without_ledger=without_ledger)]
    await asyncio.to_thread(check_files, backup, target.provider, progress, restored)
    for kind in _databases(without_ledger=without_ledger):
        await require_empty(backup, kind, target.urls[kind], target.tools)
    await require_alone(target.urls["data"])
    if not without_ledger:
        await require_ledger(backup, target.urls["ledger"])


async def require_ledger(backup: BackupFolder, url: str) -> None:
    """Require that the ledger of tombstones exists, and has at least the lines that it had at the time of the backup.

    Raises:
        LedgerMissing: it does not answer, is older than the backup, or belongs to another vault.
    """
    facts = backup.manifest.files["ledger"]
    ledger = Database(url, timeout=_TIMEOUT)
    table = TOMBSTONE_LEDGER
    try:
        if not await is_current(ledger, "ledger"):
            raise _no_ledger("its tables are not there, or of another version than this program")
        async with ledger.reading() as connection:
            line = select(table.c.id).where(table.c.kind == "backup", table.c.subject_id == backup.manifest.id)
            is_known = (await connection.execute(line)).first() is not None
            lines = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
    except Unavailable:
        raise _no_ledger("it does not answer") from None
    finally:
        await ledger.close()
    if not is_known or lines < facts.rows.get(str(table.name), 0):
        raise _no_ledger("it is older than the backup, or belongs to another vault")


def write_order(folder: Path, order: Order) -> None:
    """Write the order to the new folder, which begins the restore; raises Misconfigured if it cannot be written."""
    part = folder / f"{ORDER}.part"
    part.unlink(missing_ok=True)
    write_file(part, [msgspec.json.encode(order)])
    publish(part, folder / ORDER)


def read_order(folder: Path) -> Order | None:
    """Read the order of an unfinished restore; None if there is none.

    Raises:
        Misconfigured: the order cannot be read.
    """
    try:
        return msgspec.json.decode((folder / ORDER).read_bytes(), type=Order)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError):
        raise Misconfigured(
            f"{ORDER} in this folder is not readable", hint="start again with an empty folder and empty databases"
        ) from None


async def carry_out(order: Order, target: VaultParts, progress: Callable[[str, int], None]) -> None:
    """Restore everything that is not restored yet; a repeated call continues.

    Raises:
        VaultError: what :func:`check` raises, and ``DatabaseDamaged`` if the restored content differs from the backup.
    """
    backup = await asyncio.to_thread(order.opened, target.provider)
    await asyncio.to_thread(_bring_folder, backup, target, order)
    for kind in _databases(without_ledger=order.without_ledger is not None):
        if kind != "data" and not await is_back(target.urls[kind]):
            await bring_back(backup, kind, target)
            progress(f"restored {kind}", backup.manifest.files[kind].size)
    if not await is_back(target.urls["data"]):
        manifest = backup.manifest
        facts = Facts(without_ledger=order.without_ledger)
        restore = Restore(order.id, manifest.id, manifest.created_at, order.restored_at, facts)
        await bring_back_closed(backup, target, restore)
        progress("restored data", manifest.files["data"].size)
    (target.folder / ORDER).unlink()
    sync_folder(target.folder)


def _databases(*, without_ledger: bool) -> tuple[Which, ...]:
    """Return the databases to restore, the main one last: it completes the vault."""
    return ("keys", "ledger", "data") if without_ledger else ("keys", "data")


def _require_known(backup: BackupFolder) -> None:
    for kind in DATABASES:
        if not knows(kind, backup.manifest.files[kind].revision):
            raise Misconfigured(
                f"this backup was made by a newer program ({backup.manifest.program}); nothing was touched",
                hint="install that version, or a later one",
            )


def _bring_folder(backup: BackupFolder, target: VaultParts, order: Order) -> None:
    """Restore settings and policies. They are small, so a continued restore writes them again."""
    folder = target.folder
    hide_from_git(folder)
    for name in FOLDER[1:]:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    with _archive(backup, target.provider) as tar:
        members = [member for member in tar.getmembers() if member.name != SETTINGS]
        tar.extractall(folder, members=members, filter="data")
    (folder / SETTINGS).unlink(missing_ok=True)
    write_file(folder / SETTINGS, [order.settings.encode()])
    for url in target.urls.values():
        path = sqlite_path(url)
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _archive(backup: BackupFolder, provider: KeyProvider) -> tarfile.TarFile:
    with open_part(backup, "folder", provider) as opener:
        content = b"".join(opener)
    return tarfile.TarFile(fileobj=io.BytesIO(content))


def _no_ledger(why: str) -> LedgerMissing:
    return LedgerMissing(
        f"the ledger of tombstones cannot be used: {why}. Without it a restore brings back who was erased since, and "
        "takes back what people said no to; nothing was touched",
        hint="name it by --ledger; if it is lost for good, say --without-ledger and why by --reason",
    )


@contextmanager
def alone(folder: Path, *, make: bool = False) -> Iterator[None]:
    """Lock a folder for one restore. The lock ends with the process.

    Args:
        make: whether a missing folder is created.

    Raises:
        Misconfigured: another process restores to it, or the folder is missing or cannot be created.
    """
    try:
        if make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        opened = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise Misconfigured(f"the folder {folder} cannot be used: {error.strerror}", hint="name another one") from None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Misconfigured("a restore is at work in this folder", hint="wait for its end") from None
    finally:
        os.close(opened)
