"""Thin out backups: old ones go, and their key stores sooner.

Once the backups of the key store with an erased person's key are gone, that person is unreadable in
any older backup of the data: so keys are kept for the shorter time.
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
    from collections.abc import Sequence
    from pathlib import Path

    from vault.backup.manifest import BackupFolder, Locations
    from vault.catalogue.retention import Period
    from vault.context import Services
    from vault.crypto.providers import KeyProvider

_ENDS: Final = (ENDING, f"{ENDING}{PART}", f".keys{ENDING}{PART}", f".ledger{ENDING}{PART}")
"""Of the files that a backup has, or has for a moment, in the folders of key stores and ledgers."""


class Pruned(NamedTuple):
    """What was thinned out.

    Attributes:
        backups: names of those of which everything went.
        keys: names of those of which only the key store went.
        leftovers: names of files and folders of backups that never came to their end.
        unknown: names of folders that look like backups and do not open or are called otherwise, and of key stores
            and ledgers of which there is no backup here; they were left alone.
    """

    backups: list[str]
    keys: list[str]
    leftovers: list[str]
    unknown: list[str]


async def prune(
    services: Services, provider: KeyProvider, where: Locations, *, keep_data: Period, keep_keys: Period
) -> Pruned:
    """Delete old backups, and the key stores of younger ones; the newest backup is always kept.

    So does the newest that has its key store and ledger still, should the newest of all have lost them. What an
    unfinished backup left behind is taken away too, unless it is being made at this moment.

    Args:
        provider: has the root key; a folder without a genuine manifest is not deleted.
        where: the folders of the backups.
        keep_data: how long a backup is kept.
        keep_keys: how long its key store is kept.

    Raises:
        InvalidInput: keys were to be kept longer than data.
        Misconfigured: something cannot be deleted; or the key stores lie elsewhere, and nothing is.
        Unavailable: the audit log does not answer; the deletion that it was to record does not happen.
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
    _require_keys(where, found)
    whole = next((each for each in found if _is_whole(each)), None)
    for backup in found[1:]:
        made = backup.manifest.created_at
        if backup is whole:
            continue
        if now > keep_data.after(made):
            await note_backup(services, backup.manifest.id, "pruned")
            _delete(backup, everything=True)
            pruned.backups.append(backup.folder.name)
        elif now > keep_keys.after(made) and backup.keys.exists():
            await note_backup(services, backup.manifest.id, "keys-pruned")
            _delete(backup, everything=False)
            pruned.keys.append(backup.folder.name)
    pruned.leftovers.extend(_clear_leftovers(where))
    pruned.unknown.extend(_strangers(where))
    return pruned


def _require_keys(where: Locations, found: Sequence[BackupFolder]) -> None:
    """See that the key stores lie where they were said to: one always stays, and the others must not stay unseen."""
    if found and not any(each.keys.is_file() for each in found):
        raise Misconfigured(
            f"not one key store of these backups is in {where.keys}; nothing was deleted",
            hint="name their folder by --keys-to; if they are lost, make a new backup first",
        )


def _is_whole(backup: BackupFolder) -> bool:
    return all(backup.file(kind).is_file() for kind in KINDS)


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
    gone: list[Path] = []
    for folder in listed(where.data):
        name = folder.name.removesuffix(PART)
        ours = OURS.fullmatch(name) and folder.is_dir() and not folder.is_symlink()
        if not ours or (name == folder.name and has_manifest(folder)) or is_being_made(folder):
            continue
        apart = [each / f"{name}{end}" for each in (where.keys, where.ledger) for end in _ENDS]
        gone += [each for each in apart if each.is_file()]
        gone.append(folder)  # last: as long as it is there, the others are known to be its
    for each in gone:
        try:
            if each.is_dir():
                shutil.rmtree(each)
            else:
                each.unlink()
        except OSError as error:
            raise cannot_delete(each, error) from None
    return sorted({each.name for each in gone})


def _strangers(where: Locations) -> list[str]:
    """List key stores and ledgers without a backup here: it was deleted by hand, or is elsewhere."""
    there = {each.name.removesuffix(PART) for each in listed(where.data)}
    files = [*listed(where.keys), *listed(where.ledger)]
    return sorted({each.name for each in files if OURS.match(each.name) and each.name.split(".")[0] not in there})
