"""Readers of CSV and JSONL files.

A survey reads a file once and finds the positions of its chunks. Any process can then read any chunk by itself.
"""

from __future__ import annotations

import csv
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from vault.errors import InvalidInput
from vault.imports.mapping import format_of
from vault.imports.parquet import ParquetReader
from vault.imports.reader import Line, LocatedLine, Reader, Span, position_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vault.imports.mapping import FileForm, FileMapping

BOM = b"\xef\xbb\xbf"
LONGEST_CELL = 4 * 1024 * 1024
LINES_LOOKED_AT = 100
"""The first lines of a JSONL file, from which its columns are inferred if no mapping names them."""


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


class CsvReader:
    """A CSV file (RFC 4180) with any delimiter. The first line contains the names of the columns."""

    def __init__(self, path: Path, form: FileForm) -> None:
        self._path = path
        self._encoding = "utf-8" if form.encoding.lower() == "utf-8-sig" else form.encoding
        csv.field_size_limit(LONGEST_CELL)
        with path.open("rb") as file:
            head = file.readline(LONGEST_CELL).removeprefix(BOM).decode(self._encoding, "replace")
            self._delimiter = form.delimiter or _delimiter(head)
            file.seek(0)
            header, end, after = next(self._rows(file, 0, 1), ([], 0, 1))
        self.columns = [name.strip() for name in header]
        self._first = (end, after)
        if not any(self.columns) or len(set(self.columns)) != len(self.columns):
            raise InvalidInput(
                "the first line of the file does not name its columns, each once",
                code="no-header",
                hint="a CSV file begins with a line of column names",
            )

    def locate(self, column: str) -> Callable[[Any], Any]:
        """Return a function that gets the cell of a column."""
        return itemgetter(position_of(column, self.columns))

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
        width = len(self.columns)
        for row, end, after in self._rows(file, start, number):
            if row:
                yield LocatedLine(Line(number, row if len(row) == width else None), start, end)
            start, number = end, after

    def _rows(self, file: BinaryIO, start: int, number: int) -> Iterator[tuple[list[str], int, int]]:
        """Yield rows, each with its end in the file and the number of the next line."""
        position = start

        def texts() -> Iterator[str]:
            nonlocal position
            for raw in file:
                start, position = position, position + len(raw)
                yield (raw if start else raw.removeprefix(BOM)).decode(self._encoding, "surrogateescape")

        rows = csv.reader(texts(), delimiter=self._delimiter)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error:
                raise InvalidInput(
                    f"the file is no CSV from line {number + rows.line_num} on",
                    code="not-csv",
                    hint="look for a quotation mark that is never closed, and for line ends that are lone CRs",
                ) from None
            yield row, position, number + rows.line_num


class JsonlReader:
    """A JSONL file, with one JSON object per line. Columns are names, or dotted paths into nested objects."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decode = msgspec.json.Decoder(dict[str, Any]).decode
        names: dict[str, None] = {}
        for seen, (line, _start, _end) in enumerate(self.scan(set())):
            if seen == LINES_LOOKED_AT:
                break
            names.update(dict.fromkeys(_names(line.row or {})))
        self.columns = list(names)

    def locate(self, column: str) -> Callable[[Any], Any]:
        """Return a function that gets the value of a name or path; None if a line does not have it."""
        path = column.split(".")

        def value(row: dict[str, Any]) -> Any:
            if column in row:
                return row[column]
            member: Any = row
            for name in path:
                member = member.get(name) if isinstance(member, dict) else None
            return member

        return value

    def scan(self, columns: set[str]) -> Iterator[LocatedLine]:  # noqa: ARG002 - a line has all its columns
        """Iterate over all lines."""
        with self._path.open("rb") as file:
            yield from self._lines(file, 0, 1)

    def read(self, span: Span) -> Iterator[Line]:
        """Iterate over the lines of a chunk."""
        with self._path.open("rb") as file:
            file.seek(span.start)
            for line, _start, end in self._lines(file, span.start, span.line):
                yield line
                if end >= span.end:
                    return

    def _lines(self, file: BinaryIO, position: int, number: int) -> Iterator[LocatedLine]:
        for raw in file:
            start, position = position, position + len(raw)
            text = raw.removeprefix(BOM).strip()
            if text:
                yield LocatedLine(Line(number, self._row(text)), start, position)
            number += 1

    def _row(self, text: bytes) -> dict[str, Any] | None:
        try:
            return self._decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


def _delimiter(head: str) -> str:
    """Return the most frequent of the possible delimiters in the header; a comma by default."""
    return max(",;\t|", key=head.count)


def _names(row: dict[str, Any]) -> Iterator[str]:
    """List the columns of a JSON line. The members of ``external_ids`` are columns of their own."""
    for name, value in row.items():
        if name == "external_ids" and isinstance(value, dict):
            yield from (f"{name}.{system}" for system in value)
        else:
            yield name
