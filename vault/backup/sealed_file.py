"""The sealed files of a backup: written as a whole or not at all, opened piece by piece, and checked before use."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from vault.backup.manifest import PART
from vault.clock import rfc3339
from vault.crypto.backup_stream import BackupDamaged, NotABackup, begin, open_stream
from vault.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    from vault.backup.manifest import BackupFolder, Kind
    from vault.crypto.backup_stream import Opener
    from vault.crypto.providers import KeyProvider

    Progress = Callable[[str, int], None]
    """Called with the name of a step and its bytes so far."""

_MODE: Final = 0o600
_CHUNK: Final = 1024 * 1024


class Written(NamedTuple):
    """A file under its temporary name: its size and its SHA-256."""

    path: Path
    size: int
    sha256: str


class Sealing(NamedTuple):
    """The backup to which a file belongs, and the root key that seals it."""

    provider: KeyProvider
    id: UUID
    created_at: datetime


def seal_file(sealing: Sealing, kind: Kind, path: Path, chunks: Iterable[bytes], progress: Progress) -> Written:
    """Write a file of a backup under its temporary name; durable at the return.

    Args:
        path: the final path; :func:`publish` renames the file.
        chunks: the plaintext.
        progress: called with the kind and the bytes written so far.

    Raises:
        Misconfigured: the file cannot be written.
    """
    sealer = begin(sealing.provider, kind, str(sealing.id), rfc3339(sealing.created_at))
    part = path.with_name(path.name + PART)
    digest, size = hashlib.sha256(), 0
    with _writing(part) as opened:
        for piece in sealer.seal(chunks):
            _write_all(opened, piece)
            digest.update(piece)
            size += len(piece)
            progress(kind, size)
        os.fsync(opened)
    return Written(part, size, digest.hexdigest())


def write_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a new file that only its owner can read. Its content is durable at the return, its name is not."""
    with _writing(path) as opened:
        for chunk in chunks:
            _write_all(opened, chunk)
        os.fsync(opened)


@contextmanager
def _writing(path: Path) -> Iterator[int]:
    """Open a new file that only its owner can read; raises ``Misconfigured`` if it cannot be written."""
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), _MODE)
        try:
            yield opened
        finally:
            os.close(opened)
    except OSError as error:
        raise cannot_write(path, error) from None


def cannot_write(path: Path, error: OSError) -> Misconfigured:
    """Return the error for a file or folder that cannot be written."""
    return Misconfigured(
        f"the backup cannot be written to {path.parent}: {error.strerror or type(error).__name__}",
        hint="see whether the disk is full, and whether the folder belongs to the vault's user",
    )


def cannot_delete(path: Path, error: OSError) -> Misconfigured:
    """Return the error for a file or folder that cannot be deleted."""
    return Misconfigured(
        f"{path} cannot be deleted: {error.strerror or type(error).__name__}",
        hint="check the file's owner, then run the command again to delete the rest",
    )


def being_made(folder: Path) -> int:
    """Lock a folder in which a backup is being made, until the returned descriptor is closed.

    The lock ends with the process, and stays when the folder gets its final name. If the file system has no locks for
    folders, there is none.

    Raises:
        OSError: the folder does not exist.
    """
    opened = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    with suppress(OSError):
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return opened


def is_being_made(folder: Path) -> bool:
    """Return whether a process on this machine is making a backup in a folder."""
    try:
        opened = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(opened)
    return False


def publish(part: Path, final: Path) -> None:
    """Rename a complete file or folder to its final name; durable at the return."""
    try:
        part.rename(final)
        sync_folder(final.parent)
    except OSError as error:
        raise cannot_write(final, error) from None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def open_backup(path: Path, provider: KeyProvider) -> Iterator[Opener]:
    """Open one file of a backup: the ``header`` is read, and iterating yields the plaintext in pieces.

    Raises:
        NotABackup: the file does not exist, or is not a file of a backup.
        Misconfigured: another root key sealed it.
        BackupDamaged: it was changed or cut off; the latter is noticed at the last piece.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise NotABackup(
            f"the backup's file {path} cannot be read: {error.strerror}",
            hint="backups of the key store are kept apart and for a shorter time; name the file if it is elsewhere",
        ) from None
    with file:
        yield open_stream(file, provider)


@contextmanager
def open_part(backup: BackupFolder, kind: Kind, provider: KeyProvider) -> Iterator[Opener]:
    """Open the file of a kind; raises what :func:`open_backup` raises, and NotABackup for another backup's file."""
    with open_backup(backup.file(kind), provider) as opener:
        header = opener.header
        if header.kind != kind:
            raise NotABackup(
                f"the file {backup.file(kind)} holds the part `{header.kind}` of a backup, and not `{kind}`",
                hint="name the file of the right part",
            )
        if header.id != str(backup.manifest.id):
            this = rfc3339(backup.manifest.created_at)
            raise NotABackup(
                f"the file {backup.file(kind)} belongs to the backup of {header.created_at}, and not to this one",
                hint=f"this backup is of {this}; take the part `{kind}` of the same backup",
            )
        yield opener


def check_files(backup: BackupFolder, provider: KeyProvider, progress: Progress, kinds: Iterable[Kind]) -> None:
    """Check that files exist, belong to this backup, are as the manifest says, and open to the last byte.

    Raises:
        NotABackup: a file is missing, is not a backup's, or belongs to another backup.
        Misconfigured: another root key sealed it.
        BackupDamaged: it was cut off or changed.
    """
    for kind in kinds:
        with open_part(backup, kind, provider):
            pass  # first the errors that are found at once
    for kind in kinds:
        _require_as_written(backup, kind, progress)
        with open_part(backup, kind, provider) as opener:
            for _piece in opener:
                pass


def _require_as_written(backup: BackupFolder, kind: Kind, progress: Progress) -> None:
    facts, digest, size = backup.manifest.files[kind], hashlib.sha256(), 0
    path = backup.file(kind)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                progress(kind, size)
    except OSError as error:
        raise BackupDamaged(
            f"the file {backup.file(kind)} cannot be read to its end: {error.strerror or type(error).__name__}",
            hint="its disk may be failing: copy it once more from where it was made, or take another backup",
        ) from None
    if size != facts.size:
        raise BackupDamaged(
            f"the file {backup.file(kind)} has {size:,} bytes and not the {facts.size:,} that were written",
            hint="it was cut off on the way: copy it once more, or take another backup",
        )
    if digest.hexdigest() != facts.sha256:
        raise BackupDamaged(
            f"the file {backup.file(kind)} is not as it was written",
            hint="its disk or the copying has changed it: copy it once more, or take another backup",
        )


def _write_all(opened: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(opened, view) :]
