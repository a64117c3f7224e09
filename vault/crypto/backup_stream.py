"""The sealed file of a backup: a header, which is one line of JSON, then pieces that only the root key opens.

::

    file     = header LF | pieces
    header   = canonical JSON: {"created_at", "format": "cdv-backup-1", "id", "key", "kind", "root_reference"}
    key      = base64 of the file key, 32 random bytes, wrapped under the root key;
               AAD = lp("cdv:backup") lp(kind) lp(id)
    stream   = HKDF-SHA-256(file key, salt = SHA-256(header LF), info = lp("cdv:backup-stream"), 32 bytes)
    pieces   = 64 KiB of plaintext each, the last one shorter or as long: AES-256-GCM under the stream key, no AAD
    nonce    = number of the piece (11 bytes, big-endian, from 0) | 01 for the last piece, 00 for any other

Nonces are counted. That is safe here, because every file has a random file key of its own, so no stream key is used for
two messages under one nonce, and a file has fewer than 2^88 pieces. The number detects pieces that were moved, doubled
or left out, the last byte a file that was cut off or extended, and the salt a changed header. This is the STREAM
construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015), which ``age`` uses too.

The manifest of a backup is not secret. A MAC protects it against changes::

    manifest key = 32 random bytes, wrapped under the root key; AAD = lp("cdv:backup-manifest") lp(id)
    MAC          = HMAC-SHA-256(HKDF(manifest key, salt empty, info = lp("cdv:backup-mac"), 32 bytes), manifest)
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.crypto.derive import derive
from vault.crypto.primitive import KEY, PIECE, TAG, Pieces, Secret, frame, open_pieces
from vault.errors import CannotOpen, InvalidInput, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vault.crypto.providers import KeyProvider

FORMAT: Final = "cdv-backup-1"
_LONGEST_HEADER: Final = 4096
_NAMES: Final = frozenset({"created_at", "format", "id", "key", "kind", "root_reference"})


class NotABackup(InvalidInput):
    """A file or folder is not a backup, or has a format that this program does not read."""

    code = "not-a-backup"


class BackupDamaged(InvalidInput):
    """A backup was cut off, or changed after it was made."""

    code = "backup-damaged"


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a file. It can be read without the root key.

    Attributes:
        kind: its content: ``data``, ``keys``, ``ledger`` or ``folder``.
        id: the backup's, the same in all of its files.
        created_at: the time of the backup, RFC 3339.
        root_reference: the reference of the root key that opens it.
    """

    kind: str
    id: str
    created_at: str
    root_reference: str


