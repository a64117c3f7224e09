"""The one place that calls AES-GCM. Internal to ``vault.crypto``.

Format version 1, frozen; vectors in ``tests/crypto/vectors/format-1.json``::

    sealed  = 01 | key version (2 bytes, big-endian) | nonce (12 bytes) | AES-256-GCM ciphertext | tag (16 bytes)
    lp(x)   = length of x in bytes (2 bytes, big-endian) | x

No function here takes a nonce: each seal draws its own 96 random bits (NIST SP 800-38D §8.2.2), which holds for 2^32
seals under one key (§8.3); a person has a few hundred values, a tenant some million keys. Only :class:`Pieces` counts.

Keys are sealed under keys in the same format, each kind under a label of its own::

    root key    seals  tenant key     AAD = lp("cdv:tenant-key") lp(tenant) lp(version, 2 bytes)
    root key    seals  tenant secret  AAD = lp("cdv:tenant-secret") lp(tenant) lp(kind) lp(version, 2 bytes)
    tenant key  seals  data key       AAD = lp("cdv:data-key") lp(tenant) lp(subject, 16 bytes)
                                            lp(tenant-key version, 2 bytes) lp(data-key version, 2 bytes)

The key version in the head is the tenant key's version; for the root key it is 0, because a root key is told by its
reference. A label has a colon, which no tenant's name has, so a wrapped key never passes for a value. Keys are 32
bytes and are not padded.

STREAM is a long message as pieces of 64 KiB, each sealed under a counted nonce that also marks the last piece. It
detects pieces that were cut off, repeated or swapped (Hoang, Reyhanitabar, Rogaway, Vizár 2015; the payload of
age-encryption.org/v1). The nonces start at 0 each time, so the key of a cipher must seal one file only.

Also the base class of objects that hold key material.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.errors import CannotOpen

Owner = TypeVar("Owner")

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from uuid import UUID

    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    Cipher = tuple[bytes, AESGCM, "Ends"]
    SealedRow = tuple[Owner, Cipher, Mapping[bytes, Cipher], bytes, Collection[bytes]]

FORMAT: Final = 1
HEAD: Final = 3
"""Bytes of the format version and the key version."""
NONCE: Final = 12
TAG: Final = 16
KEY: Final = 32
PADDING: Final = b" "
PIECE: Final = 64 * 1024
"""Bytes of plaintext in a piece of a stream."""
_START: Final = HEAD + NONCE
_HEAD: Final = slice(0, HEAD)  # constants: a slice written out is built again on each use
_NONCE: Final = slice(HEAD, _START)
_TEXT: Final = slice(_START, None)
_LONGEST_PART: Final = 0xFFFF
_MOST_FRAMES: Final = 4096


@lru_cache(maxsize=1024)
def head(key_version: int) -> bytes:
    """Return the first three bytes of everything that is sealed under a key of this version (0 to 65,535)."""
    return bytes((FORMAT,)) + key_version.to_bytes(2, "big")


def encrypt(cipher: AESGCM, start: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Seal bytes under a fresh random nonce; ``start`` is the :func:`head` of the key's version."""
    # Drawn here and taken from no caller: a nonce that repeats under one key would give both texts away.
    nonce = os.urandom(NONCE)
    return start + nonce + cipher.encrypt(nonce, plaintext, aad)


def decrypt(cipher: AESGCM, sealed: bytes, aad: bytes) -> bytes:
    """Open what :func:`encrypt` sealed; the caller has checked the head already.

    Raises:
        CannotOpen: too short, tampered with, or sealed under another key or other associated data.
    """
    try:
        return cipher.decrypt(sealed[_NONCE], sealed[_TEXT], aad)
    except (InvalidTag, ValueError):  # ValueError: too short for a nonce
        raise CannotOpen from None


def decrypt_rows(names: Collection[str], rows: Iterable[SealedRow[Owner]]) -> Iterator[tuple[Owner, list[bytes]]]:
    """Open the values of the same names in any number of records, as :func:`decrypt` opens one value.

    Half the cost of opening one value is calls and look-ups around the cipher; here most are made once a record.

    Args:
        names: the names under which they were sealed.
        rows: for each record: its owner, which is passed through; the ciphers of that person's key versions, the newest
            and the older ones by their head; the beginning of the associated data; the sealed bytes in the order of
            ``names``.

    Yields:
        for each record its owner, and the values without their padding.

    Raises:
        CannotOpen: a value does not open; then no value of its record is returned.
    """
    for owner, newest, older, before, sealed in rows:
        head, cipher, ends = newest
        opened = []
        try:
            # Strict: a value too few must not shift the others to names that they were not sealed under.
            for name, blob in zip(names, sealed, strict=True):
                # Rare: an erasure in part brings everything else of the person to the newest version.
                if blob[_HEAD] != head:
                    _head, old_cipher, after = older[blob[_HEAD]]
                    opened.append(decrypt(old_cipher, blob, before + after[name]).rstrip())
                    continue
                opened.append(cipher.decrypt(blob[_NONCE], blob[_TEXT], before + ends[name]).rstrip())
        except (KeyError, InvalidTag, ValueError):  # KeyError: another format, or a version without a key
            raise CannotOpen from None
        yield owner, opened


