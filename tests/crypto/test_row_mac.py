"""The MAC of a row: computed a second time from the format's description, and bound to every column and place."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, String, Table

from tests.crypto import second_decoder
from vault import logs
from vault.crypto.row_mac import MacedTable, RowKeys
from vault.errors import CannotOpen, RowTampered
from vault.storage.columns import Id, Moment

SECRET = bytes(range(32))
KEYS = RowKeys("default", SECRET)
THING = Table(
    "thing",
    MetaData(),
    Column("tenant_id", String, primary_key=True),
    Column("id", Id, primary_key=True),
    Column("name", String, nullable=True),
    Column("raw", LargeBinary, nullable=True),
    Column("at", Moment, nullable=True),
    Column("count", BigInteger),
    Column("seen", BigInteger),
    Column("mac", LargeBinary, nullable=True),
)
COVERED = ("tenant_id", "id", "name", "raw", "at", "count")
THINGS = MacedTable(THING, *COVERED)
AT = datetime(2026, 3, 5, 12, tzinfo=UTC)
ROW = {"tenant_id": "default", "id": UUID(int=7), "name": "é", "raw": b"\x00\xff", "at": AT, "count": -1, "seen": 3}


def picked(row):
    return [row[name] for name in (*COVERED, "mac")]


def lp(part):
    return len(part).to_bytes(2, "big") + part


def test_the_mac_is_the_one_that_the_format_describes():
    values = [
        (1, b"default"), (3, bytes(15) + b"\x07"), (1, "é".encode()), (2, b"\x00\xff"),
        (4, (1_772_712_000_000_000).to_bytes(8, "big")), (5, b"\xff" * 8),
    ]  # fmt: skip
    head = b"\x01\x00\x01"
    data = head + lp(b"thing") + bytes([6]) + b"".join(lp(name.encode()) for name in COVERED)
    data += b"".join(bytes([kind]) + len(raw).to_bytes(4, "big") + raw for kind, raw in values)
    key = second_decoder.hkdf(SECRET, lp(b"cdv:row") + lp(b"thing"), 32)
    assert THINGS.seal(KEYS, ROW)["mac"] == head + hmac.new(key, data, hashlib.sha256).digest()


def test_a_sealed_row_is_genuine_and_what_the_mac_leaves_out_may_change():
    sealed = THINGS.seal(KEYS, ROW)
    assert {name: sealed[name] for name in ROW} == ROW
    THINGS.check(KEYS, picked({**sealed, "seen": 4}))


@pytest.mark.parametrize(
    "change",
    [
        {"tenant_id": "other"}, {"id": UUID(int=8)}, {"name": "e"}, {"name": None}, {"name": ""}, {"raw": b"\x00"},
        {"raw": None}, {"raw": b""}, {"at": AT + timedelta(microseconds=1)}, {"at": None}, {"count": 0},
        {"name": "é".encode()}, {"raw": "\x00\xff"}, {"count": "-1"}, {"count": 2**64}, {"count": -1.0},
        {"at": "2026"}, {"mac": None}, {"mac": b""}, {"mac": bytes(35)}, {"mac": 1},
    ],
)  # fmt: skip
def test_a_changed_row_is_not(change):
    stream = io.StringIO()
    logs.configure(stream=stream)
    row = THINGS.seal(KEYS, ROW) | change
    with pytest.raises(RowTampered) as refused:
        THINGS.check(KEYS, picked(row))
    assert isinstance(refused.value, CannotOpen)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["table"] == "thing"
    assert "é" not in line


def test_values_cannot_move_between_columns():
    one = THINGS.mac(KEYS, ["default", UUID(int=7), "ab", b"c", AT, 1])
    assert one != THINGS.mac(KEYS, ["default", UUID(int=7), "a", b"bc", AT, 1])


def test_another_table_another_secret_and_another_version_have_other_macs():
    other = MacedTable(
        Table(
            "other", MetaData(), *(Column(each.name, each.type, primary_key=each.primary_key) for each in THING.columns)
        ),
        *COVERED,
    )
    macs = [
        THINGS.seal(KEYS, ROW)["mac"],
        other.seal(KEYS, ROW)["mac"],
        THINGS.seal(RowKeys("default", bytes(32)), ROW)["mac"],
        THINGS.seal(RowKeys("default", SECRET, version=2), ROW)["mac"],
        MacedTable(THING, *reversed(COVERED)).seal(KEYS, ROW)["mac"],
    ]
    assert len(set(macs)) == len(macs)


def test_the_same_instant_in_another_zone_has_the_same_mac():
    elsewhere = AT.astimezone(timezone(timedelta(hours=9)))
    assert THINGS.seal(KEYS, ROW | {"at": elsewhere})["mac"] == THINGS.seal(KEYS, ROW)["mac"]


def test_a_mac_without_the_place_of_the_row_is_a_mistake_of_the_program():
    with pytest.raises(TypeError):
        MacedTable(THING, "tenant_id", "name")
    with pytest.raises(TypeError):
        THINGS.mac(KEYS, ["default", UUID(int=7), 1.5, b"", AT, 1])
