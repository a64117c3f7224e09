"""The ZIP of a package: written as a stream in a restricted layout, which the verification enforces."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zipfile
import zlib
from datetime import UTC, datetime
from uuid import UUID

import pytest

from vault.crypto.signing import BadDocument, SigningKey
from vault.errors import TooLarge
from vault.export import archive
from vault.export import verify as archive_check
from vault.export.archive import MANIFEST, UnsafeName, check_name, write_archive
from vault.export.verify import ManifestHeader, check_archive, signed_manifest

KEY = SigningKey(bytes(range(32)))
MADE = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
COVER = ManifestHeader(UUID(int=1), "access", "Example GmbH", MADE, MADE.replace(day=19), UUID(int=2))
FILES = {"index.html": b"<h1>Your data</h1>" * 300, "data.json": b"{}", "csv/purchase.csv": os.urandom(100_000)}


async def _entries(files):
    for name, data in files.items():
        yield name, _pieces(data)


async def _pieces(data):
    for start in range(0, len(data), 1_000):
        yield data[start : start + 1_000]


async def written(files=None, manifest=None):
    def sign_off(listed):
        return signed_manifest(KEY, COVER, listed)

    entries = _entries(FILES if files is None else files)
    return b"".join([piece async for piece in write_archive(entries, manifest or sign_off)])


def checked(data):
    return check_archive(io.BytesIO(data))


def refused(data):
    with pytest.raises(BadDocument) as error:
        checked(data)
    return error.value.detail


async def test_common_tools_read_a_package():
    opened = zipfile.ZipFile(io.BytesIO(await written()))
    assert opened.testzip() is None
    assert {name: opened.read(name) for name in FILES} == FILES
    assert opened.namelist() == [*FILES, MANIFEST]
    modes = {stat.filemode(item.external_attr >> 16) for item in opened.infolist()}
    assert modes == {"-rw-r--r--"}


async def test_an_intact_package_is_valid_and_names_its_request():
    signed = checked(await written())
    assert signed.sound
    assert signed.key_id == KEY.key_id
    said = {name: signed.document[name] for name in ("request", "kind", "controller", "audit")}
    assert said == {
        "request": str(UUID(int=1)), "kind": "access", "controller": "Example GmbH", "audit": str(UUID(int=2)),
    }  # fmt: skip
    assert [entry["name"] for entry in signed.document["entries"]] == list(FILES)


async def test_the_same_entries_give_the_same_bytes():
    assert await written() == await written()


async def test_an_empty_package_contains_its_manifest():
    assert checked(await written({})).document["entries"] == []


async def test_a_package_is_written_with_little_memory():
    async def endless():
        yield "data.json", _pieces(os.urandom(2_000_000))

    sizes = [len(piece) async for piece in write_archive(endless(), lambda _listed: b"{}")]
    assert max(sizes) < 100_000


@pytest.mark.parametrize(
    "name",
    [
        "../x", "a/../x", "a/./x", "/etc/passwd", "//x", "C:/x", "C:\\x", "a\\..\\x", "a//x", "", ".", "..", "x/", ".ssh/x",
        "a b", "a\x00b", "a\nb", "\u202egpj.exe", "caf\u00e9", "~/x", "$HOME", "`x`", "a;b", "con", "NUL.csv", "csv/com1.csv",
        "x.", "a./x", "-rf", "x" * 121, "a/b/c/d/e", "\uff0e\uff0e/x",
    ],
)  # fmt: skip
async def test_unsafe_names_are_refused(name):
    with pytest.raises(UnsafeName) as error:
        await written({name: b"x"})
    assert not name or name not in error.value.detail


@pytest.mark.parametrize(
    "names",
    [("a", "a"), ("data.json", "DATA.json"), ("csv", "csv/x"), ("csv/x", "CSV"), ("manifest.json",)],
)
async def test_no_two_entries_share_a_name_on_any_system(names):
    async def entries():
        for name in names:
            yield name, _pieces(b"x")

    with pytest.raises(UnsafeName):
        _ = [piece async for piece in write_archive(entries(), lambda _listed: b"{}")]


def test_ordinary_names_are_safe():
    taken = set()
    for name in ("index.html", "csv/purchase.csv", "csv/order_line-2.csv", "data.schema.json", "README.txt"):
        check_name(name, taken)


async def test_a_package_that_becomes_too_large_is_refused_while_it_is_written(monkeypatch):
    monkeypatch.setattr(archive, "LARGEST", 50_000)
    with pytest.raises(TooLarge) as error:
        await written()
    assert error.value.code == "package-too-large"


# ---- Tampering -------------------------------------------------------------------------------------------------------


async def test_no_byte_of_a_package_can_be_changed():
    data = await written({"a.txt": b"hello", "b.txt": b"there"})
    whole = checked(data)
    assert whole.sound
    passed = []
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x01
        try:
            signed = checked(bytes(changed))
        except BadDocument:
            continue
        if signed.sound:
            passed.append(at)
    # What stays: who made it with which version of ZIP, and when, in each entry's two heads. Nobody acts on these.
    idle = set()
    for start, width in _heads(data):
        idle.update(range(start, start + width))
    assert set(passed) <= idle


def _heads(data):
    """Find the bytes of a ZIP that have no meaning: versions, times, and internal attributes."""
    for info in zipfile.ZipFile(io.BytesIO(data)).infolist():
        yield info.header_offset + 4, 2
        yield info.header_offset + 10, 4
    at = data.index(b"PK\x01\x02")
    while data[at : at + 4] == b"PK\x01\x02":
        yield at + 4, 4
        yield at + 12, 4
        yield at + 36, 4  # internal attributes, and the attributes of another system
        at += 46 + struct.unpack_from("<H", data, at + 28)[0]


@pytest.mark.parametrize("less", [1, 22, 60, 5_000])
async def test_a_truncated_package_is_refused(less):
    assert "does not end as" in refused((await written())[:-less])


async def test_bytes_before_or_after_a_package_are_refused():
    data = await written()
    assert refused(b"#!/bin/sh\n" + data)
    assert refused(data + b"x")
    comment = data[:-2] + struct.pack("<H", 4) + b"evil"
    assert "added to it" in refused(comment)


async def test_bytes_between_the_entries_are_refused():
    data = await written()
    directory = data.index(b"PK\x01\x02")
    shifted = data[:directory] + b"hidden" + data[directory:-6] + struct.pack("<LH", directory + 6, 0)
    assert "between" in refused(shifted)


async def test_a_replaced_file_is_refused():
    async def entries():
        for name in FILES:
            yield name, _pieces(b"another")

    listed = checked(await written()).document["entries"]
    real = [archive.ArchiveEntry(row["name"], row["size"], bytes.fromhex(row["sha256"])) for row in listed]
    data = b"".join([p async for p in write_archive(entries(), lambda _mine: signed_manifest(KEY, COVER, real))])
    assert refused(data) == "index.html is not the file that was signed"


@pytest.mark.parametrize("change", ["more", "fewer", "order"])
async def test_added_removed_or_reordered_files_are_refused(change):
    def sign_off(listed):
        others = {"more": listed[:-1], "fewer": [*listed, listed[0]], "order": listed[::-1]}
        return signed_manifest(KEY, COVER, others[change])

    assert "its manifest lists" in refused(await written(manifest=sign_off))


async def test_a_changed_manifest_has_an_invalid_signature():
    def sign_off(listed):
        return signed_manifest(KEY, COVER, listed).replace(b"Example GmbH", b"Example GmbX")

    assert not checked(await written(manifest=sign_off)).sound


@pytest.mark.parametrize(
    "manifest",
    [b"", b"{}", b"[]", b"\xff", b'{"package": {}, "signature": {}}', b'{"receipt": {}, "signature": {}}'],
)
async def test_a_malformed_manifest_is_refused(manifest):
    assert refused(await written(manifest=lambda _listed: manifest))


# ---- Made by others --------------------------------------------------------------------------------------------------


def made_by_hand(*entries, **how):
    """Write a ZIP with the standard library."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as created:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = how.get("method", zipfile.ZIP_DEFLATED)
            info.external_attr = how.get("mode", 0o100644) << 16
            created.writestr(info, data)
    return out.getvalue()


