"""Readers of CSV, JSONL and Parquet files.

A survey reads a file once and finds the positions of its chunks. Any process can then read any chunk by itself. Parquet
files need pyarrow, which the extra ``parquet`` installs.
"""

from __future__ import annotations

import csv
from importlib import import_module
from itertools import pairwise
from mmap import ACCESS_READ, mmap
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

import msgspec

from vault.errors import InvalidInput, Misconfigured
from vault.imports.mapping import format_of
from vault.imports.parquet_pages import BadPage, Pages, pages_of
from vault.names import parse_unique

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    import pyarrow as pa

    from vault.imports.mapping import FileForm, FileMapping

    Row = Any
    """A line's cells. Only the reader that made a row knows its type."""
    Getter = Callable[[Row], object]
    """Gets a value from a row."""

BOM = b"\xef\xbb\xbf"
LONGEST_LINE = 4 * 1024 * 1024
"""Bytes of a line of a JSONL file, and of a row of a CSV file, which may have several lines."""
LINES_LOOKED_AT = 100
"""The first lines of a JSONL file, from which its columns are inferred if no mapping names them."""
ROWS_AT_ONCE = 8_192
"""Most rows of a Parquet file that are decoded together."""
DECODED_AT_ONCE = 64 * 1024 * 1024
"""Bytes of a Parquet file that are decoded together, if they are spread evenly over its rows."""
LARGEST_GROUP = 1024 * 1024 * 1024
"""Bytes of the columns that are read in one row group, decompressed: what unequal rows can need at once."""


class Span(NamedTuple):
    """The position of a chunk: start and end (bytes, or rows of a Parquet file), and the number of the first line."""

    start: int
    end: int
    line: int


class Line(NamedTuple):
    """A line with its number. ``row`` is None if the line is malformed."""

    number: int
    row: Row


class LocatedLine(NamedTuple):
    """A line, with its start and end in the file."""

    line: Line
    start: int
    end: int


class Reader(Protocol):
    """A reader of one file."""

    @property
    def columns(self) -> Sequence[str]:
        """Return the names of the columns."""

    def locate(self, column: str) -> Getter:
        """Return a function that gets a column's value from a row; raises InvalidInput for an unknown column."""

    def scan(self, columns: set[str]) -> Iterator[LocatedLine]:
        """Iterate over all lines; other columns than these may be left empty."""

    def read(self, span: Span) -> Iterator[Line]:
        """Iterate over the lines of a chunk."""


def open_reader(mapping: FileMapping, path: Path, columns: set[str] | None = None) -> Reader:
    """Open a file in the format of its mapping or its name.

    Args:
        columns: the ones that will be read; all by default.

    Raises:
        InvalidInput: the file does not exist or is malformed.
        Misconfigured: the library for Parquet files is not installed.
    """
    form = format_of(mapping, path)
    try:
        if form == "csv":
            return CsvReader(path, mapping.file)
        if form == "jsonl":
            return JsonlReader(path)
        return ParquetReader(path, columns)
    except OSError as error:
        raise InvalidInput(
            f"the file cannot be read: {error.strerror or type(error).__name__}",
            code="unreadable-file",
            hint="name a file that is there and may be read",
        ) from None


def positions_of(columns: Sequence[str]) -> dict[str, int]:
    """Return the position of each column; of those with one name the first."""
    return {column: position for position, column in reversed(list(enumerate(columns)))}


def position_of(column: str, positions: Mapping[str, int]) -> int:
    """Return the position of a column.

    Raises:
        InvalidInput: the file has no column of this name.
    """
    position = positions.get(column)
    if position is None:
        raise InvalidInput(
            f"the mapping names the column `{column}`, which the file does not have",
            code="unknown-column",
            hint="names of columns count letter by letter; look at the file's first line",
        )
    return position


