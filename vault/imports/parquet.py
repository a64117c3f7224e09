"""A reader of Parquet files. It needs pyarrow, which the extra ``parquet`` installs."""

from __future__ import annotations

from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from vault.errors import InvalidInput, Misconfigured
from vault.imports.reader import Line, LocatedLine, Span, position_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

BATCH = 8_192
"""Rows that are decoded together: a few MB."""


def load_pyarrow() -> Any:
    """Import pyarrow.

    Raises:
        Misconfigured: it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise Misconfigured(
            "Parquet files need a library that is not installed", hint="pip install 'customer-data-vault[parquet]'"
        ) from None
    return pa


class ParquetReader:
    """A Parquet file. Its rows are numbered from 1.

    Chunks are mostly read in order, so the last decoded batch is kept and decoding continues after it.
    """

    def __init__(self, path: Path, columns: set[str] | None = None) -> None:
        self._pa = load_pyarrow()
        try:
            self._file = self._pa.parquet.ParquetFile(path, memory_map=True)
        except (self._pa.ArrowInvalid, self._pa.ArrowNotImplementedError):
            raise InvalidInput("the file is no Parquet file", code="not-parquet") from None
        present = self._file.schema_arrow.names
        self.columns = present if columns is None else [name for name in present if name in columns]
        metadata = self._file.metadata
        self._groups = [0]
        for index in range(metadata.num_row_groups):
            self._groups.append(self._groups[-1] + metadata.row_group(index).num_rows)
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._batch_start = 0

    def locate(self, column: str) -> Callable[[Any], Any]:
        """Return a function that gets the cell of a column."""
        return itemgetter(position_of(column, self.columns))

    def scan(self, columns: set[str]) -> Iterator[LocatedLine]:
        """Iterate over all rows; other columns than these are empty."""
        names = [name for name in self.columns if name in columns]
        number = 0
        for batch in self._file.iter_batches(batch_size=BATCH, columns=names):
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
        groups = list(range(group, len(self._groups) - 1))
        self._batches = self._file.iter_batches(batch_size=BATCH, row_groups=groups, columns=list(self.columns))
        self._batch_start, self._batch = self._groups[group], next(self._batches)

    def _rows_of(self, batch: Any, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        empty = [None] * batch.num_rows
        values = [self._values(batch.column(name)) if name in columns else empty for name in self.columns]
        return zip(*values, strict=True) if values else iter([()] * batch.num_rows)

    def _values(self, column: Any) -> list[Any]:
        """Convert a column to Python values. Nanoseconds are truncated, because Python's times do not have them."""
        if self._pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            column = column.cast(self._pa.timestamp("us", tz=column.type.tz), safe=False)
        if self._pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        values: list[Any] = column.to_pylist()
        return values
