"""What a package of access or portability holds, entry by entry (Arts. 15 and 20 GDPR).

data.json: the whole package for machines, written record by record; schema.json describes it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

import msgspec

from vault.export.collect import gather
from vault.export.csv_tables import accesses_sheet, paths, sheet
from vault.export.disclosures import accesses
from vault.export.html import page
from vault.export.records import records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vault.context import Services
    from vault.export.collect import Content
    from vault.ids import SubjectId, TenantId
    from vault.requests.model import Request


PORTABILITY = "portability"


async def package_entries(
    services: Services, tenant: TenantId, subject: SubjectId, request: Request
) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
    """Go through the entries of a package: each entry's path in the ZIP and its bytes, to be read before the next.

    Values are opened while they are written and never lie around: of a thousand records some hundred are in memory at
    a time.

    Raises:
        NotFound: there is no such person, or no longer.
        CannotOpen: a sealed value does not open at its place.
    """
    content = await gather(
        services, tenant, subject, request, portable=request.kind == PORTABILITY, language=request.language
    )
    for path, written in entries(content):
        yield path, written


def entries(content: Content) -> list[tuple[str, AsyncIterator[bytes]]]:
    """List the entries of a package, the page for people first; nothing is read before its turn."""
    found = [
        ("index.html", page(content)),
        ("README.txt", _at_once(content.texts.readme(access=not content.portable).replace("\n", "\r\n").encode())),
        ("data.json", data_file(content)),
        (SCHEMA, _at_once(schema())),
    ]
    found += [(path, sheet(content, name)) for name, path in paths(content.head.collections).items()]
    if not content.portable:
        found.append(("accesses.csv", accesses_sheet(content)))
    return found


async def _at_once(whole: bytes) -> AsyncIterator[bytes]:
    yield whole


ITEMS_AT_A_TIME: Final = 200
SCHEMA: Final = "data.schema.json"

_encode = msgspec.json.Encoder().encode


def schema() -> bytes:
    """Return the JSON Schema (2020-12) of data.json."""
    return files("vault.export").joinpath("schema.json").read_bytes()


async def data_file(content: Content) -> AsyncIterator[bytes]:
    """Write data.json: the facts, then the records of each collection, then every single access.

    Raises:
        CannotOpen: a value does not open at its place.
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
    waiting: list[bytes] = []
    first = True
    async for item in items:
        waiting.append(_encode(item))
        if len(waiting) >= ITEMS_AT_A_TIME:
            yield _joined(waiting, first=first)
            waiting, first = [], False
    if waiting:
        yield _joined(waiting, first=first)
    yield b"]"


def _joined(items: list[bytes], *, first: bool) -> bytes:
    return (b"\n" if first else b",\n") + b",\n".join(items)
