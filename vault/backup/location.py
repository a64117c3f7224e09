"""Locations of a backup: data, key store and ledger in three folders, so that they can be kept apart.

::

    TO/data/20260305T120000Z-0195f3a27c1e7b52/manifest.json, data.cdvb, folder.cdvb
    TO/keys/20260305T120000Z-0195f3a27c1e7b52.cdvb
    TO/ledger/20260305T120000Z-0195f3a27c1e7b52.cdvb

What is being written has ``.part`` at the end of its name. A backup is there when its manifest is: the folder of its
data gets its name last of all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.backup.manifest import NAME, read_manifest
from vault.errors import InvalidInput, Misconfigured, VaultError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    from vault.backup.manifest import Kind, Manifest
    from vault.crypto.providers import KeyProvider

ENDING: Final = ".cdvb"
PART: Final = ".part"
OURS: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{16}")
"""The form of a backup's name. Other files and folders are left alone."""


class Locations(NamedTuple):
    """The three folders in which the parts of backups lie."""

    data: Path
    keys: Path
    ledger: Path


class BackupFolder(NamedTuple):
    """One backup: the folder of its data, the files of its key store and ledger (there or not), and its manifest."""

    folder: Path
    keys: Path
    ledger: Path
    manifest: Manifest

    def file(self, kind: Kind) -> Path:
        """Return the path of the file of a kind."""
        if kind == "keys":
            return self.keys
        if kind == "ledger":
            return self.ledger
        return self.folder / f"{kind}{ENDING}"


def places(to: Path, *, keys: Path | None = None, ledger: Path | None = None) -> Locations:
    """Say where the parts of the backups under a folder lie; the key store and the ledger may lie elsewhere.

    Raises:
        InvalidInput: two of the three are one folder: they are kept apart, and their files have the same names.
    """
    where = Locations(to / "data", keys or to / "keys", ledger or to / "ledger")
    if len({each.resolve() for each in where}) < len(where):
        raise InvalidInput(
            "data, key stores and ledgers need a folder each",
            code="backup-places-alike",
            hint="name another folder by --keys-to or --ledger-to",
        )
    return where


def name_of(backup: UUID, created_at: datetime) -> str:
    """Name a backup: sorted by name, backups are sorted by time."""
    return f"{created_at:%Y%m%dT%H%M%SZ}-{backup.hex[:16]}"


def find_backup(
    path: Path, provider: KeyProvider, *, keys: Path | None = None, ledger: Path | None = None
) -> BackupFolder:
    """Find a backup by the folder of its data, with its manifest read and checked; whether its files are there is not.

    Args:
        path: the folder with its manifest.
        provider: holds the root key.
        keys: the file of its key store; by default next to the data.
        ledger: the file of its ledger; likewise.

    Raises:
        NotABackup: there is no backup there.
        Misconfigured: another root key sealed it.
        BackupDamaged: its manifest was changed.
    """
    folder = path.resolve()
    manifest = read_manifest(folder, provider)
    name, parent = name_of(manifest.id, manifest.created_at) + ENDING, folder.parent.parent
    return BackupFolder(folder, keys or parent / "keys" / name, ledger or parent / "ledger" / name, manifest)


def find_all(where: Locations, provider: KeyProvider) -> tuple[list[BackupFolder], list[Path]]:
    """List the backups in their folders, the newest first; and the folders that look like one and do not open.

    A copy of a backup under another name is among the latter: its key store and ledger are those of the first.

    Raises:
        Misconfigured: the folder cannot be read.
    """
    found: list[BackupFolder] = []
    unknown: list[Path] = []
    for folder in reversed(listed(where.data)):
        if not has_manifest(folder) or folder.name.endswith(PART):
            continue
        try:
            manifest = read_manifest(folder, provider)
        except VaultError:
            unknown.append(folder)
            continue
        name = name_of(manifest.id, manifest.created_at)
        if folder.name != name or folder.is_symlink():
            unknown.append(folder)
            continue
        found.append(BackupFolder(folder, where.keys / f"{name}{ENDING}", where.ledger / f"{name}{ENDING}", manifest))
    found.sort(key=lambda each: each.manifest.created_at, reverse=True)
    return found, unknown


def listed(folder: Path) -> list[Path]:
    """List the content of a folder, by name; empty if the folder does not exist.

    Raises:
        Misconfigured: it cannot be read.
    """
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise Misconfigured(
            f"the folder {folder} cannot be read: {error.strerror or type(error).__name__}",
            hint="see whether it belongs to the vault's user",
        ) from None


def has_manifest(folder: Path) -> bool:
    """Return whether a folder contains a manifest; false for an unreadable folder."""
    try:
        return (folder / NAME).is_file()
    except OSError:
        return False
