"""Make a backup while the vault is in use: snapshots of data, keys and ledger, each in a sealed file of its own.

1. The snapshots are taken together (:func:`vault.backup.snapshot.pinned`), and their rows are counted.
2. Each is written under a temporary name, sealed under a new file key, and made durable.
3. The audit log records the backup.
4. Only then the files get their final names, the folder with the manifest last. Files that an interrupted run leaves
   belong to no manifest; ``cdv backup prune`` deletes them.

A backup never contains the root key. It does not contain the state of jobs, which is derived from the tables.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tarfile
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from vault.access.authorization import audit_entry
from vault.access.callers import operator_caller
from vault.access.recording import record_failure
from vault.backup.manifest import (
    DATABASES,
    ENDING,
    NAME,
    PART,
    BackupFolder,
    FileFacts,
    Manifest,
    name_of,
    write_manifest,
)
from vault.backup.sealed_file import Sealing, being_made, cannot_write, publish, seal_file, sync_folder, write_file
from vault.backup.snapshot import pinned
from vault.errors import Misconfigured
from vault.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from uuid import UUID

    from vault.backup.manifest import Kind, Locations, VaultParts
    from vault.backup.sealed_file import Written
    from vault.backup.snapshot import Contents, Snapshot
    from vault.catalogue.periods import Period
    from vault.context import Services
    from vault.storage.migrate import Which


_MODE: Final = 0o700


async def make_backup(
    services: Services, source: VaultParts, where: Locations, *, keys_for: Period, progress: Callable[[str, int], None]
) -> BackupFolder:
    """Make a backup.

    Args:
        where: the folders for the backup; missing ones are created.
        keys_for: how long the key store is to be kept.
        progress: called with the kind of a file and the bytes written so far, possibly from another thread.

    Raises:
        Misconfigured: a folder cannot be written to, or PostgreSQL's programs are missing or too old.
        Unavailable: a database, or the audit log, does not answer.
        DatabaseDamaged: a database has a damaged page.
    """
    try:
        return await _make(services, source, where, keys_for, progress)
    except Exception as error:
        await record_failure(services, operator_caller(), "backup", error)
        raise


async def _make(
    services: Services, source: VaultParts, where: Locations, keys_for: Period, progress: Callable[[str, int], None]
) -> BackupFolder:
    sealing = Sealing(source.provider, new_id(), services.clock.now())  # the time is before the snapshots
    work = _Work(where, name_of(sealing.id, sealing.created_at))
    try:
        work.lay_out()
        newest = await services.restore_ledger.newest()  # before the snapshot: every line up to this one is in it
        async with pinned(source.urls, source.tools) as snapshots:
            contents = {kind: await snapshots[kind].contents() for kind in DATABASES}
            written: dict[Kind, Written] = {}
            for kind in DATABASES:
                chunks = snapshots[kind].chunks(work.scratch_of(kind))
                written[kind] = await work.seal(sealing, kind, chunks, progress)
        written["folder"] = await work.seal(sealing, "folder", [archived(source.folder)], progress)
        manifest = Manifest(
            id=sealing.id,
            created_at=sealing.created_at,
            program=version("customer-data-vault"),
            root_reference=source.provider.reference,
            tenants=[str(name) for name in await services.keyring.tenants()],
            files=_facts(written, snapshots, contents),
            ledger_newest=newest,
            keys_expire_at=keys_for.after(sealing.created_at),
        )
        work.write_manifest(await asyncio.to_thread(write_manifest, source.provider, manifest))
        await note_backup(services, sealing.id, None)
        work.publish()
    except BaseException:
        work.clear()
        raise
    finally:
        work.end()
    return BackupFolder(work.folder, work.path("keys"), work.path("ledger"), manifest)


class _Work:
    """The files of a backup that is being made; all have temporary names until the end."""

    def __init__(self, where: Locations, name: str) -> None:
        self._where = where
        self._name = name
        self.folder = where.data / name
        self.scratch = where.data / f"{name}{PART}"
        self._lock: int | None = None
        self._stopped = False

    def path(self, kind: Kind) -> Path:
        """Return the path of the file of a kind, in the unnamed folder if it belongs to the data."""
        apart = {"keys": self._where.keys, "ledger": self._where.ledger}.get(kind)
        return self.scratch / f"{kind}{ENDING}" if apart is None else apart / f"{self._name}{ENDING}"

    def scratch_of(self, kind: Kind) -> Path:
        """Return the path for a temporary copy of a kind, on the disk on which its file will be."""
        return self.path(kind).with_name(f"{self._name}.{kind}{ENDING}{PART}")

    def lay_out(self) -> None:
        """Create the folders. The folder of this backup is new, and locked while the backup is being made."""
        try:
            for folder in self._where:
                folder.mkdir(mode=_MODE, parents=True, exist_ok=True)
            self.scratch.mkdir(mode=_MODE)
            self._lock = being_made(self.scratch)
        except OSError as error:
            raise cannot_write(self.scratch, error) from None

    async def seal(
        self, sealing: Sealing, kind: Kind, chunks: Iterable[bytes], progress: Callable[[str, int], None]
    ) -> Written:
        """Write the file of a kind in a thread. A cancellation, such as Ctrl-C, stops the thread as well."""

        def report(what: str, size: int) -> None:
            if self._stopped:
                raise InterruptedError
            progress(what, size)

        return await asyncio.to_thread(seal_file, sealing, kind, self.path(kind), chunks, report)

    def write_manifest(self, content: bytes) -> None:
        """Write the manifest and give the other files of the data their names, inside the unnamed folder."""
        write_file(self.scratch / NAME, [content])
        for kind in ("data", "folder"):
            final = self.scratch / f"{kind}{ENDING}"
            publish(final.with_name(final.name + PART), final)

    def publish(self) -> None:
        """Rename all files to their final names, the folder with the manifest last: no partial backup is visible."""
        for kind in ("keys", "ledger"):
            final = self.path(kind)
            publish(final.with_name(final.name + PART), final)
        sync_folder(self.scratch)
        publish(self.scratch, self.folder)

    def clear(self) -> None:
        """Delete what was written, as far as possible."""
        self._stopped = True
        if self._lock is None:
            return
        with suppress(OSError):
            if not self.scratch.is_dir():  # it has its final name, but may not be durable
                (self.folder / NAME).unlink()
                shutil.rmtree(self.folder)
            for kind in ("keys", "ledger"):
                path = self.path(kind)
                for file in (path, path.with_name(path.name + PART)):
                    file.unlink(missing_ok=True)
            if self.scratch.is_dir():
                shutil.rmtree(self.scratch)

    def end(self) -> None:
        """Release the lock of the run."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _facts(
    written: Mapping[Kind, Written], snapshots: Mapping[Which, Snapshot], contents: Mapping[Which, Contents]
) -> dict[Kind, FileFacts]:
    facts: dict[Kind, FileFacts] = {
        kind: FileFacts(
            size=written[kind].size,
            sha256=written[kind].sha256,
            dialect=snapshots[kind].dialect,
            revision=contents[kind].revision,
            rows=contents[kind].rows,
            tools=snapshots[kind].tools,
        )
        for kind in DATABASES
    }
    return facts | {"folder": FileFacts(size=written["folder"].size, sha256=written["folder"].sha256)}


