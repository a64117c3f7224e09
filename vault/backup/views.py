"""The answers about backups, restores and the databases of a vault."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from pydantic import Field

from vault.views import Moment, OmitIfNone, View

if TYPE_CHECKING:
    from vault.backup.manifest import BackupFolder


class Backup(View):
    """A backup, and which of its files still exist."""

    id: UUID
    created_at: Moment
    folder: Path
    keys: Annotated[Path | None, Field(description="Its key store; null once that is deleted.")]
    keys_expire_at: Annotated[Moment, Field(description="When the key store is to be deleted.")]
    ledger: Annotated[Path | None, Field(description="Its copy of the restore ledger; null once that is deleted.")]
    tenants: list[str]
    rows: int
    bytes: int

    @classmethod
    def of(cls, backup: BackupFolder) -> Backup:
        """Show a backup."""
        manifest = backup.manifest
        return cls(
            id=manifest.id,
            created_at=manifest.created_at,
            folder=backup.folder,
            keys=backup.keys if backup.keys.is_file() else None,
            keys_expire_at=manifest.keys_expire_at,
            ledger=backup.ledger if backup.ledger.is_file() else None,
            tenants=manifest.tenants,
            rows=sum(sum(facts.rows.values()) for facts in manifest.files.values()),
            bytes=sum(facts.size for facts in manifest.files.values()),
        )


class OpenedSample(View):
    """The people whose values were opened with the keys of a backup."""

    people: int
    values: int
    of: Annotated[int, Field(description="People with records in the backup.")]


class VerifiedBackup(View):
    """A backup that can be restored: its rows by database and table, and the sample of values that was opened."""

    id: UUID
    rows: dict[str, dict[str, int]]
    sample: OpenedSample


class PrunedBackups(View):
    """The names of what was deleted."""

    backups: list[str]
    keys: Annotated[list[str], Field(description="Backups of which only the key store was deleted.")]
    leftovers: Annotated[list[str], Field(description="Files and folders of unfinished backups.")]
    unknown: Annotated[list[str], Field(description="What looks like a backup and is none of this vault; not deleted.")]


class RestoredVault(View):
    """A restored vault, and what the replay of the restore ledger did to it."""

    vault: Path
    lines: int
    denials: int
    erasures: int
    holds: int
    accesses: int
    unknown: Annotated[int, Field(description="Lines about tenants that were added after the backup.")]


class DatabaseState(View):
    """A database of a vault: its kind, and whether it is at the version of the program."""

    dialect: str
    current: bool


class PendingRestore(View):
    """A restore into which the restore ledger is not replayed yet; until then the vault is closed to readers."""

    backed_up_at: Moment
    replayed: bool = False


class DatabaseStates(View):
    """The databases of a vault."""

    data: DatabaseState
    keys: DatabaseState
    ledger: DatabaseState
    restored: OmitIfNone[PendingRestore] = None


class DatabaseUpgrade(View):
    """The revision of a database before and after an upgrade; the same if nothing was pending."""

    before: str | None
    after: str | None


class DatabaseUpgrades(View):
    """What an upgrade did to the databases of a vault."""

    data: DatabaseUpgrade
    keys: DatabaseUpgrade
    ledger: DatabaseUpgrade
