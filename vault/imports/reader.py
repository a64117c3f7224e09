"""What all readers of files have in common: lines and their positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from vault.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Span(NamedTuple):
    """The position of a chunk: start and end (bytes, or rows of a Parquet file), and the number of the first line."""

    start: int
    end: int
    line: int


class Line(NamedTuple):
    """A line with its number. ``row`` is None if the line is malformed."""

    number: int
    row: Any


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

    def locate(self, column: str) -> Callable[[Any], Any]:
        """Return a function that gets a column's value from a row; raises InvalidInput for an unknown column."""

    def scan(self, columns: set[str]) -> Iterator[LocatedLine]:
        """Iterate over all lines; other columns than these may be left empty."""

    def read(self, span: Span) -> Iterator[Line]:
        """Iterate over the lines of a chunk."""


def position_of(column: str, columns: Sequence[str]) -> int:
    """Return the position of a column.

    Raises:
        InvalidInput: the file has no column of this name.
    """
    if column not in columns:
        raise InvalidInput(
            f"the mapping names the column `{column}`, which the file does not have",
            code="unknown-column",
            hint="names of columns count letter by letter; look at the file's first line",
        )
    return columns.index(column)
