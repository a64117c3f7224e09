"""Write the signed manifest of a package, and verify a package offline.

The manifest lists the files of a package and is signed with the tenant's key. It contains no personal data: it shows
only that a request was answered.

The verification accepts only the restricted ZIP layout of :mod:`vault.export.archive`. It reads the ZIP itself and not
by a library, because content can be smuggled past a check if two readers interpret one file differently. The steps are
ordered so that an invalid file is rejected before anything expensive is done:

1. The file ends with the end record of the central directory; the directory is small and directly before it.
2. Each entry is a plain deflated file with a safe, unique name; no folder, link, encryption, comment or extra field.
3. The entries are contiguous from the first byte to the directory, and their local headers agree with the directory.
4. The sum of their declared sizes is within the limit for packages.
5. The last entry is the manifest, well-formed and validly signed.
6. The manifest lists exactly the other entries, in their order.
7. Each entry inflates to exactly the size and the digest that the manifest lists.

The caller must check that the signing key is the expected one.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

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
    from vault.export.archive import ArchiveEntry


FIRST_BYTES: Final = b"PK\x03\x04"
"""Signature of a local file header: the first bytes of a ZIP with an entry."""
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


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    crc: int
    packed: int
    size: int
    offset: int

    @property
    def data(self) -> int:
        """Offset of the compressed bytes."""
        return self.offset + _LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        """Offset of the next entry."""
        return self.data + self.packed + _DESCRIPTOR.size


def check_archive(file: BinaryIO) -> Signed:
    """Verify a package.

    Args:
        file: the ZIP, open for reading; it is read in small pieces.

    Returns:
        the manifest. If its signature is invalid, ``sound`` is false, and steps 6 and 7 were not done.

    Raises:
        BadDocument: the package is incomplete, or was not written by a vault.
    """
    entries = _directory(file)  # 1, 2
    _check_layout(file, entries)  # 3
    if sum(entry.size for entry in entries) > LARGEST:  # 4
        raise BadDocument("the package would inflate to more than 2 GB")
    signed, listed = check_manifest(_manifest(file, entries))  # 5
    if not signed.sound:
        return signed
    others = entries[:-1]
    if [name for name, _size, _digest in listed] != [entry.name for entry in others]:  # 6
        raise BadDocument("the package does not hold the files that its manifest lists, in their order")
    for entry, (_name, size, digest) in zip(others, listed, strict=True):  # 7
        if entry.size != size or _sha256(file, entry) != digest:
            raise BadDocument(f"{entry.name} is not the file that was signed")
    return signed


def _directory(file: BinaryIO) -> list[_Entry]:
    """Read the central directory (steps 1 and 2)."""
    length = file.seek(0, 2)
    if not _END.size <= length <= LARGEST:
        raise BadDocument("the file is too small or too large to be a package")
    end = _END.unpack(_at(file, length - _END.size, _END.size))
    signature, disk, first_disk, disk_count, count, size, offset, comment = end
    if signature != b"PK\x05\x06" or comment or disk or first_disk or disk_count != count:
        raise BadDocument("the file does not end as a package does: it is cut off, or something was added to it")
    if offset + size != length - _END.size or size > _MOST_DIRECTORY or not 1 <= count <= MOST_ENTRIES + 1:
        raise BadDocument("the package's directory is at the wrong place or too large")
    directory = _at(file, offset, size)
    entries: list[_Entry] = []
    taken: set[str] = set()
    position = 0
    for _ in range(count):
        entry, position = _central(directory, position, taken)
        entries.append(entry)
    if position != size:
        raise BadDocument("the package's directory is larger than its entries")
    if entries[-1].end != offset:
        raise BadDocument("there are bytes between the package's files and its directory")
    return entries


def _central(directory: bytes, start: int, taken: set[str]) -> tuple[_Entry, int]:
    """Read a central directory header; returns its entry and the position of the next header."""
    if start + _CENTRAL.size > len(directory):
        raise BadDocument("the package's directory is cut off")
    header = _CENTRAL.unpack_from(directory, start)
    signature, _made, _needed, flags, method, _time, _date, crc, packed, size, name, extra, comment, disk = header[:14]
    _internal, external, offset = header[14:]
    end = start + _CENTRAL.size + name
    if signature != b"PK\x01\x02" or end > len(directory):
        raise BadDocument("the package's directory is malformed")
    text = _name(directory[start + _CENTRAL.size : end], taken)
    mode = external >> 16
    if mode & _KIND in {_LINK, _FOLDER}:
        raise BadDocument("the package holds a link or a folder; ours hold plain files only")
    if flags & 0x01:
        raise BadDocument("the package holds an encrypted entry; a package is encrypted as a whole, or not at all")
    if flags != _STREAMED or method != _DEFLATED or extra or comment or disk or mode != MODE:
        raise BadDocument("the package was not written by a vault: an entry has another form")
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
    """Check that the entries are contiguous and agree with the directory (step 3)."""
    # Entries that overlap or have bytes between them make readers disagree on the content of a ZIP.
    expected = 0
    for entry in entries:
        if entry.offset != expected:
            raise BadDocument("the package's files overlap, or there are bytes between them")
        header = _LOCAL.unpack(_at(file, entry.offset, _LOCAL.size))
        signature, _needed, flags, method, _time, _date, *sizes, name, extra = header
        checked = (signature, flags, method, any(sizes), name, extra)
        if checked != (FIRST_BYTES, _STREAMED, _DEFLATED, False, len(entry.name), 0):
            raise BadDocument("a file of the package contradicts its directory")
        if _at(file, entry.offset + _LOCAL.size, name) != entry.name.encode():
            raise BadDocument("a file of the package has another name in the directory")
        descriptor = _DESCRIPTOR.unpack(_at(file, entry.end - _DESCRIPTOR.size, _DESCRIPTOR.size))
        if descriptor != (b"PK\x07\x08", entry.crc, entry.packed, entry.size):
            raise BadDocument("a file of the package contradicts its directory")
        expected = entry.end


def _manifest(file: BinaryIO, entries: list[_Entry]) -> bytes:
    """Read the manifest (step 5)."""
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
    """Inflate an entry in small pieces; a ZIP bomb is rejected at the first byte beyond the declared size."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left, position, size, crc = entry.packed, entry.data, 0, 0
    pending = b""
    while not inflater.eof:
        if not pending:
            pending = _at(file, position, min(left, _PIECE))
            position, left = position + len(pending), left - len(pending)
        try:
            piece = inflater.decompress(pending, _PIECE)
        except zlib.error:
            raise BadDocument(f"{entry.name} is damaged") from None
        if not piece and not pending:
            raise BadDocument(f"{entry.name} is cut off")
        pending = inflater.unconsumed_tail
        size += len(piece)
        crc = zlib.crc32(piece, crc)
        if size > entry.size:
            raise BadDocument(f"{entry.name} inflates to more than it says")
        yield piece
    if size != entry.size or left or inflater.unused_data or crc != entry.crc:
        raise BadDocument(f"{entry.name} is damaged, or holds more than its own bytes")


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise BadDocument("the package is cut off")
    return data


