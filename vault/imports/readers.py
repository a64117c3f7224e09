"""Files as lines: where each begins, and what is in it. One class a format, behind the same three calls.

A survey goes through a file once and notes where chunks of lines begin; then any process reads any chunk by itself.
"""

from __future__ import annotations

import csv
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from vault.errors import InvalidInput
from vault.imports.mapping import format_of
from vault.imports.reader import Line, Place, Reader, Spot, position_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vault.imports.mapping import FileForm, FileMapping

BOM = b"\xef\xbb\xbf"
LONGEST_CELL = 4 * 1024 * 1024
LINES_LOOKED_AT = 100
"""Lines of a JSONL file that tell which columns it has, where no mapping does."""


def open_reader(mapping: FileMapping, path: Path, columns: set[str] | None = None) -> Reader:
    """Open a file the way its mapping or its name says; ``columns`` are those that will be read, all by default.

    Raises:
        InvalidInput: the file is not there, is not of its form, or its form needs a library that is not installed.
    """
    form = format_of(mapping, path)
    try:
        if form == "csv":
            return CsvReader(path, mapping.file)
        if form == "jsonl":
            return JsonlReader(path)
        from vault.imports.parquet import ParquetReader

        return ParquetReader(path, columns)
    except OSError as error:
        raise InvalidInput(
            f"the file cannot be read: {error.strerror or type(error).__name__}",
            code="unreadable-file",
            hint="name a file that is there and may be read",
        ) from None


class CsvReader:
    """RFC 4180, with any delimiter; the first line names the columns."""

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
        """Take a cell by the position of its column."""
        return itemgetter(position_of(column, self.columns))

    def scan(self, columns: set[str]) -> Iterator[Spot]:  # noqa: ARG002 - a line has all its columns
        """Go through all lines."""
        start, number = self._first
        with self._path.open("rb") as file:
            file.seek(start)
            yield from self._lines(file, start, number)

    def read(self, place: Place) -> Iterator[Line]:
        """Go through the lines of a chunk."""
        with self._path.open("rb") as file:
            file.seek(place.start)
            for line, _start, end in self._lines(file, place.start, place.line):
                yield line
                if end >= place.end:
                    return

    def _lines(self, file: BinaryIO, start: int, number: int) -> Iterator[Spot]:
        width = len(self.columns)
        for row, end, after in self._rows(file, start, number):
            if row:
                yield Spot(Line(number, row if len(row) == width else None), start, end)
            start, number = end, after

    def _rows(self, file: BinaryIO, start: int, number: int) -> Iterator[tuple[list[str], int, int]]:
        """Yield rows, each with where it ends in the file and the number of the line after it."""
        position = start

        def texts() -> Iterator[str]:
            nonlocal position
            for raw in file:
                at, position = position, position + len(raw)
                yield (raw if at else raw.removeprefix(BOM)).decode(self._encoding, "surrogateescape")

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
    """One JSON object a line; columns are names, or paths with dots into nested objects."""

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
        """Take a value by its name or path; any line may lack it."""
        path = column.split(".")

        def value(row: dict[str, Any]) -> Any:
            if column in row:
                return row[column]
            found: Any = row
            for name in path:
                found = found.get(name) if isinstance(found, dict) else None
            return found

        return value

    def scan(self, columns: set[str]) -> Iterator[Spot]:  # noqa: ARG002 - a line has all its columns
        """Go through all lines."""
        with self._path.open("rb") as file:
            yield from self._lines(file, 0, 1)

    def read(self, place: Place) -> Iterator[Line]:
        """Go through the lines of a chunk."""
        with self._path.open("rb") as file:
            file.seek(place.start)
            for line, _start, end in self._lines(file, place.start, place.line):
                yield line
                if end >= place.end:
                    return

    def _lines(self, file: BinaryIO, position: int, number: int) -> Iterator[Spot]:
        for raw in file:
            start, position = position, position + len(raw)
            text = raw.removeprefix(BOM).strip()
            if text:
                yield Spot(Line(number, self._row(text)), start, position)
            number += 1

    def _row(self, text: bytes) -> dict[str, Any] | None:
        try:
            return self._decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


def _delimiter(head: str) -> str:
    """Take the character that most often stands between the names of the columns; a comma where none does."""
    return max(",;\t|", key=head.count)


def _names(row: dict[str, Any]) -> Iterator[str]:
    """List the columns of a JSON line; external ids come as an object of their own."""
    for name, value in row.items():
        if name == "external_ids" and isinstance(value, dict):
            yield from (f"{name}.{system}" for system in value)
        else:
            yield name
