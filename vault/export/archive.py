"""Write the ZIP of a package as a stream, without a file on disk and with little memory.

Each ZIP has the same restricted layout, and :mod:`vault.export.verify` accepts no other: plain entries one after the
other from the first byte, each deflated and followed by its data descriptor, then the central directory and its end
record. There are no folders, links, comments, extra fields or ZIP64 records.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from vault.errors import InvalidInput, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence

LARGEST: Final = 2**31 - 1
"""Bytes of a package, and of all its entries before compression. Larger files would need ZIP64."""
MOST_ENTRIES: Final = 1_000
LONGEST_NAME: Final = 120
MODE: Final = 0o100644
"""The Unix mode of a regular file."""
MANIFEST: Final = "manifest.json"

_STEP: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_NAME: Final = re.compile(rf"{_STEP}(/{_STEP}){{0,3}}", re.ASCII)
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{digit}" for digit in range(10)), *(f"lpt{digit}" for digit in range(10))}
)
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The time of every entry: the same content gives the same bytes."""
_MADE_ON_UNIX: Final = 3


class UnsafeName(InvalidInput):
    """An entry's name could be unpacked to something other than a file below the target folder."""

    code = "unsafe-name"


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """An entry, as listed in the manifest."""

    name: str
    size: int
    sha256: bytes


def check_name(name: str, taken: set[str]) -> None:
    """Check that a name is safe and not in use, and add it to the names in use.

    A safe name is unpacked to the same file on every system: at most four path segments of ASCII characters, each
    beginning with a letter or digit, no Windows device, no segment ending in a dot, and no two names that differ only
    in case.

    Raises:
        UnsafeName: the name is not safe, or is in use.
    """
    steps = name.split("/")
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise UnsafeName("an entry's name has a character or a step that is not safe in a file name")
    if any(step.endswith(".") or step.partition(".")[0].lower() in _DEVICES for step in steps):
        raise UnsafeName("an entry's name is a device name on some systems")
    folders = {"/".join(steps[:end]).lower() for end in range(1, len(steps))}
    if name.lower() in taken or f"{name.lower()}/" in taken or taken & folders:
        raise UnsafeName("two entries have the same name, or names that are equal on some systems")
    taken.add(name.lower())
    taken.update(f"{folder}/" for folder in folders)


async def write_archive(
    entries: AsyncIterable[tuple[str, AsyncIterable[bytes]]], manifest: Callable[[Sequence[ArchiveEntry]], bytes]
) -> AsyncIterator[bytes]:
    """Write a ZIP as a stream.

    Args:
        entries: names and contents; each content is read to its end before the next entry is requested.
        manifest: returns the last entry, given the list of all others.

    Raises:
        UnsafeName: an entry's name is not safe.
        TooLarge: the package would be larger than :data:`LARGEST`.
    """
    writer = _Writer()
    try:
        async for name, pieces in entries:
            writer.begin(name)
            async for piece in pieces:
                writer.write(piece)
                if (written := writer.take()) is not None:
                    yield written
            writer.end()
        content = manifest(tuple(writer.listed))
        writer.begin(MANIFEST)
        writer.write(content)
        writer.end()
        yield writer.finish()
    finally:
        writer.close()


class Sink:
    """Buffers the output of a :class:`ZipFile`. It is not seekable, so that a stream with data descriptors results."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.total = 0

    def write(self, data: bytes) -> int:
        """Add to the output."""
        self.buffer += data
        self.total += len(data)
        return len(data)

    def take(self) -> bytes | None:
        """Return the buffered output, once there is enough of it."""
        if len(self.buffer) < 1 << 15:
            return None
        ready, self.buffer = bytes(self.buffer), bytearray()
        return ready

    def flush(self) -> None:
        """Do nothing: the buffer is emptied by :meth:`take`."""

    def close(self) -> None:
        """Do nothing."""


class _Writer:
    def __init__(self) -> None:
        self.listed: list[ArchiveEntry] = []
        self._taken: set[str] = set()
        self._sink = Sink()
        self._zip = ZipFile(self._sink, "w", ZIP_DEFLATED, allowZip64=False)
        self._entry: IO[bytes] | None = None
        self._total = 0

    def begin(self, name: str) -> None:
        check_name(name, self._taken)
        if len(self.listed) == MOST_ENTRIES:
            raise _too_large()
        info = ZipInfo(name, EPOCH)
        info.compress_type, info.create_system, info.external_attr = ZIP_DEFLATED, _MADE_ON_UNIX, MODE << 16
        self._name, self._size, self._digest = name, 0, hashlib.sha256()
        self._entry = self._zip.open(info, "w")

    def write(self, piece: bytes) -> None:
        self._size += len(piece)
        self._total += len(piece)
        if self._total > LARGEST or self._sink.total > LARGEST - len(piece):
            raise _too_large()
        self._digest.update(piece)
        if self._entry is not None:
            self._entry.write(piece)

    def end(self) -> None:
        self._close_entry()
        self.listed.append(ArchiveEntry(self._name, self._size, self._digest.digest()))

    def take(self) -> bytes | None:
        """Return the buffered output, once there is enough of it."""
        return self._sink.take()

    def finish(self) -> bytes:
        """Write the central directory; return the rest of the output."""
        self._zip.close()
        if self._sink.total > LARGEST:
            raise _too_large()
        return bytes(self._sink.buffer)

    def close(self) -> None:
        """Release the writer, also in the middle of an entry."""
        self._close_entry()
        self._zip.close()

    def _close_entry(self) -> None:
        if self._entry is not None:
            self._entry.close()
            self._entry = None


def _too_large() -> TooLarge:
    return TooLarge(
        "the package would be larger than 2 GB", code="package-too-large", hint="narrow the request's scope"
    )