LABEL: Final = "cdv-package-v1"
KIND: Final = "package"
"""The key of the document in the signed file."""
LARGEST_MANIFEST: Final = LARGEST_SIGNED
_KEYS: Final = {"request", "kind", "controller", "created_at", "expires_at", "audit", "entries"}


@dataclass(frozen=True, slots=True)
class ManifestHeader:
    """The manifest without the list of entries.

    Attributes:
        kind: ``access`` or ``portability``.
        controller: the controller's name.
        audit: the audit entry of the package's creation.
    """

    request: UUID
    kind: str
    controller: str
    created_at: datetime
    expires_at: datetime
    audit: UUID


def signed_manifest(key: SigningKey, header: ManifestHeader, entries: Sequence[ArchiveEntry]) -> bytes:
    """Write the signed manifest as a file."""
    document = {
        "request": str(header.request),
        "kind": header.kind,
        "controller": header.controller,
        "created_at": rfc3339(header.created_at),
        "expires_at": rfc3339(header.expires_at),
        "audit": str(header.audit),
        "entries": [{"name": entry.name, "size": entry.size, "sha256": entry.sha256.hex()} for entry in entries],
    }
    signed = sign(key, LABEL, KIND, document, header.created_at)
    return msgspec.json.format(msgspec.json.encode(signed), indent=2) + b"\n"


def check_manifest(data: bytes) -> tuple[Signed, list[tuple[str, int, str]]]:
    """Read a manifest, and check its signature with the key that it contains; returns the listed entries as well.

    Raises:
        BadDocument: the manifest is malformed.
    """
    signed = check(parse(data), LABEL, KIND)
    document = signed.document
    texts = _KEYS - {"entries"}
    if set(document) != _KEYS or not all(isinstance(document[name], str) for name in texts):
        raise BadDocument("the manifest lacks keys, or has unknown ones")
    if not isinstance(document["entries"], list):
        raise BadDocument("the manifest lists no entries")
    return signed, [_listed_entry(entry) for entry in document["entries"]]


def _listed_entry(entry: object) -> tuple[str, int, str]:
    if not isinstance(entry, dict) or set(entry) != {"name", "size", "sha256"}:
        raise BadDocument("the manifest lists an entry that lacks keys, or has unknown ones")
    name, size, sha256 = entry["name"], entry["size"], entry["sha256"]
    if not isinstance(name, str) or type(size) is not int or size < 0 or not isinstance(sha256, str):
        raise BadDocument("the manifest lists an entry with values of the wrong type")
    return name, size, sha256
