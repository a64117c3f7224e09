"""The files of an access or portability package (Arts. 15 and 20 GDPR).

``index.html``, ``tables.xlsx`` and ``README.txt`` are for people, ``data.json`` and the CSV tables for machines.
``data.json`` is written record by record; ``data.schema.json`` describes it. No value in a CSV table (RFC 4180) can be
interpreted as a formula by a spreadsheet.
"""

from __future__ import annotations

import csv
import io
import re
from importlib import resources
from typing import TYPE_CHECKING, Final

import msgspec

from vault.catalogue.collections import NAME
from vault.catalogue.types import TYPES
from vault.export.collect import gather
from vault.export.disclosures import accesses
from vault.export.formulas import escape_formula
from vault.export.html import html_page
from vault.export.records import records
from vault.export.sheets import Table, write_workbook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from vault.context import Services
    from vault.export.collect import Content
    from vault.export.schema import FieldDescription, PackageRecord
    from vault.ids import SubjectId, TenantId
    from vault.requests.model import Request


ROWS_AT_A_TIME: Final = 200
BOM: Final = b"\xef\xbb\xbf"
"""Without it, spreadsheets read UTF-8 as a legacy encoding."""
WORKBOOK: Final = "tables.xlsx"
DEVICES: Final = re.compile(r"con|prn|aux|nul|(?:com|lpt)\d")
"""Reserved file names on Windows."""


def table_paths(collections: Iterable[str]) -> dict[str, str]:
    """Return the path of each collection's table: its name, or its number if the name is not valid for a file."""
    paths = {}
    for number, name in enumerate(collections, 1):
        file = f"{name}_" if DEVICES.fullmatch(name) else name
        paths[name] = f"csv/{file if NAME.fullmatch(name) else f'collection-{number}'}.csv"
    return paths


def collection_table(content: Content, collection: str) -> Table:
    """Return the records of a collection, one per row, newest first. A value that does not open ends the iteration."""
    fields = content.texts.fields(content.head, collection)
    columns = ("record", "occurred_at", "recorded_at", *_columns(fields), "source", "kept_until")
    rows = (_row(record, fields) async for record in records(content, collection))
    return Table(content.head.collections[collection].title, columns, rows)


def accesses_table(content: Content) -> Table:
    """Return the disclosures, one per row, oldest first."""
    rows = (
        (access.at, access.recipient, access.kind, access.action, access.purpose or "", " ".join(access.fields))
        async for access in accesses(content.services, content.tenant, content.pseudonyms, content.names)
    )
    columns = ("at", "recipient", "kind", "action", "purpose", "fields")
    return Table(content.texts.noun("tile_accesses", 2), columns, rows)


async def csv_file(table: Table) -> AsyncIterator[bytes]:
    """Write a table as CSV, with an apostrophe before what could be a formula."""
    yield BOM + _rows([table.columns])
    buffer: list[Sequence[str]] = []
    async for row in table.rows:
        buffer.append(row)
        if len(buffer) >= ROWS_AT_A_TIME:
            yield _rows(buffer)
            buffer = []
    yield _rows(buffer)


def workbook(content: Content) -> AsyncIterator[bytes]:
    """Write all tables as one workbook.

    Raises:
        CannotOpen: a value does not open as part of its record.
    """
    tables = [collection_table(content, name) for name in content.head.collections]
    return write_workbook(tables if content.portable else [*tables, accesses_table(content)])


def _columns(fields: list[FieldDescription]) -> Iterator[str]:
    for field in fields:
        parts = _parts(field)
        yield from (f"{field.name}.{part}" for part in parts) if parts else (field.name,)


def _parts(field: FieldDescription) -> tuple[str, ...]:
    """Return the parts of a field's values that have their own columns; masked values may lack them."""
    field_type = None if field.others else TYPES.get(field.type)
    return () if field_type is None else field_type.parts


