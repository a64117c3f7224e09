"""The one place that calls AES-GCM. Internal to ``vault.crypto``.

Format version 1, frozen; vectors in ``tests/crypto/vectors/format-1.json``::

    sealed  = 01 | key version (2 bytes, big-endian) | nonce (12 bytes) | AES-256-GCM ciphertext | tag (16 bytes)
    lp(x)   = length of x in bytes (2 bytes, big-endian) | x

No function here takes a nonce: each seal draws its own 96 random bits (NIST SP 800-38D §8.2.2), which holds for 2^32
seals under one key (§8.3); a person has a few hundred values, a tenant some million keys.

Also the base class of objects that hold key material.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from cryptography.exceptions import InvalidTag

from vault.errors import CannotOpen

Owner = TypeVar("Owner")

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    Cipher = tuple[bytes, AESGCM, "Ends"]
    SealedRow = tuple[Owner, Cipher, Mapping[bytes, Cipher], bytes, Collection[bytes]]

FORMAT: Final = 1
HEAD: Final = 3
"""Bytes of the format version and the key version."""
NONCE: Final = 12
TAG: Final = 16
KEY: Final = 32
PADDING: Final = b" "
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
            for name, blob in zip(names, sealed, strict=True):
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
