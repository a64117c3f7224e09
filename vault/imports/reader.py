"""Lines and where they lie in a file: what all readers of files have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from vault.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Place(NamedTuple):
    """A chunk of lines: from where to where in the file (bytes; rows of a Parquet file), and the first one's number."""

    start: int
    end: int
    line: int


class Line(NamedTuple):
    """A line with its number; without a row where it does not have the file's form."""

    number: int
    row: Any


class Spot(NamedTuple):
    """A line, and from where to where it lies in the file."""

    line: Line
    start: int
    end: int


class Reader(Protocol):
    """One file."""

    @property
    def columns(self) -> Sequence[str]:
        """Name the columns."""

    def locate(self, column: str) -> Callable[[Any], Any]:
        """Make the function that takes a column out of a row; raises InvalidInput for a column that is not there."""

    def scan(self, columns: set[str]) -> Iterator[Spot]:
        """Go through all lines, of which only some columns need be there."""

    def read(self, place: Place) -> Iterator[Line]:
        """Go through the lines of a chunk."""


def position_of(column: str, columns: Sequence[str]) -> int:
    """Find a column.

    Raises:
        InvalidInput: the file has none of that name.
    """
    if column not in columns:
        raise InvalidInput(
            f"the mapping names the column `{column}`, which the file does not have",
            code="unknown-column",
            hint="names of columns count letter by letter; look at the file's first line",
        )
    return columns.index(column)
