"""Delete old backups, and their key stores sooner.

Once all backups of the key store that contain an erased subject's key are deleted, the subject is unreadable in any
older backup of the data. So key stores are kept for the shorter time.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.backup.make import note_backup
from vault.backup.manifest import ENDING, KINDS, NAME, OURS, PART, find_all, has_manifest, listed
from vault.backup.sealed_file import cannot_delete, is_being_made, sync_folder
from vault.errors import InvalidInput, Misconfigured

if TYPE_CHECKING:
    from pathlib import Path

    from vault.backup.manifest import BackupFolder, Locations
    from vault.catalogue.periods import Period
    from vault.context import Services
    from vault.crypto.providers import KeyProvider

_ENDS: Final = (ENDING, f"{ENDING}{PART}", f".keys{ENDING}{PART}", f".ledger{ENDING}{PART}")
"""Ends of the names of a backup's files, also temporary ones, in the folders of key stores and ledgers."""


class Pruned(NamedTuple):
    """The names of what was deleted.

    Attributes:
        backups: backups of which everything was deleted.
        keys: backups of which only the key store was deleted.
        leftovers: files and folders of unfinished backups.
        unknown: not deleted: folders that look like a backup but do not open or were renamed, and key stores and
            ledgers without a backup.
    """

    backups: list[str]
    keys: list[str]
    leftovers: list[str]
    unknown: list[str]


async def prune(
    services: Services, provider: KeyProvider, where: Locations, *, keep_data: Period, keep_keys: Period
) -> Pruned:
    """Delete old backups, and the key stores of younger ones.

    The newest backup is always kept, and so is the newest complete one. Files of unfinished backups are deleted too,
    except of one that is being made at this moment.

    Args:
        provider: holds the root key; a folder without a genuine manifest is not deleted.
        keep_data: how long a backup is kept.
        keep_keys: how long its key store is kept.

    Raises:
        InvalidInput: keys would be kept longer than data.
        Misconfigured: something cannot be deleted; or the key stores are elsewhere, and nothing was deleted.
        Unavailable: the audit log does not answer; a deletion that it cannot record does not happen.
    """
    now = services.clock.now()
    if keep_keys.after(now) > keep_data.after(now):
        raise InvalidInput(
            "the key store would be kept longer than the data",
            code="backup-kept-too-short",
            hint="--keep-keys is at most as long as --keep-data: keys without data open nothing",
        )
    found, unknown = await asyncio.to_thread(find_all, where, provider)
    pruned = Pruned([], [], [], [folder.name for folder in unknown])
    # A key store is always kept, so it must be in its folder; otherwise old ones elsewhere would be overlooked.
    if found and not any(backup.keys.is_file() for backup in found):
        raise Misconfigured(
            f"not one key store of these backups is in {where.keys}; nothing was deleted",
            hint="name their folder by --keys-to; if they are lost, make a new backup first",
        )
    whole = next((backup for backup in found if all(backup.file(kind).is_file() for kind in KINDS)), None)
    for backup in found[1:]:
        created_at = backup.manifest.created_at
        if backup is whole:
            continue
        if now > keep_data.after(created_at):
            await note_backup(services, backup.manifest.id, "pruned")
            _delete(backup, everything=True)
            pruned.backups.append(backup.folder.name)
        elif now > keep_keys.after(created_at) and backup.keys.exists():
            await note_backup(services, backup.manifest.id, "keys-pruned")
            _delete(backup, everything=False)
            pruned.keys.append(backup.folder.name)
    pruned.leftovers.extend(_clear_leftovers(where))
    pruned.unknown.extend(_strangers(where))
    return pruned


def _delete(backup: BackupFolder, *, everything: bool) -> None:
    """Delete the keys first, then the manifest, so that the rest is no longer a backup."""
    try:
        backup.keys.unlink(missing_ok=True)
        if everything:
            backup.ledger.unlink(missing_ok=True)
            (backup.folder / NAME).unlink()
            shutil.rmtree(backup.folder)
        for folder in {backup.keys.parent, backup.ledger.parent, backup.folder.parent}:
            if folder.is_dir():
                sync_folder(folder)
    except OSError as error:
        raise cannot_delete(backup.folder, error) from None


def _clear_leftovers(where: Locations) -> list[str]:
    """Delete unfinished backups: folders without a manifest or a final name, and their files.

    Nothing else is deleted: the folders may contain other files, and backups of other vaults.
    """
    leftovers: list[Path] = []
    for folder in listed(where.data):
        name = folder.name.removesuffix(PART)
        ours = OURS.fullmatch(name) and folder.is_dir() and not folder.is_symlink()
        if not ours or (name == folder.name and has_manifest(folder)) or is_being_made(folder):
            continue
        apart = [parent / f"{name}{end}" for parent in (where.keys, where.ledger) for end in _ENDS]
        leftovers += [path for path in apart if path.is_file()]
        leftovers.append(folder)  # last: while the folder exists, the other files are known to be of its backup
    for path in leftovers:
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            raise cannot_delete(path, error) from None
    return sorted({path.name for path in leftovers})


def _strangers(where: Locations) -> list[str]:
    """List key stores and ledgers without a backup here: it was deleted by hand, or is elsewhere."""
    backups = {folder.name.removesuffix(PART) for folder in listed(where.data)}
    names = {file.name for file in (*listed(where.keys), *listed(where.ledger))}
    return sorted(name for name in names if OURS.match(name) and name.split(".")[0] not in backups)
