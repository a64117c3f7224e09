"""Check a package offline: that it is a ZIP of the one shape that ours have, and holds what its manifest lists.

The ZIP is read here and not by a library, for two readers that understand one file differently are how something is
smuggled past a check. In this order, so that nothing large is done for a file that is wrong:

1. the end of the directory is the end of the file, and the directory is small and ends right before it;
2. each entry is a plain deflated file with a safe name of its own; no folder, link, encryption, comment, extra field;
3. the entries lie one after the other from the first byte to the directory, and say there what the directory says;
4. together they inflate to no more than a package may hold, by what they say;
5. the last one is the manifest; its form and its signature hold;
6. it lists exactly the others, in their order;
7. each inflates to the size and the digest that the manifest lists, and not to a byte more.

What is left to the caller: whether the key is the one that it should be.

The manifest of a package: which entries it has, signed by the tenant, so that anybody can check it offline.

It holds no value of the person and does not name them: whoever finds it alone learns that a request was answered.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import msgspec

from vault.clock import rfc3339
from vault.crypto.signing import LARGEST as LARGEST_SIGNED
from vault.crypto.signing import BadDocument, check, parse, sign
from vault.errors import InvalidInput
from vault.export.archive import LARGEST, MANIFEST, MODE, MOST_ENTRIES, check_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from vault.crypto.signing import Signed, SigningKey
    from vault.export.archive import Listed


FIRST_BYTES: Final = b"PK\x03\x04"
"""With these every ZIP begins that has an entry."""
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_DESCRIPTOR: Final = struct.Struct("<4s3L")
_END: Final = struct.Struct("<4s4H2LH")
_MOST_DIRECTORY: Final = 256 * 1024
_STREAMED: Final = 0x08
_DEFLATED: Final = 8
_LINK: Final = 0o120000
_FOLDER: Final = 0o040000
_KIND: Final = 0o170000
_PIECE: Final = 1 << 16


class _Entry(NamedTuple):
    name: str
    crc: int
    packed: int
    size: int
    offset: int

    @property
    def data(self) -> int:
        """Where its bytes begin."""
        return self.offset + _LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.data + self.packed + _DESCRIPTOR.size


def check_archive(file: BinaryIO) -> Signed:
    """Check a package.

    Args:
        file: the ZIP, open for reading; it is read in small pieces.

    Returns:
        the manifest, with ``sound`` telling whether its signature holds; if it does not, steps 6 and 7 were not taken.

    Raises:
        BadDocument: the package is not whole, or no package of ours; the detail says what is wrong.
    """
    entries = _directory(file)
    _check_layout(file, entries)
    if sum(each.size for each in entries) > LARGEST:
        raise BadDocument("the package says of itself that it inflates to more than 2 GB")
    signed, listed = check_manifest(_manifest(file, entries))
    if not signed.sound:
        return signed
    others = entries[:-1]
    if [name for name, _size, _digest in listed] != [each.name for each in others]:
        raise BadDocument("the package does not hold the files that its manifest lists, in their order")
    for each, (_name, size, digest) in zip(others, listed, strict=True):
        if each.size != size or _sha256(file, each) != digest:
            raise BadDocument(f"{each.name} is not the file that was signed")
    return signed


def _directory(file: BinaryIO) -> list[_Entry]:
    """Take steps 1 and 2."""
    length = file.seek(0, 2)
    if not _END.size <= length <= LARGEST:
        raise BadDocument("the file is too small or too large to be a package")
    end = _END.unpack(_at(file, length - _END.size, _END.size))
    signature, disk, first_disk, here, count, size, offset, comment = end
    if signature != b"PK\x05\x06" or comment or disk or first_disk or here != count:
        raise BadDocument("the file does not end as a package does: it is cut off, or something was added to it")
    if offset + size != length - _END.size or size > _MOST_DIRECTORY or not 1 <= count <= MOST_ENTRIES + 1:
        raise BadDocument("the package's directory does not lie where it belongs, or is too large")
    directory = _at(file, offset, size)
    entries: list[_Entry] = []
    taken: set[str] = set()
    at = 0
    for _ in range(count):
        entry, at = _central(directory, at, taken)
        entries.append(entry)
    if at != size:
        raise BadDocument("the package's directory holds more than it says")
    if entries[-1].end != offset:
        raise BadDocument("something lies between the package's files and its directory")
    return entries


def _central(directory: bytes, at: int, taken: set[str]) -> tuple[_Entry, int]:
    if at + _CENTRAL.size > len(directory):
        raise BadDocument("the package's directory is cut off")
    read = _CENTRAL.unpack_from(directory, at)
    signature, _made, _needed, flags, method, _time, _date, crc, packed, size, name, extra, comment, disk = read[:14]
    _internal, external, offset = read[14:]
    end = at + _CENTRAL.size + name
    if signature != b"PK\x01\x02" or end > len(directory):
        raise BadDocument("the package's directory is not one")
    text = _name(directory[at + _CENTRAL.size : end], taken)
    mode = external >> 16
    if mode & _KIND in {_LINK, _FOLDER}:
        raise BadDocument("the package holds a link or a folder; ours hold plain files only")
    if flags & 0x01:
        raise BadDocument("the package holds an encrypted entry; a package is encrypted as a whole, or not at all")
    if flags != _STREAMED or method != _DEFLATED or extra or comment or disk or mode != MODE:
        raise BadDocument("the package was not written by a vault: an entry has a form that ours do not have")
    return _Entry(text, crc, packed, size, offset), end


def _name(raw: bytes, taken: set[str]) -> str:
    try:
        text = raw.decode("ascii")
        check_name(text, taken)
    except UnicodeDecodeError:
        raise BadDocument("an entry's name is not plain ASCII") from None
    except InvalidInput as error:
        raise BadDocument(error.detail) from None
    return text


def _check_layout(file: BinaryIO, entries: list[_Entry]) -> None:
    """Take step 3: entries that overlap, or hide bytes between them, are how a ZIP says two things at once."""
    expected = 0
    for each in entries:
        if each.offset != expected:
            raise BadDocument("the package's files overlap, or something lies between them")
        head = _LOCAL.unpack(_at(file, each.offset, _LOCAL.size))
        signature, _needed, flags, method, _time, _date, *sizes, name, extra = head
        said = (signature, flags, method, any(sizes), name, extra)
        if said != (FIRST_BYTES, _STREAMED, _DEFLATED, False, len(each.name), 0):
            raise BadDocument("a file of the package says something else than its directory")
        if _at(file, each.offset + _LOCAL.size, name) != each.name.encode():
            raise BadDocument("a file of the package has another name than its directory says")
        after = _DESCRIPTOR.unpack(_at(file, each.end - _DESCRIPTOR.size, _DESCRIPTOR.size))
        if after != (b"PK\x07\x08", each.crc, each.packed, each.size):
            raise BadDocument("a file of the package says something else than its directory")
        expected = each.end


def _manifest(file: BinaryIO, entries: list[_Entry]) -> bytes:
    """Take the first part of step 5."""
    last = entries[-1]
    if last.name != MANIFEST or last.size > LARGEST_MANIFEST:
        raise BadDocument("the package does not end with its manifest")
    return b"".join(_inflated(file, last))


def _sha256(file: BinaryIO, entry: _Entry) -> str:
    digest = hashlib.sha256()
    for piece in _inflated(file, entry):
        digest.update(piece)
    return digest.hexdigest()


def _inflated(file: BinaryIO, entry: _Entry) -> Iterator[bytes]:
    """Inflate an entry in small pieces; a bomb is given up at the first byte beyond what the entry says."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left, at, got, crc = entry.packed, entry.data, 0, 0
    waiting = b""
    while not inflater.eof:
        if not waiting:
            waiting = _at(file, at, min(left, _PIECE))
            at, left = at + len(waiting), left - len(waiting)
        try:
            piece = inflater.decompress(waiting, _PIECE)
        except zlib.error:
            raise BadDocument(f"{entry.name} is damaged") from None
        if not piece and not waiting:
            raise BadDocument(f"{entry.name} is cut off")
        waiting = inflater.unconsumed_tail
        got += len(piece)
        crc = zlib.crc32(piece, crc)
        if got > entry.size:
            raise BadDocument(f"{entry.name} inflates to more than it says")
        yield piece
    if got != entry.size or left or inflater.unused_data or crc != entry.crc:
        raise BadDocument(f"{entry.name} is damaged, or holds more than its own bytes")


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise BadDocument("the package is cut off")
    return data