def _row(record: PackageRecord, fields: list[FieldDescription]) -> list[str]:
    sources = dict.fromkeys(origin.source or "" for origin in record.origins)
    ends = [origin.keep.until for origin in record.origins]
    until = "" if None in ends else max(map(str, ends), default="")  # a row is kept until its last value is deleted
    values = [cell for field in fields for cell in _cells(record, field)]
    return [record.id, record.occurred_at or "", record.recorded_at, *values, " ".join(sources), until]


def _cells(record: PackageRecord, field: FieldDescription) -> Iterator[str]:
    raw = record.values.get(field.name)
    value = None if raw is None else msgspec.json.decode(raw)
    parts = _parts(field)
    if parts:
        members = value if isinstance(value, dict) else {}  # a masked value may be text
        yield from (_text(members.get(part)) for part in parts)
    else:
        yield _text(value)


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _rows(rows: Iterable[Sequence[str]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([escape_formula(cell) for cell in row] for row in rows)
    return out.getvalue().encode()


async def package_entries(
    services: Services, tenant: TenantId, subject: SubjectId, request: Request
) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
    """Iterate over the files of a package: path in the ZIP and content, which is to be read before the next file.

    Values are opened while they are written: of a thousand records, a few hundred are in memory at a time.

    Raises:
        NotFound: the subject does not exist or was erased.
        CannotOpen: a sealed value does not open as part of its record.
    """
    content = await gather(services, tenant, subject, request)
    for path, stream in entries(content):
        yield path, stream


def entries(content: Content) -> list[tuple[str, AsyncIterator[bytes]]]:
    """List the files of a package, the page for people first. Their contents are generated when they are read."""
    tables = table_paths(content.head.collections)
    files = [
        ("index.html", html_page(content, tables)),
        ("README.txt", _single(content.texts.readme(access=not content.portable).replace("\n", "\r\n").encode())),
        ("data.json", data_file(content)),
        (SCHEMA, _single(schema())),
    ]
    files.append((WORKBOOK, workbook(content)))
    files += [(path, csv_file(collection_table(content, name))) for name, path in tables.items()]
    if not content.portable:
        files.append(("accesses.csv", csv_file(accesses_table(content))))
    return files


async def _single(content: bytes) -> AsyncIterator[bytes]:
    yield content


ITEMS_AT_A_TIME: Final = 200
SCHEMA: Final = "data.schema.json"

_encode = msgspec.json.Encoder().encode


def schema() -> bytes:
    """Return the JSON Schema (2020-12) of data.json."""
    return resources.files("vault.export").joinpath("schema.json").read_bytes()


async def data_file(content: Content) -> AsyncIterator[bytes]:
    """Write data.json: the facts, then the records of each collection, then the disclosures.

    Raises:
        CannotOpen: a value does not open as part of its record.
    """
    yield b'{"$schema":' + _encode(SCHEMA) + b"," + _encode(content.head)[1:-1] + b',"records":{'
    for number, collection in enumerate(content.head.collections):
        yield (b"," if number else b"") + _encode(collection) + b":"
        async for piece in _array(records(content, collection)):
            yield piece
    yield b"}"
    if not content.portable:
        yield b',"accesses":'
        async for piece in _array(accesses(content.services, content.tenant, content.pseudonyms, content.names)):
            yield piece
    yield b"}\n"


async def _array(items: AsyncIterator[msgspec.Struct]) -> AsyncIterator[bytes]:
    yield b"["
    buffer: list[bytes] = []
    first = True
    async for item in items:
        buffer.append(_encode(item))
        if len(buffer) >= ITEMS_AT_A_TIME:
            yield _joined(buffer, first=first)
            buffer, first = [], False
    if buffer:
        yield _joined(buffer, first=first)
    yield b"]"


def _joined(items: list[bytes], *, first: bool) -> bytes:
    return (b"\n" if first else b",\n") + b",\n".join(items)