class _LineReader:
    """The common part of CSV and JSONL readers. ``_first``: position and number of the first line after a header."""

    _path: Path
    _first = (0, 1)

    def scan(self, columns: set[str]) -> Iterator[LocatedLine]:  # noqa: ARG002 - a line has all its columns
        """Iterate over all lines."""
        start, number = self._first
        with self._path.open("rb") as file:
            file.seek(start)
            yield from self._lines(file, start, number)

    def read(self, span: Span) -> Iterator[Line]:
        """Iterate over the lines of a chunk."""
        with self._path.open("rb") as file:
            file.seek(span.start)
            for line, _start, end in self._lines(file, span.start, span.line):
                yield line
                if end >= span.end:
                    return

    def _lines(self, file: BinaryIO, start: int, number: int) -> Iterator[LocatedLine]:
        raise NotImplementedError


class CsvReader(_LineReader):
    """A CSV file (RFC 4180) with any delimiter. The first line contains the names of the columns."""

    def __init__(self, path: Path, form: FileForm) -> None:
        self._path = path
        self._encoding = "utf-8" if form.encoding.lower() == "utf-8-sig" else form.encoding
        csv.field_size_limit(LONGEST_LINE)
        with path.open("rb") as file:
            head = file.readline(LONGEST_LINE).removeprefix(BOM).decode(self._encoding, "replace")
            self._delimiter = form.delimiter or _delimiter(head)
            file.seek(0)
            header, end, after = next(self._rows(file, 0, 1), ([], 0, 1))
        names = [name.strip() for name in header]
        self._width = len(names)
        while names and not names[-1]:  # spreadsheets write columns that were once used
            names.pop()
        self.columns = names
        self._positions = positions_of(names)
        self._first = (end, after)
        self._check_names()

    def _check_names(self) -> None:
        """Check the names of the columns. The error has positions only: without a header, the names would be values."""
        first: dict[str, int] = {}
        wrong = "" if self.columns else "names no column"
        for position, name in enumerate(self.columns, 1):
            if not name:
                wrong = wrong or f"has no name for column {position}"
            elif first.setdefault(name, position) != position:
                wrong = wrong or f"has the same name for columns {first[name]} and {position}"
        if wrong:
            raise InvalidInput(
                f"the first line of the file {wrong}",
                code="no-header",
                hint="a CSV file begins with a line of column names, each once",
            )

    def locate(self, column: str) -> Getter:
        """Return a function that gets the cell of a column."""
        return itemgetter(position_of(column, self._positions))

    def _lines(self, file: BinaryIO, start: int, number: int) -> Iterator[LocatedLine]:
        for row, end, after in self._rows(file, start, number):
            if row:
                yield LocatedLine(Line(number, row if self._fits(row) else None), start, end)
            start, number = end, after

    def _fits(self, row: list[str]) -> bool:
        """Return whether a row has a cell for each column, and nothing in columns without a name."""
        named = len(self.columns)
        return len(row) == named or (len(row) == self._width and not any(map(str.strip, row[named:])))

    def _rows(self, file: BinaryIO, start: int, number: int) -> Iterator[tuple[list[str], int, int]]:
        """Yield rows, each with its end in the file and the number of the next line."""
        position = row_start = start

        def texts() -> Iterator[str]:
            nonlocal position
            while raw := file.readline(LONGEST_LINE + 1):
                start, position = position, position + len(raw)
                if position - row_start > LONGEST_LINE:
                    raise csv.Error
                yield (raw if start else raw.removeprefix(BOM)).decode(self._encoding, "surrogateescape")

        rows = csv.reader(texts(), delimiter=self._delimiter)
        while True:
            row_start = position
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error:
                raise InvalidInput(
                    f"the file is no CSV from line {number + rows.line_num} on",
                    code="not-csv",
                    hint="look for a quotation mark that is never closed, for line ends that are lone CRs, and for a "
                    "row of more than 4 MiB",
                ) from None
            yield row, position, number + rows.line_num


