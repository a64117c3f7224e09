"""Tables for spreadsheets: CSV by RFC 4180, in which no value can be taken for a formula."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vault.catalogue.collections import NAME
from vault.catalogue.types import TYPES
from vault.export.disclosures import accesses
from vault.export.records import records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from vault.export.collect import Content
    from vault.export.schema import AccessTold, FieldTold, RecordTold

ROWS_AT_A_TIME: Final = 200
BOM: Final = b"\xef\xbb\xbf"
"""Without it spreadsheets take UTF-8 for an older encoding."""
DEVICES: Final = re.compile(r"con|prn|aux|nul|(?:com|lpt)\d")
"""Names that no file may have on Windows."""

_NUMBER: Final = re.compile(r"-?\d{1,300}(?:\.\d{1,300})?", re.ASCII)
_STARTS: Final = "=+\\-@\uff1d\uff0b\uff0d\uff20\u2212\ufe62\ufe63\ufe66\ufe6b"
"""What begins a formula: = + - @, and their full-width and small forms, which spreadsheets fold."""
_UNSEEN: Final = r"[\s\x00-\x20\x7f-\xa0\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff'\"]*"
"""What spreadsheets pass over before it."""
_FORMULA: Final = re.compile(rf"(\A|[;|\t\r\n])(?={_UNSEEN}[{_STARTS}])|\A(?=[\t\r\n])")
"""A beginning of a value or, for readers that separate by something else, of what looks like the next one to them."""


def paths(collections: Iterable[str]) -> dict[str, str]:
    """Name the file of each collection: by its name, or by its number where that is none for a file."""
    return {name: f"csv/{_file(name, number)}.csv" for number, name in enumerate(collections, 1)}


def _file(name: str, number: int) -> str:
    if not NAME.fullmatch(name):
        return f"collection-{number}"
    return f"{name}_" if DEVICES.fullmatch(name) else name


def harmless(value: str) -> str:
    """Put an apostrophe before what a spreadsheet could take for a formula; plain numbers stay as they are."""
    return value if _NUMBER.fullmatch(value) else _FORMULA.sub(r"\1'", value)


async def sheet(content: Content, collection: str) -> AsyncIterator[bytes]:
    """Write the records of a collection, one a row, the newest first.

    Raises:
        CannotOpen: a value does not open at its place.
    """
    fields = content.texts.fields(content.head, collection)
    yield BOM + _rows([("record", "occurred_at", "recorded_at", *_columns(fields), "source", "kept_until")])
    waiting: list[Sequence[str]] = []
    async for record in records(content, collection):
        waiting.append(_row(record, fields))
        if len(waiting) >= ROWS_AT_A_TIME:
            yield _rows(waiting)
            waiting = []
    yield _rows(waiting)


async def accesses_sheet(content: Content) -> AsyncIterator[bytes]:
    """Write every time that data was shown to somebody, one a row, the oldest first."""
    yield BOM + _rows([("at", "recipient", "kind", "action", "purpose", "fields")])
    waiting: list[Sequence[str]] = []
    async for access in accesses(content.services, content.tenant, content.pseudonyms, content.names):
        waiting.append(_access(access))
        if len(waiting) >= ROWS_AT_A_TIME:
            yield _rows(waiting)
            waiting = []
    yield _rows(waiting)


def _access(access: AccessTold) -> Sequence[str]:
    return (access.at, access.recipient, access.kind, access.action, access.purpose or "", " ".join(access.fields))


def _columns(fields: list[FieldTold]) -> Iterator[str]:
    for field in fields:
        parts = _parts(field)
        yield from (f"{field.name}.{part}" for part in parts) if parts else (field.name,)


def _parts(field: FieldTold) -> tuple[str, ...]:
    """List the parts of a field's values that get a column each; masked values may have another shape."""
    field_type = None if field.others else TYPES.get(field.type)
    return () if field_type is None else field_type.parts


def _row(record: RecordTold, fields: list[FieldTold]) -> list[str]:
    sources = dict.fromkeys(origin.source or "" for origin in record.origins)
    ends = [origin.keep.until for origin in record.origins]
    until = "" if None in ends else max(map(str, ends), default="")
    values = [cell for field in fields for cell in _cells(record, field)]
    return [record.id, record.occurred_at or "", record.recorded_at, *values, " ".join(sources), until]


def _cells(record: RecordTold, field: FieldTold) -> Iterator[str]:
    raw = record.values.get(field.name)
    value = None if raw is None else msgspec.json.decode(raw)
    parts = _parts(field)
    if parts:
        given = value if isinstance(value, dict) else {}
        yield from (_text(given.get(part)) for part in parts)
    else:
        yield _text(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _rows(rows: Iterable[Sequence[str]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([harmless(cell) for cell in row] for row in rows)
    return out.getvalue().encode()