FOLDER: Final = ("cdv.toml", "policies", "tenants")
"""The parts of the vault's folder that are backed up."""
_ROOT_KEY: Final = b"cdv-root-"


def archived(folder: Path) -> bytes:
    """Return policies and settings of a vault's folder as a tar archive, without the root key wherever it is.

    Links are followed, because policies behind a link would be missing after a restore. A link to its own folder, or
    above the vault, is left out.

    Raises:
        Misconfigured: a file cannot be read.
    """
    archive = io.BytesIO()
    above = frozenset((folder.resolve(), *folder.resolve().parents))
    try:
        with tarfile.TarFile(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT, dereference=True) as tar:
            for name in FOLDER:
                for path, inside in _found(folder / name, name, above):
                    tar.add(path, arcname=inside, recursive=False, filter=_without_owner)
    except OSError as error:
        raise Misconfigured(
            f"the vault's policies and settings cannot be read: {error.strerror or type(error).__name__}",
            hint="see whether all in cdv.toml, policies and tenants belongs to the vault's user",
        ) from None
    return archive.getvalue()


def _found(path: Path, inside: str, above: frozenset[Path]) -> Iterator[tuple[Path, str]]:
    """Iterate over files and folders, with their names in the archive; ``above`` are the folders on the way here."""
    real = path.resolve()
    if real in above:
        return
    if path.is_dir():
        yield path, inside
        for member in sorted(path.iterdir()):
            yield from _found(member, f"{inside}/{member.name}", above | {real})
    elif path.is_file():
        with path.open("rb") as file:
            is_root_key = file.read(len(_ROOT_KEY)) == _ROOT_KEY
        if not is_root_key:
            yield path, inside


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


async def note_backup(services: Services, backup: UUID, code: str | None, *, decision: str = "allowed") -> None:
    """Record in every tenant's audit log that a backup was made, verified or deleted; durable at the return.

    A completed backup is also recorded in the ledger of tombstones, so that a restore can recognize the right ledger.

    Args:
        code: ``verified``, ``pruned`` or ``keys-pruned``; None for a backup that was made.
        decision: ``failed`` if a verification failed.

    Raises:
        Unavailable: the audit log or the ledger of tombstones does not answer.
    """
    if code is None and decision == "allowed":
        await services.restore_ledger.add_backup(backup, services.clock.now())
    for tenant in await services.keyring.tenants():
        entry = audit_entry(
            services, operator_caller(tenant), action="backup", decision=decision, target=backup, code=code
        )
        await services.audit_log.append(entry)
