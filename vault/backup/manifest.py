"""The files of a backup: three folders, so that data, key store and ledger can be kept apart, and the manifest.

::

    TO/data/20260305T120000Z-0195f3a27c1e7b52/manifest.json, data.cdvb, folder.cdvb
    TO/keys/20260305T120000Z-0195f3a27c1e7b52.cdvb
    TO/ledger/20260305T120000Z-0195f3a27c1e7b52.cdvb

While a file is being written, its name ends in ``.part``. A backup exists once its manifest does: the folder of its
data gets its final name last of all.

The manifest describes the files, with row counts and a MAC under the root key. It is JSON without a secret or a value:
ids, times, names of tenants and tables, counts, sizes and digests.
"""

from __future__ import annotations

import hmac
import re
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from vault.crypto.backup_stream import BackupDamaged, NotABackup, manifest_mac, new_manifest_key, other_root
from vault.errors import InvalidInput, Misconfigured, VaultError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vault.backup.postgres_tools import PostgresTools
    from vault.crypto.providers import KeyProvider
    from vault.storage.migrate import Which

FORMAT: Final = "cdv-backup-manifest-1"
NAME: Final = "manifest.json"
Kind = Literal["data", "keys", "ledger", "folder"]
"""The content of a file: one of the three databases, or the policies and settings of the vault's folder."""
KINDS: Final[tuple[Kind, ...]] = ("data", "keys", "ledger", "folder")
DATABASES: Final[tuple[Literal["data", "keys", "ledger"], ...]] = ("data", "keys", "ledger")
_LARGEST: Final = 16 * 1024 * 1024
ENDING: Final = ".cdvb"
PART: Final = ".part"
OURS: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{16}")
"""The form of a backup's name. Other files and folders are left alone."""


class VaultParts(NamedTuple):
    """The parts of a vault that are backed up or restored, and what opens them.

    Attributes:
        folder: of the vault.
        urls: of the databases ``data``, ``keys`` and ``ledger``.
        provider: holds the root key.
        tools: PostgreSQL's programs.
    """

    folder: Path
    urls: Mapping[Which, str]
    provider: KeyProvider
    tools: PostgresTools


class FileFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a backup.

    Attributes:
        size: bytes of the sealed file.
        sha256: digest of the sealed file, in hexadecimal.
        dialect: ``sqlite`` or ``postgresql``; empty for the folder.
        revision: of the database's tables.
        rows: number of rows by table.
        tools: the program that copied the database, with its version.
    """

    size: int
    sha256: str
    dialect: str = ""
    revision: str = ""
    rows: dict[str, int] = {}
    tools: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The description of a backup.

    Attributes:
        created_at: a time before the snapshots of the databases: everything that happened earlier is in them.
        program: version of the program that made it.
        root_reference: which root key opens it.
        ledger_newest: the time of the newest line of the ledger of tombstones before its snapshot.
        keys_expire_at: when the key store is to be deleted.
        key: of the MAC, wrapped.
    """

    id: UUID
    created_at: datetime
    program: str
    root_reference: str
    tenants: list[str]
    files: dict[Kind, FileFacts]
    ledger_newest: datetime | None
    keys_expire_at: datetime
    format: Literal["cdv-backup-manifest-1"] = FORMAT
    key: str = ""


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    manifest: msgspec.Raw
    mac: str


_encoder: Final = msgspec.json.Encoder(order="sorted")


def write_manifest(provider: KeyProvider, manifest: Manifest) -> bytes:
    """Write a manifest with its MAC, as the bytes of its file."""
    backup = str(manifest.id)
    key = new_manifest_key(provider, backup)
    content = _encoder.encode(msgspec.structs.replace(manifest, key=key))
    signed = _Signed(msgspec.Raw(content), manifest_mac(provider, backup, key, content))
    return _encoder.encode(signed) + b"\n"


def read_manifest(folder: Path, provider: KeyProvider) -> Manifest:
    """Read the manifest of the backup in a folder and check its MAC.

    Raises:
        NotABackup: the manifest is missing or invalid.
        Misconfigured: another root key sealed the backup; the hint says which.
        BackupDamaged: it was changed.
    """
    path = folder / NAME
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError:
        raise _no_backup() from None
    try:
        signed = msgspec.json.decode(content, type=_Signed)
        manifest = msgspec.json.decode(signed.manifest, type=Manifest)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # ValueError: not UTF-8
        raise _no_backup() from None
    if manifest.root_reference != provider.reference:
        raise other_root(manifest.root_reference, provider)
    mac = manifest_mac(provider, str(manifest.id), manifest.key, bytes(signed.manifest))
    # The MAC is over the content alone, so the file around it has to be as it is written, to the last byte.
    written = _encoder.encode(signed) + b"\n" == content
    if not hmac.compare_digest(mac.encode(), signed.mac.encode()) or not written or set(manifest.files) != set(KINDS):
        raise BackupDamaged("the manifest was changed after it was made", hint="take another backup")
    return manifest


def _no_backup() -> NotABackup:
    return NotABackup(
        "there is no backup in this folder, or none that this program reads",
        hint=f"a backup's folder holds {NAME}; `cdv backup list` names them",
    )


class Locations(NamedTuple):
    """The three folders that contain the parts of backups."""

    data: Path
    keys: Path
    ledger: Path


class BackupFolder(NamedTuple):
    """One backup: the folder of its data, its manifest, and the files of its key store and ledger, if they exist."""

    folder: Path
    keys: Path
    ledger: Path
    manifest: Manifest

    def file(self, kind: Kind) -> Path:
        """Return the path of the file of a kind."""
        apart = {"keys": self.keys, "ledger": self.ledger}
        return apart.get(kind, self.folder / f"{kind}{ENDING}")


def places(to: Path, *, keys: Path | None = None, ledger: Path | None = None) -> Locations:
    """Return the folders of the backups under a folder. Key stores and ledgers may be elsewhere.

    Raises:
        InvalidInput: two of the three are the same folder, in which their files would have the same names.
    """
    where = Locations(to / "data", keys or to / "keys", ledger or to / "ledger")
    if len({folder.resolve() for folder in where}) < len(where):
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
    """Open a backup by the folder of its data. The manifest is checked; the other files are not.

    Args:
        path: the folder with the manifest.
        keys: the file of the key store; by default in the folder next to the data's.
        ledger: the file of the ledger; by default likewise.

    Raises:
        NotABackup: the folder contains no backup.
        Misconfigured: another root key sealed it.
        BackupDamaged: the manifest was changed.
    """
    folder = path.resolve()
    manifest = read_manifest(folder, provider)
    name, parent = name_of(manifest.id, manifest.created_at) + ENDING, folder.parent.parent
    return BackupFolder(folder, keys or parent / "keys" / name, ledger or parent / "ledger" / name, manifest)


def find_all(where: Locations, provider: KeyProvider) -> tuple[list[BackupFolder], list[Path]]:
    """List the backups, the newest first, and the folders that look like a backup but do not open.

    The latter include copies of a backup under another name, because their key store and ledger are the original's.

    Raises:
        Misconfigured: the folder cannot be read.
    """
    backups: list[BackupFolder] = []
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
        else:
            keys, ledger = where.keys / f"{name}{ENDING}", where.ledger / f"{name}{ENDING}"
            backups.append(BackupFolder(folder, keys, ledger, manifest))
    backups.sort(key=lambda backup: backup.manifest.created_at, reverse=True)
    return backups, unknown


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
