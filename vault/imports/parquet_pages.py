"""What the pages of a Parquet file say of themselves. The footer is only a claim: a forged one calls much little.

Pages are decompressed by the sizes in their own headers, so these are what decoding takes. The headers are structs of
Thrift's compact protocol (https://github.com/apache/parquet-format, PageHeader).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    Struct = Mapping[int, object]

_UNCOMPRESSED, _COMPRESSED = 2, 3
_HEADERS: Final = {5: 2, 7: 2, 8: 4}
"""Headers within a page's header: data page, dictionary, data page of version 2 -> the field of their encoding."""
_DICTIONARY: Final = 7
_VALUES: Final = 1
_ENCODINGS: Final = {0: "PLAIN", 2: "PLAIN_DICTIONARY", 7: "DELTA_BYTE_ARRAY", 8: "RLE_DICTIONARY"}
_DEEPEST: Final = 8
_LONG_LIST: Final = 15
"""In the head of a list: its length follows."""
_LARGEST_NUMBER: Final = 10
"""Bytes of a number."""


class Pages(NamedTuple):
    """The pages of one column in one row group.

    Attributes:
        size: bytes, decompressed.
        values: how many there are, those of nested columns included.
        encodings: of values, as far as they decide how large values can become.
    """

    size: int
    values: int
    encodings: frozenset[str]


class BadPage(ValueError):
    """A page has no proper header."""


def pages_of(file: memoryview, column: pa.ColumnChunkMetaData) -> Pages:
    """Walk the page headers of a column, as far as the library does.

    Raises:
        BadPage: the file is damaged or forged.
    """
    position = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset:
        position = min(position, column.dictionary_page_offset)
    end = position + column.total_compressed_size
    if not 0 <= position <= end <= len(file):
        raise BadPage
    size = values = 0
    encodings = set()
    while position < end and values < column.num_values:
        reader = _Reader(file, position, end)
        header = reader.struct()
        length, compressed = header.get(_UNCOMPRESSED), header.get(_COMPRESSED)
        if not isinstance(length, int) or not isinstance(compressed, int) or length < 0 or compressed < 0:
            raise BadPage
        size += length
        for field, encoding in _HEADERS.items():
            page = header.get(field)
            if isinstance(page, dict):
                named, number = page.get(encoding), page.get(_VALUES)
                if isinstance(named, int):
                    encodings.add(_ENCODINGS.get(named, ""))
                if field != _DICTIONARY and isinstance(number, int):
                    values += max(number, 0)
        position = reader.position + compressed
    return Pages(size, values, frozenset(encodings))


class _Reader:
    """Reads Thrift's compact protocol."""

    def __init__(self, data: memoryview, position: int, end: int) -> None:
        self._data = data
        self.position = position
        self._end = end

    def struct(self, depth: int = 0) -> dict[int, object]:
        """Read a struct: field id -> number, truth or struct; other fields are skipped."""
        fields: dict[int, object] = {}
        field = 0
        while (head := self._byte()) != 0:
            delta, kind = head >> 4, head & 15
            field = field + delta if delta else self._zigzag()
            fields[field] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int, *, inside: bool = False) -> object:
        if depth > _DEEPEST:
            raise BadPage
        value: object = None
        match kind:
            case 1 | 2:  # the truth is in the kind, but within a list it has a byte
                value = self._byte() == 1 if inside else kind == 1
            case 3:
                value = self._byte()
            case 4 | 5 | 6:
                value = self._zigzag()
            case 7:
                self._skip(8)
            case 8:
                self._skip(self._varint())
            case 9 | 10:
                head = self._byte()
                for _ in range(self._varint() if head >> 4 == _LONG_LIST else head >> 4):
                    self._value(head & 15, depth + 1, inside=True)
            case 12:
                value = self.struct(depth + 1)
            case _:
                raise BadPage  # no header has a map
        return value

    def _byte(self) -> int:
        if self.position >= self._end:
            raise BadPage
        self.position += 1
        return self._data[self.position - 1]

    def _skip(self, length: int) -> None:
        if length > self._end - self.position:
            raise BadPage
        self.position += length

    def _varint(self) -> int:
        number = 0
        for place in range(_LARGEST_NUMBER):
            byte = self._byte()
            number |= (byte & 127) << 7 * place
            if byte < 128:
                return number
        raise BadPage

    def _zigzag(self) -> int:
        number = self._varint()
        return number >> 1 ^ -(number & 1)
