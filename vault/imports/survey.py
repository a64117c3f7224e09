"""The first pass over a file: find where its chunks begin, and which lines repeat an earlier line's external id.

Which of two duplicate lines counts must not depend on which process is faster, so it is decided before anything is
written. Of each line, 16 bytes of a keyed digest are remembered; the key exists only in memory. Beyond a few million
lines, the digests are stored in unnamed temporary files.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

from vault.catalogue.types import ValueProblem
from vault.imports.lines import columns_of_all
from vault.imports.readers import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vault.imports.lines import LineParser
    from vault.imports.readers import Line, Reader

DIGEST = 16
BUCKETS = 64
IN_MEMORY = 512 * 1024
"""Bytes of each bucket that stay in memory: 1.4 million lines in all buckets."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Lines that are written together: where they are, how many, and the numbers of the duplicates among them."""

    number: int
    span: Span
    lines: int
    duplicates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FileSurvey:
    """The result of the first pass."""

    lines: int
    chunks: list[Chunk]


def survey_file(reader: Reader, parser: LineParser, size: int, progress: Callable[[int], None]) -> FileSurvey:
    """Read a file once.

    Args:
        parser: finds the external ids of a line.
        size: lines of a chunk.
        progress: is called with the position (bytes, or rows of a Parquet file).

    Raises:
        InvalidInput: the file is malformed, so that the ends of its lines cannot be found.
    """
    with ExitStack() as stack:
        ids = _ExternalIds(stack)
        spans: list[tuple[Span, int]] = []
        in_chunk = total = start = first = end = 0
        for line, begin, end in reader.scan(columns_of_all(parser.identifying)):
            if in_chunk == 0:
                start, first = begin, line.number
            ids.add(line.number, _ids_of(parser, line))
            in_chunk += 1
            if in_chunk == size:
                spans.append((Span(start, end, first), in_chunk))
                total, in_chunk = total + in_chunk, 0
                progress(end)
        if in_chunk:
            spans.append((Span(start, end, first), in_chunk))
        return FileSurvey(total + in_chunk, list(_chunks(spans, sorted(ids.repeated()))))


def _chunks(spans: list[tuple[Span, int]], duplicates: list[int]) -> Iterator[Chunk]:
    position = 0
    for number, (span, lines) in enumerate(spans):
        following = spans[number + 1][0].line if number + 1 < len(spans) else None
        begin = position
        while position < len(duplicates) and (following is None or duplicates[position] < following):
            position += 1
        yield Chunk(number, span, lines, tuple(duplicates[begin:position]))


def _ids_of(parser: LineParser, line: Line) -> list[str]:
    if line.row is None:
        return []
    try:
        return parser.ids(line.row)
    except ValueProblem:
        return []  # the line will be refused for it


class _ExternalIds:
    """Remembers the external ids of lines, and finds the lines that repeat one."""

    def __init__(self, stack: ExitStack) -> None:
        self._key = os.urandom(32)
        self._buckets = [
            stack.enter_context(SpooledTemporaryFile(max_size=IN_MEMORY))  # noqa: SIM115 - the stack closes it
            for _bucket in range(BUCKETS)
        ]

    def add(self, line: int, ids: list[str]) -> None:
        """Remember a line."""
        for external_id in ids:
            digest = blake2b(external_id.encode("utf-8", "surrogatepass"), digest_size=DIGEST, key=self._key).digest()
            self._buckets[digest[0] % BUCKETS].write(digest + line.to_bytes(8, "big"))

    def repeated(self) -> set[int]:
        """List the lines that share an id with an earlier line."""
        lines: set[int] = set()
        for bucket in self._buckets:
            bucket.seek(0)
            data = bucket.read()
            step = DIGEST + 8
            entries = sorted(data[at : at + step] for at in range(0, len(data), step))
            # The entries are sorted by digest and then by line, so that of equal digests the first line remains.
            for earlier, entry in pairwise(entries):
                if entry[:DIGEST] == earlier[:DIGEST]:
                    lines.add(int.from_bytes(entry[DIGEST:], "big"))
        return lines