def frame(*parts: bytes) -> bytes:
    """Join parts, each preceded by its length, so that no two lists of parts give the same bytes.

    Raises:
        ValueError: a part is longer than 65,535 bytes.
    """
    if any(len(part) > _LONGEST_PART for part in parts):
        raise ValueError("a part is longer than 65,535 bytes")
    return b"".join([len(part).to_bytes(2, "big") + part for part in parts])


class Ends(dict[str, bytes]):
    """The ends of associated data under one key version: ``frame`` of a field's name, ``frame`` of the version.

    Made once for a name and a version, shared by all people. Bounded: once full, it caches no further names.
    """

    __slots__ = ("_version",)

    def __init__(self, version: int) -> None:
        super().__init__()
        self._version = frame(version.to_bytes(2, "big"))

    def __missing__(self, name: str) -> bytes:
        end = frame(name.encode()) + self._version
        if len(self) < _MOST_FRAMES:
            self[name] = end
        return end


@lru_cache(maxsize=1024)
def ends(version: int) -> Ends:
    """Return the ends for a data-key version; for nearly all people it is the first."""
    return Ends(version)


class _Framed(dict[str, bytes]):
    """A bounded cache of ``frame`` for frequent names: tenants, collections, fields."""

    __slots__ = ()

    def __missing__(self, name: str) -> bytes:
        framed = frame(name.encode())
        if len(self) < _MOST_FRAMES:
            self[name] = framed
        return framed


FRAMED: Final = _Framed()
"""Maps a name to its frame."""


class Secret:
    """Base of objects that hold keys: ``repr`` shows only the type, and it cannot be pickled or copied."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        # A pickle would carry the key into a file, a queue or another process.
        raise TypeError("key material is not to be pickled or copied")


def tenant_key_context(tenant: str, version: int) -> bytes:
    """Return the associated data of a wrapped tenant key."""
    return frame(b"cdv:tenant-key", tenant.encode(), _two(version))


def tenant_secret_context(tenant: str, kind: str, version: int) -> bytes:
    """Return the associated data of a wrapped secret of a tenant."""
    return frame(b"cdv:tenant-secret", tenant.encode(), kind.encode(), _two(version))


def data_key_context(tenant: str, subject: UUID, tenant_key_version: int, version: int) -> bytes:
    """Return the associated data of a wrapped data key."""
    return frame(b"cdv:data-key", tenant.encode(), subject.bytes, _two(tenant_key_version), _two(version))


class WrappingKey(Secret):
    """A key whose only work is to seal other keys: a tenant key, or a root key that this process has.

    Args:
        material: 32 bytes.
        version: the tenant key's, 1 to 65,535; 0 for a root key.
    """

    __slots__ = ("_cipher", "_head")

    def __init__(self, material: bytes, version: int = 0) -> None:
        self._cipher = AESGCM(material)
        self._head = head(version)

    def wrap(self, plaintext: bytes, context: bytes) -> bytes:
        """Seal a key, bound to the context that says which key it is."""
        return encrypt(self._cipher, self._head, plaintext, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Open what :meth:`wrap` sealed.

        Raises:
            CannotOpen: the ciphertext is not authentic for this key and context.
        """
        # The cipher does not authenticate the head, so it is compared.
        if wrapped[:3] != self._head:
            raise CannotOpen
        return decrypt(self._cipher, wrapped, context)


def _two(version: int) -> bytes:
    return version.to_bytes(2, "big")


class Pieces(Secret):
    """Seals a message that arrives in chunks of any size. Used once.

    Args:
        cipher: its key must seal nothing else.
    """

    __slots__ = ("_cipher", "_number", "_waiting")

    def __init__(self, cipher: AESGCM | ChaCha20Poly1305) -> None:
        self._cipher = cipher
        self._waiting = bytearray()
        self._number = 0

    def add(self, chunk: bytes) -> Iterator[bytes]:
        """Add a chunk; yields the pieces that are full."""
        self._waiting += chunk
        while len(self._waiting) > PIECE:  # the last piece is marked, so one is always held back
            yield self._cipher.encrypt(_nonce(self._number, last=False), bytes(self._waiting[:PIECE]), None)
            del self._waiting[:PIECE]
            self._number += 1

    def end(self) -> bytes:
        """Seal the last piece."""
        return self._cipher.encrypt(_nonce(self._number, last=True), bytes(self._waiting), None)


def open_pieces(
    read: Callable[[], bytes], cipher: AESGCM | ChaCha20Poly1305, damaged: Callable[[], Exception]
) -> Iterator[bytes]:
    """Open the pieces. Each is authentic; only the last one proves that none is missing.

    Args:
        read: returns the next sealed piece; empty at the end.
        cipher: of the key.
        damaged: returns the error for a piece that is missing or was changed.
    """
    number, piece = 0, read()
    while True:
        after = read()
        try:
            opened = cipher.decrypt(_nonce(number, last=not after), piece, None)
        except (InvalidTag, ValueError):  # ValueError: too short for a tag
            raise damaged() from None
        # Otherwise an empty last piece could be added to a file, and the file would still open.
        if number and not opened:  # only an empty file ends in an empty piece
            raise damaged()
        yield opened
        if not after:
            return
        number, piece = number + 1, after


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")
