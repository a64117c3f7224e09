"""STREAM: a long message as pieces of 64 KiB, each sealed under a counted nonce that also marks the last piece.

It detects pieces that were cut off, repeated or swapped (Hoang, Reyhanitabar, Rogaway, Vizár 2015; the payload of
age-encryption.org/v1). The nonces start at 0 each time, so the key of a cipher must seal one file only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag

from vault.crypto.primitive import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

PIECE: Final = 64 * 1024
"""Bytes of plaintext in a piece."""


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
        if number and not opened:  # only an empty file ends in an empty piece
            raise damaged()
        yield opened
        if not after:
            return
        number, piece = number + 1, after


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")
