"""data.json: the whole package for machines, written record by record; schema.json describes it."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

import msgspec

from vault.export.disclosures import accesses
from vault.export.records import records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vault.export.collect import Content

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
        async for piece in _array(accesses(content.house, content.tenant, content.pseudonyms, content.names)):
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
