"""The sealed file of a backup: read by a second decoder too; cut off, swapped, extended or changed it does not open."""

from __future__ import annotations

import base64
import io
import json
import os

import pytest

from tests.backup.second_decoder import decode
from vault.crypto import backup_stream
from vault.crypto.backup_stream import PIECE, BackupDamaged, NotABackup, begin, open_stream
from vault.crypto.providers import EnvironmentRootKey
from vault.errors import Misconfigured

ROOT, OTHER_ROOT = bytes(range(32)), bytes(range(1, 33))
ID, MOMENT = "0199f3a2-7c1e-7b52-9d0c-2f4e6a8b0c1d", "2026-03-05T12:00:00.000000Z"
SEALED = PIECE + 16
SIZES = (0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 5)


def provider(monkeypatch, root=ROOT):
    monkeypatch.setenv("TEST_ROOT_KEY", base64.b64encode(root).decode())
    return EnvironmentRootKey("TEST_ROOT_KEY")


@pytest.fixture
def root(monkeypatch):
    return provider(monkeypatch)


def sealed(root, plain, *, kind="data", backup=ID, chunk=50_000):
    chunks = (plain[start : start + chunk] for start in range(0, len(plain), chunk))
    return b"".join(begin(root, kind, backup, MOMENT).seal(chunks))


def opened(root, file):
    return b"".join(open_stream(io.BytesIO(file), root))


def parts(file):
    head, _, rest = file.partition(b"\n")
    return head + b"\n", [rest[start : start + SEALED] for start in range(0, len(rest), SEALED)]


@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_opens_for_us_and_for_a_second_decoder(root, size):
    plain = os.urandom(size)
    file = sealed(root, plain)
    assert opened(root, file) == plain
    header, read = decode(ROOT, file)
    assert read == plain
    assert (header["kind"], header["id"], header["created_at"]) == ("data", ID, MOMENT)
    assert header["root_reference"] == root.reference


def test_chunking_of_the_plaintext_does_not_matter(root):
    assert {len(sealed(root, bytes(3 * PIECE), chunk=chunk)) for chunk in (1_000, PIECE, 10 * PIECE)} == {
        len(sealed(root, bytes(3 * PIECE)))
    }


def test_a_file_is_the_one_that_its_format_says(root, monkeypatch):
    monkeypatch.setattr(backup_stream.os, "urandom", lambda count: bytes(range(100, 100 + count)))
    head, (piece,) = parts(sealed(root, b"what is to be kept"))
    assert json.loads(head)["format"] == "cdv-backup-1"
    wrapped = base64.b64decode(json.loads(head)["key"])
    assert wrapped.startswith(b"\x01\x00\x00" + bytes(range(100, 112)))
    assert decode(ROOT, head + piece)[1] == b"what is to be kept"
    again = parts(sealed(root, b"what is to be kept"))
    assert again == (head, [piece])  # nothing but the two draws of randomness makes two files differ
    assert piece.hex() == KNOWN


KNOWN = "d4f96522a543fadde98bb96a09b2e83848a5d81bd90a11bc0596186dc04254630d2b"
"""Frozen: a file of today must open for ever."""


def test_no_two_files_share_a_key(root):
    first, second = parts(sealed(root, b"the same")), parts(sealed(root, b"the same"))
    assert first[0] != second[0]
    assert first[1] != second[1]


@pytest.mark.parametrize("size", [1, PIECE, PIECE + 1, 3 * PIECE])
def test_a_file_that_is_cut_off_does_not_open(root, size):
    head, pieces = parts(sealed(root, os.urandom(size)))
    whole = b"".join(pieces)
    for shorter in (b"", whole[:1], whole[:-1], whole[: -len(pieces[-1])], whole[:15]):
        with pytest.raises(BackupDamaged):
            opened(root, head + shorter)


def test_a_file_that_goes_on_does_not_open(root):
    head, (first, second) = parts(sealed(root, os.urandom(2 * PIECE)))
    for longer in (first + second + b"x", first + second + second, first + second + first):
        with pytest.raises(BackupDamaged):
            opened(root, head + longer)
    short = sealed(root, b"short")
    for more in (b"\x00", bytes(16), bytes(SEALED)):
        with pytest.raises(BackupDamaged):
            opened(root, short + more)


def test_pieces_that_are_swapped_left_out_or_doubled_do_not_open(root):
    head, (a, b, c) = parts(sealed(root, os.urandom(3 * PIECE)))
    for wrong in ([b, a, c], [a, c, b], [a, c], [b, c], [a, a, b, c], [a, b, b, c]):
        with pytest.raises(BackupDamaged):
            opened(root, head + b"".join(wrong))


def test_a_piece_of_another_file_does_not_open(root):
    head, (_, last) = parts(sealed(root, bytes(2 * PIECE)))
    _, (other, _) = parts(sealed(root, bytes(2 * PIECE)))
    with pytest.raises(BackupDamaged):
        opened(root, head + other + last)


def test_every_bit_of_a_file_counts(root):
    file = sealed(root, b"a value that must not change")
    start = file.index(b"\n") + 1
    for position in range(start, len(file)):
        changed = bytearray(file)
        changed[position] ^= 1
        with pytest.raises(BackupDamaged):
            opened(root, bytes(changed))


@pytest.mark.parametrize(
    ("name", "value"), [("kind", "keys"), ("id", ID[::-1]), ("created_at", MOMENT.replace("3", "4"))]
)
def test_a_header_that_was_changed_opens_nothing(root, name, value):
    file = sealed(root, b"values")
    head, pieces = parts(file)
    about = json.loads(head) | {name: value}
    line = json.dumps(about, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    with pytest.raises(BackupDamaged):
        opened(root, line + b"".join(pieces))


def test_a_header_that_is_only_written_otherwise_opens_nothing_either(root):
    head, pieces = parts(sealed(root, b"values"))
    with pytest.raises(BackupDamaged):
        opened(root, json.dumps(json.loads(head)).encode() + b"\n" + b"".join(pieces))


def test_another_root_key_is_told_by_name(root, monkeypatch):
    file = sealed(root, b"values")
    other = provider(monkeypatch, OTHER_ROOT)
    with pytest.raises(Misconfigured, match="not the one that this backup was sealed with") as error:
        open_stream(io.BytesIO(file), other)
    assert root.reference in error.value.hint
    assert other.reference in error.value.hint


def test_another_root_key_that_claims_to_be_the_one_opens_nothing(root, monkeypatch):
    file = sealed(root, b"values")
    other = provider(monkeypatch, OTHER_ROOT)
    with pytest.raises(BackupDamaged):
        open_stream(io.BytesIO(file.replace(root.reference.encode(), other.reference.encode(), 1)), other)


@pytest.mark.parametrize(
    "file",
    [b"", b"\n", b"{}\n", b"[]\n", b"null\n", b"no json\n", b"SQLite format 3\x00" + bytes(100), b'{"format":"cdv-backup-2"}\n',
     b"x" * 10_000, b'{"format":"cdv-backup-1","created_at":1,"id":2,"key":3,"kind":4,"root_reference":5}\n', b"\xff\xfe\n"],
)  # fmt: skip
def test_what_is_no_backup_is_told_as_such(root, file):
    with pytest.raises(NotABackup):
        open_stream(io.BytesIO(file), root)


def test_keys_have_a_redacted_representation(root):
    sealer = begin(root, "keys", ID, MOMENT)
    assert repr(sealer) == "<Sealer>"
    assert repr(open_stream(io.BytesIO(sealed(root, b"")), root)) == "<Opener>"
