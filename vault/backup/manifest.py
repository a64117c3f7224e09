"""The manifest of a backup: the content of its files, the row counts, and a MAC under the root key.

It is JSON without a secret or a value: ids, moments, names of tenants and tables, counts, sizes and digests.
"""

from __future__ import annotations

import hmac
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

import msgspec

from vault.crypto.backup_stream import BackupDamaged, NotABackup, manifest_mac, new_manifest_key, other_root

if TYPE_CHECKING:
    from pathlib import Path

    from vault.crypto.providers import KeyProvider

FORMAT: Final = "cdv-backup-manifest-1"
NAME: Final = "manifest.json"
Kind = Literal["data", "keys", "ledger", "folder"]
"""What a file of a backup holds: one of the three databases, or the policies and settings of the vault's folder."""
KINDS: Final[tuple[Kind, ...]] = ("data", "keys", "ledger", "folder")
DATABASES: Final[tuple[Literal["data", "keys", "ledger"], ...]] = ("data", "keys", "ledger")
_LARGEST: Final = 16 * 1024 * 1024


class FileFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a backup.

    Attributes:
        size: bytes of the sealed file.
        sha256: its digest, in hexadecimal.
        dialect: ``sqlite`` or ``postgresql``; empty for the folder.
        revision: of the database's tables.
        rows: in each table.
        tools: which program wrote it, where it was not the vault.
    """

    size: int
    sha256: str
    dialect: str = ""
    revision: str = ""
    rows: dict[str, int] = {}
    tools: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup says of itself.

    Attributes:
        id: of the backup.
        created_at: a moment before its picture of the databases was taken: all that happened earlier is in it.
        program: version of the program that made it.
        root_reference: which root key opens it.
        tenants: their names.
        files: by kind.
        ledger_newest: when the last line was written that the ledger of tombstones had before its picture was taken.
        keys_expire_at: when its key store is to be gone, as the one who made it planned.
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
    if not hmac.compare_digest(mac.encode(), signed.mac.encode()) or set(manifest.files) != set(KINDS):
        raise BackupDamaged("the manifest was changed after it was made", hint="take another backup")
    return manifest


def _no_backup() -> NotABackup:
    return NotABackup(
        "there is no backup in this folder, or none that this program reads",
        hint=f"a backup's folder holds {NAME}; `cdv backup list` names them",
    )
