"""The sealed file of a backup: one line of JSON that says what it is, then pieces that only the root key opens.

::

    file     = header LF | pieces
    header   = canonical JSON: {"created_at", "format": "cdv-backup-1", "id", "key", "kind", "root_reference"}
    key      = base64 of the file key, 32 random bytes, wrapped under the root key;
               AAD = lp("cdv:backup") lp(kind) lp(id)
    stream   = HKDF-SHA-256(file key, salt = SHA-256(header LF), info = lp("cdv:backup-stream"), 32 bytes)
    pieces   = 64 KiB of plaintext each, the last one shorter or as long: AES-256-GCM under the stream key, no AAD
    nonce    = number of the piece (11 bytes, big-endian, from 0) | 01 for the last piece, 00 for any other

Nonces are counted, which is safe here: every file has a random file key of its own, so no stream key is ever used for
two messages under one nonce; and a file has fewer than 2^88 pieces. The number tells a piece that was moved, doubled
or left out; the last byte tells a file that was cut off or went on; the salt tells a header that was changed. It is
the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015), as ``age`` has it.

Beside the files lies a manifest, which is no secret; a MAC tells that nobody changed it::

    manifest key = 32 random bytes, wrapped under the root key; AAD = lp("cdv:backup-manifest") lp(id)
    MAC          = HMAC-SHA-256(HKDF(manifest key, salt empty, info = lp("cdv:backup-mac"), 32 bytes), manifest)
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.crypto.derive import derive
from vault.crypto.primitive import KEY, TAG, Secret, frame
from vault.crypto.stream import PIECE, Pieces, open_pieces
from vault.errors import CannotOpen, InvalidInput, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vault.crypto.providers import KeyProvider

FORMAT: Final = "cdv-backup-1"
_LONGEST_HEADER: Final = 4096
_NAMES: Final = frozenset({"created_at", "format", "id", "key", "kind", "root_reference"})


class NotABackup(InvalidInput):
    """A file or folder is no backup, or one that this program does not read."""

    code = "not-a-backup"


class BackupDamaged(InvalidInput):
    """A backup was cut off, or changed after it was made."""

    code = "backup-damaged"


class Header(NamedTuple):
    """What a file says of itself before anything of it is opened.

    Attributes:
        kind: what lies in it: ``data``, ``keys``, ``ledger`` or ``folder``.
        id: the backup's, the same in all of its files.
        created_at: the backup's moment, RFC 3339.
        root_reference: which root key opens it.
    """

    kind: str
    id: str
    created_at: str
    root_reference: str


class Sealer(Secret):
    """A file that is about to be written; made by :func:`begin`, to be used once."""

    __slots__ = ("_cipher", "_used", "head")

    def __init__(self, head: bytes, cipher: AESGCM) -> None:
        self.head = head
        self._cipher = cipher
        self._used = False

    def seal(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Write the file: its header, then the pieces of what comes in, in chunks of any size."""
        if self._used:  # its nonces would come a second time, for other plaintext
            raise RuntimeError("a file key seals one file")
        self._used = True
        yield self.head
        pieces = Pieces(self._cipher)
        for chunk in chunks:
            yield from pieces.add(chunk)
        yield pieces.end()


class Opener(Secret):
    """A file that is about to be read; made by :func:`open_stream`, to be used once."""

    __slots__ = ("_cipher", "_file", "header")

    def __init__(self, header: Header, cipher: AESGCM, file: BinaryIO) -> None:
        self.header = header
        self._cipher = cipher
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        """Open the pieces. Each is genuine as it comes; that none is missing shows only when the last one has come.

        Raises:
            BackupDamaged: it does not come, or is not as it was written.
        """
        yield from open_pieces(lambda: _read(self._file), self._cipher, _damaged)


def begin(provider: KeyProvider, kind: str, backup: str, created_at: str) -> Sealer:
    """Begin a file under a new file key.

    Args:
        provider: holds the root key.
        kind: what will lie in it.
        backup: id of the backup.
        created_at: its moment.
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
    """Read a file's header and get ready to open what follows.

    Raises:
        NotABackup: it is no file of a backup.
        Misconfigured: another root key sealed it; the hint says which.
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
    """Make the error for a backup that another root key sealed."""
    return Misconfigured(
        "the root key is not the one that this backup was sealed with",
        hint=f"the backup needs {needed}; the key given is {provider.reference}",
    )


def new_manifest_key(provider: KeyProvider, backup: str) -> str:
    """Make the key of a manifest's MAC: wrapped, in base64, to be written into the manifest."""
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
        raise _none_of_ours()
    if about.get("format") != FORMAT or about.keys() != _NAMES:
        raise _none_of_ours()
    if not all(isinstance(value, str) and value.isascii() and value.isprintable() for value in about.values()):
        raise _none_of_ours()  # errors quote some of it, on terminals, before anything says that it is genuine
    return about


def _read(file: BinaryIO) -> bytes:
    """Read a piece; a disk that does not give it back has damaged it."""
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


def _none_of_ours() -> NotABackup:
    return NotABackup(
        f"the file is no file of a backup in the form {FORMAT}",
        hint="name the folder of a backup, as `cdv backup list` shows it; a newer program may have made it",
    )