def test_a_link_is_refused():
    assert "link" in refused(made_by_hand(("passwd", b"/etc/passwd"), mode=0o120777))


def test_a_folder_is_refused():
    assert "folder" in refused(made_by_hand(("csv", b""), mode=0o040755))


@pytest.mark.parametrize("name", ["../../.ssh/authorized_keys", "/etc/cron.d/x", "a\\b", "x\x00y"])
def test_a_path_out_of_the_folder_is_refused(name):
    assert "not safe" in refused(_by_hand([(name.encode(), _packed(b"x"), zlib.crc32(b"x"), 1, None)]))


def test_two_files_of_one_name_are_refused():
    one = (_packed(b"one"), zlib.crc32(b"one"), 3, None)
    assert "the same name" in refused(_by_hand([(b"a.txt", *one), (b"a.txt", *one)]))
    assert "the same name" in refused(_by_hand([(b"a.txt", *one), (b"A.TXT", *one)]))


def test_an_encrypted_entry_is_refused():
    data = bytearray(made_by_hand(("a.txt", b"x")))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refused(bytes(data))


def test_other_compression_methods_are_refused():
    assert "not written by a vault" in refused(made_by_hand(("a.txt", b"x"), method=zipfile.ZIP_STORED))


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" * 30, os.urandom(500)])
def test_a_file_that_is_not_a_zip_is_refused(data):
    assert refused(data)


