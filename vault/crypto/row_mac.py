"""MACs over the rows that decide who may see what: who may write to the main database has none of the keys.

Format 1, frozen; vectors in ``tests/crypto/vectors/row-mac-1.json``::

    row key = HKDF(token secret, salt empty, info = lp("cdv:row") lp(table), 32 bytes)
    mac     = 01 | secret version (2 bytes) | HMAC-SHA-256(row key, data)
    data    = 01 | secret version (2 bytes) | lp(table) | number of columns (1 byte) | lp(name) of each column | values
    value   = type (1 byte) | length (4 bytes) | bytes

The values are in the order of the names: the tenant and the primary key, so that a row is bound to its place, and
every other column that decides. Types keep an empty text, empty bytes and null apart; an id, a time and a number are
the same bytes on both databases.

A MAC does not show that a row is the newest: see :mod:`vault.crypto.row_versions` for what cannot be put back.
"""

from __future__ import annotations

import hmac
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from vault.clock import to_microseconds
from vault.crypto.derive import DerivedKeys
from vault.crypto.primitive import Secret, frame
from vault.crypto.row_versions import RowVersion
from vault.errors import RowTampered
from vault.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Column, Table

    from vault.ids import TenantId

FORMAT: Final = b"\x01"
MAC: Final = "mac"
"""The column of the MAC."""


class RowKeys(Secret):
    """A tenant's keys for the MACs of rows: one for each table.

    Args:
        tenant: whose rows they are.
        secret: the tenant's, of which other keys are derived under other labels.
        version: of the secret.
    """

    __slots__ = ("_keys", "head", "tenant")

    def __init__(self, tenant: TenantId, secret: bytes, *, version: int = 1) -> None:
        self.tenant = tenant
        self._keys = DerivedKeys(b"cdv:row", secret)
        self.head = FORMAT + version.to_bytes(2, "big")

    def hmac(self, table: str, data: bytes) -> bytes:
        """Return the HMAC-SHA-256 under the table's own key."""
        return self._keys.hmac(table, data)


class MacedTable:
    """A table whose rows have MACs. A store seals each row that it writes and checks each row that it acts upon.

    Args:
        table: it has a column ``mac``.
        covered: the names of the columns that the MAC covers, the primary key first. Their order is part of the format.
    """

    def __init__(self, table: Table, *covered: str) -> None:
        if not {column.name for column in table.primary_key} <= set(covered):
            raise TypeError("a MAC covers the primary key, or a row could be copied to another place")
        self.table = table
        self.covered: Final = covered
        self.columns: Final[tuple[Column[Any], ...]] = tuple(table.c[name] for name in (*covered, MAC))
        """What a query selects for :meth:`check`."""
        self._start = frame(table.name.encode()) + bytes((len(covered),)) + frame(*(name.encode() for name in covered))

    def mac(self, keys: RowKeys, values: Sequence[object]) -> bytes:
        """Return the MAC of a row, given by the values of the covered columns."""
        data = b"".join((keys.head, self._start, *map(_encoded, values)))
        return keys.head + keys.hmac(self.table.name, data)

    def seal(self, keys: RowKeys, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole row with its MAC, for an insert or an update."""
        return {**row, MAC: self.mac(keys, [row[name] for name in self.covered])}

    def reseal(self, keys: RowKeys, row: Sequence[Any], **changes: object) -> dict[str, Any]:
        """Return a row, as selected by :attr:`columns` and checked, with changes and the MAC over them."""
        return self.seal(keys, dict(zip(self.covered, row[:-1], strict=True)) | changes)

    def is_genuine(self, keys: RowKeys, row: Sequence[Any]) -> bool:
        """Return whether a row, as selected by :attr:`columns`, is as the vault wrote it; a failure is logged."""
        *values, mac = row
        with suppress(TypeError, ValueError, OverflowError):  # SQLite keeps any type in any column
            if mac is not None and hmac.compare_digest(self.mac(keys, values), bytes(mac)):
                return True
        get_logger().error(
            "a row of the main database is not as the vault wrote it, and is refused: someone without the keys of the "
            "vault wrote it, changed it, or copied it from another place",
            table=self.table.name,
            tenant=str(values[self.covered.index("tenant_id")]),
        )
        return False

    def version_of(self, row: Sequence[Any]) -> RowVersion:
        """Return the version of a genuine row, as selected by :attr:`columns`; its table counts versions."""
        place, number = self.covered.index("id"), self.covered.index("row_version")
        return RowVersion(self.table.name, UUID(bytes=row[place].bytes), row[number])

    def check(self, keys: RowKeys, row: Sequence[Any]) -> None:
        """Check a row, as selected by :attr:`columns`, before it is acted upon.

        Raises:
            RowTampered: it is not as the vault wrote it.
        """
        if not self.is_genuine(keys, row):
            raise RowTampered


def report_older(table: str, tenant: str) -> None:
    """Log that a row is older than one that the vault wrote since."""
    get_logger().error(
        "a row of the main database is older than the last one that the vault wrote, and is refused: someone put it "
        "back, or the main database was restored without the key store",
        table=table,
        tenant=tenant,
    )


def _encoded(value: object) -> bytes:
    """Return a value with its type and length. Every read calls this for each column of the person's row."""
    if isinstance(value, UUID):
        return _ID + value.bytes
    if value is None:
        return _NULL
    if isinstance(value, datetime):
        return _TIME + to_microseconds(value).to_bytes(8, "big", signed=True)
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return b"\x01" + len(data).to_bytes(4, "big") + data
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b"\x02" + len(value).to_bytes(4, "big") + bytes(value)
    if isinstance(value, int):
        return _NUMBER + value.to_bytes(8, "big", signed=True)
    raise TypeError(f"a MAC covers no value of the type {type(value).__name__}")


_NULL: Final = b"\x00" + bytes(4)
_ID: Final = b"\x03" + (16).to_bytes(4, "big")
_TIME: Final = b"\x04" + (8).to_bytes(4, "big")
_NUMBER: Final = b"\x05" + (8).to_bytes(4, "big")
