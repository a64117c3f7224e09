"""The first pass over a file: where its chunks begin, and which lines name somebody whom an earlier line has named.

Which line comes first must not depend on which process is quicker, so it is settled before anything is written. What is
remembered of a line is 16 bytes of a digest under a key that nobody keeps; beyond a few million lines they lie in
files that have no name.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from hashlib import blake2b
from itertools import pairwise
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, NamedTuple

from vault.catalogue.types import ValueProblem
from vault.imports.lines import needed_columns
from vault.imports.reader import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vault.imports.lines import LineMaker
    from vault.imports.reader import Line, Reader

DIGEST = 16
BUCKETS = 64
IN_MEMORY = 512 * 1024
"""Bytes of each bucket that stay in memory: all of them together hold 1.4 million lines."""


class Chunk(NamedTuple):
    """Some lines that are written together: their place, how many, and which of them are not to be taken."""

    number: int
    place: Place
    lines: int
    duplicates: tuple[int, ...]


class Survey(NamedTuple):
    """A file as a whole."""

    lines: int
    chunks: list[Chunk]


def survey(reader: Reader, maker: LineMaker, size: int, seen: Callable[[int], None]) -> Survey:
    """Go through a file once.

    Args:
        reader: of the file.
        maker: tells by which names a line is known.
        size: lines of a chunk.
        seen: is told now and then how far the pass is (bytes, or rows of a Parquet file).

    Raises:
        InvalidInput: the file is broken so that nobody can say where a line ends.
    """
    with ExitStack() as stack:
        return _survey(reader, maker, size, seen, _Names(stack))


def _survey(reader: Reader, maker: LineMaker, size: int, seen: Callable[[int], None], names: _Names) -> Survey:
    places: list[tuple[Place, int]] = []
    in_chunk = total = start = first = end = 0
    for line, begin, end in reader.scan(needed_columns(maker.identifying)):
        if in_chunk == 0:
            start, first = begin, line.number
        names.add(line.number, _known_by(maker, line))
        in_chunk += 1
        if in_chunk == size:
            places.append((Place(start, end, first), in_chunk))
            total, in_chunk = total + in_chunk, 0
            seen(end)
    if in_chunk:
        places.append((Place(start, end, first), in_chunk))
    duplicates = sorted(names.repeated())
    return Survey(total + in_chunk, list(_chunks(places, duplicates)))


def _chunks(places: list[tuple[Place, int]], duplicates: list[int]) -> Iterator[Chunk]:
    position = 0
    for number, (place, lines) in enumerate(places):
        following = places[number + 1][0].line if number + 1 < len(places) else None
        begin = position
        while position < len(duplicates) and (following is None or duplicates[position] < following):
            position += 1
        yield Chunk(number, place, lines, tuple(duplicates[begin:position]))


def _known_by(maker: LineMaker, line: Line) -> list[str]:
    if line.row is None:
        return []
    try:
        return maker.names(line.row)
    except ValueProblem:
        return []  # the line will be refused for it


class _Names:
    """Remembers what lines are known by, and tells which lines repeat an earlier one's."""

    def __init__(self, stack: ExitStack) -> None:
        self._key = os.urandom(32)
        self._buckets = [
            stack.enter_context(SpooledTemporaryFile(max_size=IN_MEMORY))  # noqa: SIM115 - the stack closes it
            for _bucket in range(BUCKETS)
        ]

    def add(self, line: int, names: list[str]) -> None:
        """Remember a line."""
        for name in names:
            digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=DIGEST, key=self._key).digest()
            self._buckets[digest[0] % BUCKETS].write(digest + line.to_bytes(8, "big"))

    def repeated(self) -> set[int]:
        """List the lines that share a name with an earlier line."""
        found: set[int] = set()
        for bucket in self._buckets:
            bucket.seek(0)
            data = bucket.read()
            step = DIGEST + 8
            entries = sorted(data[at : at + step] for at in range(0, len(data), step))
            # Sorted by digest and then by line: of those alike, the first one stays.
            for earlier, entry in pairwise(entries):
                if entry[:DIGEST] == earlier[:DIGEST]:
                    found.add(int.from_bytes(entry[DIGEST:], "big"))
        return found
