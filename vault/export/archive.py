"""The ZIP of a package, written piece by piece: nothing of it lies on a disk, and little of it in memory.

Every ZIP of ours has one shape, and the check knows no other: plain entries one after the other from the first byte,
each deflated and followed by its data descriptor, then the directory, then its end, and nothing else. No folders, no
links, no comments, no extra fields, no ZIP64.
"""

from __future__ import annotations

import hashlib
import re
from typing import IO, TYPE_CHECKING, Final, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from vault.errors import InvalidInput, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence

LARGEST: Final = 2**31 - 1
"""Bytes of a package, and of all its entries together before they were deflated: what needs no ZIP64."""
MOST_ENTRIES: Final = 1_000
LONGEST_NAME: Final = 120
MODE: Final = 0o100644
"""A plain file, as Unix writes it."""
MANIFEST: Final = "manifest.json"

_STEP: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_NAME: Final = re.compile(rf"{_STEP}(/{_STEP}){{0,3}}", re.ASCII)
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{digit}" for digit in range(10)), *(f"lpt{digit}" for digit in range(10))}
)
_ALWAYS: Final = (1980, 1, 1, 0, 0, 0)
_MADE_ON_UNIX: Final = 3


class UnsafeName(InvalidInput):
    """An entry's name could mean something else than a file below the folder into which somebody unpacks."""

    code = "unsafe-name"


class Listed(NamedTuple):
    """An entry as the manifest lists it."""

    name: str
    size: int
    sha256: bytes


def check_name(name: str, taken: set[str]) -> None:
    """See that a name is a safe one and is not taken, and take it.

    Safe is what every system unpacks to the same file: steps of plain ASCII that begin with a letter or digit, at most
    four of them, no device of Windows, no step ending in a dot, and none that differs from another in case only.

    Raises:
        UnsafeName: it is not.
    """
    steps = name.split("/")
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise UnsafeName("an entry's name has a character or a step that is not safe in a file name")
    if any(step.endswith(".") or step.partition(".")[0].lower() in _DEVICES for step in steps):
        raise UnsafeName("an entry's name is the name of a device on some system")
    folders = {"/".join(steps[:end]).lower() for end in range(1, len(steps))}
    if name.lower() in taken or f"{name.lower()}/" in taken or taken & folders:
        raise UnsafeName("two entries have one name, or names that some system takes for one")
    taken.add(name.lower())
    taken.update(f"{folder}/" for folder in folders)


async def write_archive(
    entries: AsyncIterable[tuple[str, AsyncIterable[bytes]]], manifest: Callable[[Sequence[Listed]], bytes]
) -> AsyncIterator[bytes]:
    """Write a ZIP, in pieces as they come.

    Args:
        entries: names, and bytes of which each entry's are read to their end before the next is asked for.
        manifest: makes the last entry from the list of all others.

    Raises:
        UnsafeName: an entry's name is not safe.
        TooLarge: it is more than a package may hold.
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
        made = manifest(tuple(writer.listed))
        writer.begin(MANIFEST)
        writer.write(made)
        writer.end()
        yield writer.finish()
    finally:
        writer.close()


class _Sink:
    """Takes what is written, and cannot go back: so the ZIP is written as a stream."""

    def __init__(self) -> None:
        self.waiting = bytearray()
        self.total = 0

    def write(self, data: bytes) -> int:
        self.waiting += data
        self.total += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: there is nothing behind."""

    def close(self) -> None:
        """Do nothing, either."""


class _Writer:
    def __init__(self) -> None:
        self.listed: list[Listed] = []
        self._taken: set[str] = set()
        self._sink = _Sink()
        self._zip = ZipFile(self._sink, "w", ZIP_DEFLATED, allowZip64=False)
        self._entry: IO[bytes] | None = None
        self._total = 0

    def begin(self, name: str) -> None:
        check_name(name, self._taken)
        if len(self.listed) == MOST_ENTRIES:
            raise _too_large()
        info = ZipInfo(name, _ALWAYS)
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
        self.listed.append(Listed(self._name, self._size, self._digest.digest()))

    def take(self) -> bytes | None:
        """Return what is ready to go, once it is worth a piece of its own."""
        if len(self._sink.waiting) < 1 << 15:
            return None
        ready, self._sink.waiting = bytes(self._sink.waiting), bytearray()
        return ready

    def finish(self) -> bytes:
        """Write the directory; return all that is left."""
        self._zip.close()
        if self._sink.total > LARGEST:
            raise _too_large()
        return bytes(self._sink.waiting)

    def close(self) -> None:
        """Let go of what was not finished."""
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
