"""Scans for destroyed keys in the key store's rows, and in the raw bytes of its files."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vault.crypto.key_store import load_data_keys
from vault.crypto.tenant_keys import WRAPPED

if TYPE_CHECKING:
    from vault.crypto.tenant_keys import TenantKeys
    from vault.ids import SubjectId
    from vault.storage.database import Database

A_PIECE: Final = 16 * 1024 * 1024
"""Bytes of a file that are scanned at a time."""


@dataclass(frozen=True, slots=True)
class Remains:
    """The result of a scan: a person's destroyed keys that were found, and the number and size of the scanned files."""

    keys: int
    files: int
    bytes: int


async def look_for(
    database: Database, owner: TenantKeys, subject: SubjectId, *, kept: int | None, newest: int
) -> Remains:
    """Scan for a person's keys other than the kept one; see :meth:`vault.crypto.keyring.Keyring.remains`."""
    rows = (await load_data_keys(database, owner.name, [subject])).get(subject, [])
    keys = sum(row[0] != kept for row in rows)
    destroyed = [version for version in range(1, newest + 1) if version != kept]
    files = database.files()
    size = 0
    for file in files:
        size += file.stat().st_size
        keys += await asyncio.to_thread(_keys_in_file, owner, subject, database.raw(file), destroyed)
    return Remains(keys, len(files), size)


def _keys_in_file(owner: TenantKeys, subject: SubjectId, descriptor: int, versions: list[int]) -> int:
    """Scan a file piece by piece. Pieces overlap by less than a key, so that none is missed or counted twice."""
    found = at = 0
    before = b""
    while piece := os.pread(descriptor, A_PIECE, at):
        at += len(piece)
        data = before + piece
        found += owner.data_keys_in(subject, data, versions)
        before = data[-(WRAPPED - 1) :]
    return found