def _by_hand(entries):
    """Write a ZIP in the layout of a package from (name, packed, crc, packed size, size, offset), which may be false."""
    body, directory = b"", b""
    for name, packed, crc, size, offset in entries:
        here = len(body) if offset is None else offset
        if offset is None:
            body += struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 8, 8, 0, 33, 0, 0, 0, len(name), 0) + name + packed
            body += struct.pack("<4s3L", b"PK\x07\x08", crc, len(packed), size)
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 0x0314, 20, 8, 8, 0, 33, crc, len(packed), size, len(name), 0, 0, 0, 0,
            0o100644 << 16, here,
        ) + name  # fmt: skip
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, len(entries), len(entries), len(directory), len(body), 0)
    return body + directory + end


def _packed(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _signed_around(name, packed, crc, size, sha256):
    """Create a package whose manifest lists one arbitrary entry, signed with another key."""
    manifest = signed_manifest(KEY, COVER, [archive.ArchiveEntry(name.decode(), size, sha256)])
    last = (b"manifest.json", _packed(manifest), zlib.crc32(manifest), len(manifest), None)
    return _by_hand([(name, packed, crc, size, None), last])


def test_the_handmade_archive_has_the_layout_of_a_package():
    data = b"hello"
    whole = _signed_around(b"a.txt", _packed(data), zlib.crc32(data), 5, hashlib.sha256(data).digest())
    assert checked(whole).sound


def test_a_zip_bomb_is_refused_at_the_first_byte_beyond_its_declared_size(monkeypatch):
    seen = []
    real = zlib.decompressobj

    class Counting:
        def __init__(self, *args):
            self._real = real(*args)

        def decompress(self, data, most):
            piece = self._real.decompress(data, most)
            seen.append(len(piece))
            return piece

        def __getattr__(self, name):
            return getattr(self._real, name)

    bomb = _packed(bytes(50_000_000))
    data = _signed_around(b"a.txt", bomb, 0, 1_000, bytes(32))
    monkeypatch.setattr(archive_check.zlib, "decompressobj", Counting)
    assert "more than it says" in refused(data)
    assert sum(seen) < 200_000


def test_a_zip_bomb_that_declares_its_size_is_not_inflated():
    data = _signed_around(b"a.txt", _packed(bytes(1_000)), 0, archive.LARGEST, bytes(32))
    assert "more than 2 GB" in refused(data)


def test_entries_that_overlap_are_refused():
    first = (b"a.txt", _packed(bytes(1_000)), zlib.crc32(bytes(1_000)), 1_000, None)
    assert refused(_by_hand([first, (b"b.txt", *first[1:4], 0)]))


def test_bytes_hidden_after_the_end_of_an_entry_are_refused():
    data = b"hello"
    packed = _packed(data) + b"hidden"
    whole = _signed_around(b"a.txt", packed, zlib.crc32(data), 5, hashlib.sha256(data).digest())
    assert "more than its own bytes" in refused(whole)


def test_a_local_header_that_differs_from_the_directory_is_refused():
    data = b"hello"
    whole = _signed_around(b"a.txt", _packed(data), zlib.crc32(data), 5, hashlib.sha256(data).digest())
    assert "another name" in refused(whole.replace(b"a.txt", b"b.txt", 1))
