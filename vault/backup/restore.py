"""Bring a backup back into an empty place, and leave it closed until what happened since is replayed.

1. All that can be wrong is found first: another root key, a file that is cut off, changed, missing or another
   backup's, a place where something is, a ledger that is older than the backup. Nothing is touched before.
2. An order is written into the new folder: from then on, ``cdv restore --continue`` resumes an interrupted restore.
3. Settings and policies, the key store, and where the ledger was lost, the ledger as it was in the backup.
4. The main database, together with the row that keeps it closed. The order has been carried out, and goes.

What comes after that is :mod:`vault.backup.replay`.

One restore at a time in a folder.
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
THERE_BEFORE: Final = frozenset({"root.key", "ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"})
"""What may lie in the new folder before: what no backup holds, and what the disaster has spared."""
LONGEST_REASON: Final = 500
_TIMEOUT: Final = 10.0


class LedgerMissing(Misconfigured):
    """The ledger of tombstones is not there, or is not the one that belongs to the backup."""

    code = "ledger-missing"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A running restore, as stored in the new folder.

    Attributes:
        id: of the restore.
        backup: the folder of the backup's data.
        keys: the file of its key store.
        ledger: the file of its ledger.
        settings: what the new ``cdv.toml`` says.
        restored_at: when it was begun.
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
        """Find the backup; raises what :func:`vault.backup.manifest.find_backup` raises."""
        return find_backup(Path(self.backup), provider, keys=Path(self.keys), ledger=Path(self.ledger))


def new_order(backup: BackupFolder, settings: str, now: datetime, *, without_ledger: str | None) -> Order:
    """Make the order of a restore.

    Raises:
        InvalidInput: the reason for the missing ledger is invalid.
    """
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
    """See that a folder is not there yet, or holds nothing but what the disaster has spared.

    Raises:
        Misconfigured: the folder is not empty.
    """
    if (folder / ORDER).is_file():
        raise Misconfigured(
            "a restore into this folder has been begun", hint=f"run `cdv restore --continue --vault {folder}`"
        )
    if folder.exists() and (not folder.is_dir() or {each.name for each in folder.iterdir()} - THERE_BEFORE):
        raise Misconfigured(
            "the folder to restore into is not empty; nothing was touched",
            hint="name a new folder; only root.key and ledger.sqlite may lie in it",
        )


def settings_in(backup: BackupFolder, provider: KeyProvider) -> str:
    """Read the ``cdv.toml`` of a backup; raises what :func:`vault.backup.sealed_file.open_part` raises."""
    with _archive(backup, provider) as tar:
        try:
            found = tar.extractfile(SETTINGS)
        except KeyError:
            return ""
        return "" if found is None else found.read().decode("utf-8", "replace")


def adapted(settings: str, changes: Mapping[str, str]) -> str:
    """Write a ``cdv.toml`` with some settings changed; the location of the root key is never copied.

    Args:
        settings: as it was; its comments and all that is not changed stay.
        changes: by name.
    """
    dropped = {"root_key", *changes}
    kept = [line for line in settings.splitlines() if line.partition("=")[0].strip() not in dropped]
    made = [f"{name} = {json.dumps(value)}" for name, value in changes.items()]
    return "\n".join([*made, *kept]) + "\n"


async def check(
    backup: BackupFolder, target: VaultParts, *, without_ledger: bool, progress: Callable[[str, int], None]
) -> None:
    """Find all that can be wrong, before anything is touched.

    Args:
        backup: which is to be brought back.
        target: where to.
        without_ledger: whether the ledger of tombstones is lost.
        progress: called with a name and the bytes checked so far.

    Raises:
        NotABackup, BackupDamaged: a file is not there, is another backup's, was cut off or changed.
        Misconfigured: another root key, a newer program's backup, a target that is not empty, or in use.
        LedgerMissing: the ledger of tombstones is not there, or older than the backup.
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
    """See that the ledger of tombstones is there, and knows at least what it knew when the backup was made.

    Raises:
        LedgerMissing: it is not, or does not.
    """
    facts = backup.manifest.files["ledger"]
    ledger = Database(url, timeout=_TIMEOUT)
    table = TOMBSTONE_LEDGER
    try:
        if not await is_current(ledger, "ledger"):
            raise _no_ledger("its tables are not there, or of another version than this program")
        async with ledger.reading() as connection:
            its = (table.c.kind == "backup", table.c.subject_id == backup.manifest.id)
            is_known = (await connection.execute(select(table.c.id).where(*its))).first() is not None
            lines = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
    except Unavailable:
        raise _no_ledger("it does not answer") from None
    finally:
        await ledger.close()
    if not is_known or lines < facts.rows.get(str(table.name), 0):
        raise _no_ledger("it is older than the backup, or belongs to another vault")


def write_order(folder: Path, order: Order) -> None:
    """Begin: lay the order into the folder.

    Raises:
        Misconfigured: it cannot be written.
    """
    part = folder / f"{ORDER}.part"
    part.unlink(missing_ok=True)
    write_file(part, [msgspec.json.encode(order)])
    publish(part, folder / ORDER)


def read_order(folder: Path) -> Order | None:
    """Read the order of a restore that has not come to its end; none where there is none.

    Raises:
        Misconfigured: it is not readable.
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
    """Bring everything back that is not back yet; done again it goes on where it ended.

    Raises:
        VaultError: what :func:`check` raises; and ``DatabaseDamaged`` where what came back is not what was backed up.
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
    """Name the databases that come out of the backup, the main one last: with it the vault is there."""
    first: tuple[Which, ...] = ("keys", "ledger") if without_ledger else ("keys",)
    return (*first, "data")


def _require_known(backup: BackupFolder) -> None:
    for kind in DATABASES:
        if not knows(kind, backup.manifest.files[kind].revision):
            raise Misconfigured(
                f"this backup was made by a newer program ({backup.manifest.program}); nothing was touched",
                hint="install that version, or a later one",
            )


def _bring_folder(backup: BackupFolder, target: VaultParts, order: Order) -> None:
    """Bring settings and policies back; they are small, so they are simply written again."""
    folder = target.folder
    for name in FOLDER[1:]:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    with _archive(backup, target.provider) as tar:
        members = [each for each in tar.getmembers() if each.name != SETTINGS]
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
    """Lock a folder for one restore; the lock of a dead process is released.

    Args:
        folder: the new vault's.
        make: make it where it is not there.

    Raises:
        Misconfigured: another process restores into it, or the folder is missing or cannot be created.
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