class Sealer(Secret):
    """A file that is about to be written. Made by :func:`begin`; used once."""

    __slots__ = ("_cipher", "_used", "head")

    def __init__(self, head: bytes, cipher: AESGCM) -> None:
        self.head = head
        self._cipher = cipher
        self._used = False

    def seal(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the file: its header, then the sealed pieces of the chunks, which may have any size."""
        if self._used:  # the same nonces would be used again, for another plaintext
            raise RuntimeError("a file key seals one file")
        self._used = True
        yield self.head
        pieces = Pieces(self._cipher)
        for chunk in chunks:
            yield from pieces.add(chunk)
        yield pieces.end()


class Opener(Secret):
    """A file that is about to be read. Made by :func:`open_stream`; used once."""

    __slots__ = ("_cipher", "_file", "header")

    def __init__(self, header: Header, cipher: AESGCM, file: BinaryIO) -> None:
        self.header = header
        self._cipher = cipher
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        """Open the pieces. Each is authentic; only the last one proves that none is missing.

        Raises:
            BackupDamaged: a piece is missing or was changed.
        """
        yield from open_pieces(lambda: _read(self._file), self._cipher, _damaged)


def begin(provider: KeyProvider, kind: str, backup: str, created_at: str) -> Sealer:
    """Begin a file under a new file key.

    Args:
        provider: holds the root key.
        kind: its content; see :class:`Header`.
        backup: id of the backup.
        created_at: time of the backup, RFC 3339.
    """
    file_key = os.urandom(KEY)
    wrapped = provider.wrap(file_key, frame(b"cdv:backup", kind.encode(), backup.encode()))
    about = {
        "created_at": created_at,
        "format": FORMAT,
        "id": backup,
        "key": b64encode(wrapped).decode(),
        "kind": kind,
        "root_reference": provider.reference,
    }
    head = json.dumps(about, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return Sealer(head, _cipher(file_key, head))


def open_stream(file: BinaryIO, provider: KeyProvider) -> Opener:
    """Read the header of a file, and prepare to open its pieces.

    Raises:
        NotABackup: it is not a file of a backup.
        Misconfigured: another root key sealed it; the hint names it.
        BackupDamaged: its header was changed.
    """
    try:
        head = file.readline(_LONGEST_HEADER)
    except OSError:
        raise _damaged() from None
    about = _about(head)
    if about["root_reference"] != provider.reference:
        raise other_root(about["root_reference"], provider)
    context = frame(b"cdv:backup", about["kind"].encode(), about["id"].encode())
    try:
        file_key = provider.unwrap(b64decode(about["key"], validate=True), context)
    except (CannotOpen, ValueError):  # ValueError: no base64
        raise _damaged() from None
    header = Header(about["kind"], about["id"], about["created_at"], about["root_reference"])
    return Opener(header, _cipher(file_key, head), file)


def other_root(needed: str, provider: KeyProvider) -> Misconfigured:
    """Return the error for a backup that another root key sealed."""
    return Misconfigured(
        "the root key is not the one that this backup was sealed with",
        hint=f"the backup needs {needed}; the key given is {provider.reference}",
    )


def new_manifest_key(provider: KeyProvider, backup: str) -> str:
    """Make the key of a manifest's MAC; returns it wrapped and in base64, for the manifest."""
    return b64encode(provider.wrap(os.urandom(KEY), _manifest_context(backup))).decode()


def manifest_mac(provider: KeyProvider, backup: str, wrapped: str, content: bytes) -> str:
    """Return the MAC of a manifest, in hexadecimal; compare by ``hmac.compare_digest``.

    Raises:
        BackupDamaged: the key was changed, or belongs to another backup.
    """
    try:
        opened = provider.unwrap(b64decode(wrapped, validate=True), _manifest_context(backup))
    except (CannotOpen, ValueError):
        raise _damaged() from None
    return hmac.new(derive(opened, frame(b"cdv:backup-mac")), content, "sha256").hexdigest()


def _about(head: bytes) -> dict[str, str]:
    try:
        about = json.loads(head)
    except (ValueError, RecursionError):  # RecursionError: brackets in brackets
        about = None
    if not isinstance(about, dict) or not head.endswith(b"\n"):
        raise _not_a_backup()
    if about.get("format") != FORMAT or about.keys() != _NAMES:
        raise _not_a_backup()
    if not all(isinstance(value, str) and value.isascii() and value.isprintable() for value in about.values()):
        raise _not_a_backup()  # errors print some of it on terminals before it is authenticated
    return about


def _read(file: BinaryIO) -> bytes:
    """Read a piece. A read error counts as damage."""
    try:
        return file.read(PIECE + TAG)
    except OSError:
        raise _damaged() from None


def _cipher(file_key: bytes, head: bytes) -> AESGCM:
    return AESGCM(derive(file_key, frame(b"cdv:backup-stream"), salt=hashlib.sha256(head).digest()))


def _manifest_context(backup: str) -> bytes:
    return frame(b"cdv:backup-manifest", backup.encode())


def _damaged() -> BackupDamaged:
    return BackupDamaged(
        "a file of the backup is cut off, or was changed after it was made",
        hint="copy it once more from where it was made, or take another backup",
    )


def _not_a_backup() -> NotABackup:
    return NotABackup(
        f"the file is no file of a backup in the form {FORMAT}",
        hint="name the folder of a backup, as `cdv backup list` shows it; a newer program may have made it",
    )
