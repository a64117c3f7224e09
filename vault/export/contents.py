"""The files of an access or portability package (Arts. 15 and 20 GDPR).

``index.html`` and ``README.txt`` are for people, ``data.json`` and the CSV tables for machines. ``data.json`` is
written record by record; ``data.schema.json`` describes it.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

import msgspec

from vault.export.collect import gather
from vault.export.csv_tables import accesses_table, collection_table, table_paths
from vault.export.disclosures import accesses
from vault.export.html import html_page
from vault.export.records import records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vault.context import Services
    from vault.export.collect import Content
    from vault.ids import SubjectId, TenantId
    from vault.requests.model import Request


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
    files = [
        ("index.html", html_page(content)),
        ("README.txt", _single(content.texts.readme(access=not content.portable).replace("\n", "\r\n").encode())),
        ("data.json", data_file(content)),
        (SCHEMA, _single(schema())),
    ]
    files += [(path, collection_table(content, name)) for name, path in table_paths(content.head.collections).items()]
    if not content.portable:
        files.append(("accesses.csv", accesses_table(content)))
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