class JsonlReader(_LineReader):
    """A JSONL file, with one JSON object per line. Columns are names, or dotted paths into nested objects."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decode = msgspec.json.Decoder(dict[str, object]).decode
        names: dict[str, None] = {}
        for seen, (line, _start, _end) in enumerate(self.scan(set())):
            if seen == LINES_LOOKED_AT:
                break
            names.update(dict.fromkeys(_names(line.row or {})))
        self.columns = list(names)

    def locate(self, column: str) -> Getter:
        """Return a function that gets the value of a name or path; None if a line does not have it."""
        path = column.split(".")

        def value(row: dict[str, object]) -> object:
            if column in row:
                return row[column]
            member: object = row
            for name in path:
                member = member.get(name) if isinstance(member, dict) else None
            return member

        return value

    def _lines(self, file: BinaryIO, start: int, number: int) -> Iterator[LocatedLine]:
        while raw := file.readline(LONGEST_LINE + 1):
            if len(raw) > LONGEST_LINE:
                raise InvalidInput(
                    f"line {number} of the file has more than 4 MiB",
                    code="line-too-long",
                    hint="a JSONL file has one object in each line; look for line ends that are missing",
                )
            end = start + len(raw)
            text = raw.removeprefix(BOM).strip()
            if text:
                yield LocatedLine(Line(number, self._row(text)), start, end)
            start, number = end, number + 1

    def _row(self, text: bytes) -> dict[str, object] | None:
        try:
            parse_unique(text)  # of a name that is given twice, one value would be lost
            return self._decode(text)
        except (ValueError, RecursionError):
            return None


def load_pyarrow() -> ModuleType:
    """Import pyarrow.

    Raises:
        Misconfigured: it is not installed.
    """
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError:
        raise Misconfigured(
            "Parquet files need a library that is not installed", hint="pip install 'customer-data-vault[parquet]'"
        ) from None


class ParquetReader:
    """A Parquet file. Its rows are numbered from 1. Its pages, and not its footer, say how much is decoded at once.

    Chunks are mostly read in order, so the last decoded batch is kept and decoding continues after it.
    """

    def __init__(self, path: Path, columns: set[str] | None = None) -> None:
        self._pa = load_pyarrow()
        try:
            with self._pa.parquet.ParquetFile(path, memory_map=True) as file:
                texts = {field.name for field in file.schema_arrow if self._is_text(field.type)}
                self._texts = sorted(texts & _in_dictionaries(file.metadata))
                self._decimals = {field.name for field in file.schema_arrow if self._pa.types.is_decimal(field.type)}
            # Equal texts stay one text: a dictionary of a few KB can stand for many GB.
            self._file = self._pa.parquet.ParquetFile(path, memory_map=True, read_dictionary=self._texts)
        except (self._pa.ArrowInvalid, self._pa.ArrowNotImplementedError):
            raise InvalidInput("the file is no Parquet file", code="not-parquet") from None
        with path.open("rb") as content:
            self._content = memoryview(mmap(content.fileno(), 0, access=ACCESS_READ))
        present = self._file.schema_arrow.names
        self.columns = present if columns is None else [name for name in present if name in columns]
        self._positions = positions_of(self.columns)
        metadata = self._file.metadata
        self._groups = [0]
        for index in range(metadata.num_row_groups):
            self._groups.append(self._groups[-1] + metadata.row_group(index).num_rows)
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.RecordBatch = None  # until the first read
        self._batch_start = 0

    def locate(self, column: str) -> Getter:
        """Return a function that gets the cell of a column."""
        return itemgetter(position_of(column, self._positions))

    def scan(self, columns: set[str]) -> Iterator[LocatedLine]:
        """Iterate over all rows; other columns than these are empty."""
        names = [name for name in self.columns if name in columns]
        number = 0
        for batch in self._decoded(0, names):
            for row in self._rows_of(batch, names):
                number += 1
                yield LocatedLine(Line(number, row), number - 1, number)

    def read(self, span: Span) -> Iterator[Line]:
        """Iterate over the rows of a chunk."""
        start = span.start
        if self._batch is None or start < self._batch_start:
            self._open_at(start)
        while start < span.end:
            while start >= self._batch_start + self._batch.num_rows:
                self._batch_start += self._batch.num_rows
                self._batch = next(self._batches)
            part = self._batch.slice(start - self._batch_start, span.end - start)
            for row in self._rows_of(part, self.columns):
                start += 1
                yield Line(start, row)

    def _open_at(self, start: int) -> None:
        group = next(i for i, (low, high) in enumerate(pairwise(self._groups)) if low <= start < high)
        self._batches = self._decoded(group, self.columns)
        self._batch_start, self._batch = self._groups[group], next(self._batches)

    def _decoded(self, first: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Decode row groups from the first on, as many rows at a time as their sizes allow."""
        for group in range(first, len(self._groups) - 1):
            rows = self._rows_at_once(group, columns)
            yield from self._file.iter_batches(batch_size=rows, row_groups=[group], columns=list(columns))

    def _rows_at_once(self, group: int, columns: Sequence[str]) -> int:
        """Return how many rows of a row group to decode together.

        Raises:
            InvalidInput: the group is too large for any number of rows, or damaged.
        """
        rows: int
        size = shared = 0
        metadata = self._file.metadata.row_group(group)
        for index in range(metadata.num_columns):
            column = metadata.column(index)
            if column.path_in_schema in columns or column.path_in_schema.partition(".")[0] in columns:
                try:
                    pages = pages_of(self._content, column)
                except BadPage:
                    raise InvalidInput(
                        f"row group {group + 1} of the file is damaged",
                        code="not-parquet",
                        hint="write the file again",
                    ) from None
                repeated = 8 * pages.values if pages.values > metadata.num_rows else 0  # of lists
                stored = max(pages.size, column.total_uncompressed_size) + repeated
                size += stored
                if repeated or not self._is_as_large_as_stored(column, pages):
                    shared += stored
        if size > LARGEST_GROUP:
            raise InvalidInput(
                f"row group {group + 1} of the file has more than 1 GiB in the columns that are read",
                code="row-group-too-large",
                hint="write the file again with smaller row groups",
            )
        rows = min(ROWS_AT_ONCE, metadata.num_rows) * DECODED_AT_ONCE // max(size, DECODED_AT_ONCE)
        if shared:  # each row may decode to all that the column stores
            rows = min(rows, DECODED_AT_ONCE // shared)
        return max(rows, 1)

    def _is_as_large_as_stored(self, column: pa.ColumnChunkMetaData, pages: Pages) -> bool:
        """Return whether the values that are read take no more bytes than their decompressed pages, with 8 a row."""
        name = column.path_in_schema
        if column.physical_type not in {"BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"} or name in self._decimals:
            return True
        if "DELTA_BYTE_ARRAY" in pages.encodings:  # the start of a value is that of the one before
            return False
        return name in self._texts or not any("DICTIONARY" in encoding for encoding in pages.encodings)

    def _is_text(self, kind: pa.DataType) -> bool:
        types = self._pa.types
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_binary))

    def _rows_of(self, batch: pa.RecordBatch, columns: Sequence[str]) -> Iterator[tuple[object, ...]]:
        empty = [None] * batch.num_rows
        values = [self._values(batch.column(name)) if name in columns else empty for name in self.columns]
        return zip(*values, strict=True) if values else iter([()] * batch.num_rows)

    def _values(self, column: pa.Array) -> list[object]:
        """Convert a column to Python values. Nanoseconds are truncated, because Python's times do not have them."""
        if self._pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            column = column.cast(self._pa.timestamp("us", tz=column.type.tz), safe=False)
        if self._pa.types.is_dictionary(column.type):
            used = column.indices.dictionary_encode()
            texts = column.dictionary.take(used.dictionary).to_pylist()
            return [None if index is None else texts[index] for index in used.indices.to_pylist()]
        values: list[object] = column.to_pylist()
        return values


def _in_dictionaries(metadata: pa.FileMetaData) -> set[str]:
    """Return the columns that are read as dictionaries. The library does so for no column with delta encodings."""
    encodings: dict[str, set[str]] = {}
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            encodings.setdefault(column.path_in_schema, set()).update(column.encodings)
    words = {name: " ".join(found) for name, found in encodings.items()}
    return {name for name, found in words.items() if "DICTIONARY" in found and "DELTA" not in found}


def _delimiter(head: str) -> str:
    """Return the most frequent of the possible delimiters in the header; a comma by default."""
    return max(",;\t|", key=head.count)


def _names(row: dict[str, object]) -> Iterator[str]:
    """List the columns of a JSON line. The members of ``external_ids`` are columns of their own."""
    for name, value in row.items():
        if name == "external_ids" and isinstance(value, dict):
            yield from (f"{name}.{system}" for system in value)
        else:
            yield name