LABEL: Final = "cdv-package-v1"
KIND: Final = "package"
"""The name under which the document stands in its signed file."""
LARGEST_MANIFEST: Final = LARGEST_SIGNED
_KEYS: Final = {"request", "kind", "controller", "created_at", "expires_at", "audit", "entries"}


class Cover(NamedTuple):
    """What a manifest says of the whole package.

    Attributes:
        kind: ``access`` or ``portability``.
        controller: who is responsible, by name.
        audit: the audit entry that tells of its making.
    """

    request: UUID
    kind: str
    controller: str
    created_at: datetime
    expires_at: datetime
    audit: UUID


def signed_manifest(key: SigningKey, cover: Cover, listed: Sequence[Listed]) -> bytes:
    """Write the signed manifest as a file."""
    document = {
        "request": str(cover.request),
        "kind": cover.kind,
        "controller": cover.controller,
        "created_at": rfc3339(cover.created_at),
        "expires_at": rfc3339(cover.expires_at),
        "audit": str(cover.audit),
        "entries": [{"name": each.name, "size": each.size, "sha256": each.sha256.hex()} for each in listed],
    }
    made = sign(key, LABEL, KIND, document, cover.created_at)
    return msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"


def check_manifest(data: bytes) -> tuple[Signed, list[tuple[str, int, str]]]:
    """Read a manifest: its signature, checked by the key that it carries, and the entries that it lists.

    Raises:
        BadDocument: it is not written as manifests are.
    """
    signed = check(parse(data), LABEL, KIND)
    document = signed.document
    texts = _KEYS - {"entries"}
    if set(document) != _KEYS or not all(isinstance(document[name], str) for name in texts):
        raise BadDocument("the manifest does not have its parts")
    if not isinstance(document["entries"], list):
        raise BadDocument("the manifest lists no entries")
    return signed, [_entry(each) for each in document["entries"]]


def _entry(each: Any) -> tuple[str, int, str]:
    if not isinstance(each, dict) or set(each) != {"name", "size", "sha256"}:
        raise BadDocument("the manifest lists an entry without its parts")
    name, size, sha256 = each["name"], each["size"], each["sha256"]
    if not isinstance(name, str) or type(size) is not int or size < 0 or not isinstance(sha256, str):
        raise BadDocument("the manifest lists an entry with parts of another kind")
    return name, size, sha256
