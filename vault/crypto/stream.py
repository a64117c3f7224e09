"""STREAM: a long message as pieces of 64 KiB, each sealed under a counted nonce that also says which is the last.

Whoever cuts off, repeats or swaps pieces is found out (Hoang, Reyhanitabar, Rogaway, Vizár 2015; the payload of
age-encryption.org/v1). The nonces begin at nought each time: a cipher must be of a key that seals one file.
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
    """Seals what comes in, in chunks of any size; to be used once.

    Args:
        cipher: of a key that seals nothing else.
    """

    __slots__ = ("_cipher", "_number", "_waiting")

    def __init__(self, cipher: AESGCM | ChaCha20Poly1305) -> None:
        self._cipher = cipher
        self._waiting = bytearray()
        self._number = 0

    def add(self, chunk: bytes) -> Iterator[bytes]:
        """Take a chunk in; gives the pieces that are full by now."""
        self._waiting += chunk
        while len(self._waiting) > PIECE:  # the last one is marked as such, so one is always kept back
            yield self._cipher.encrypt(_nonce(self._number, last=False), bytes(self._waiting[:PIECE]), None)
            del self._waiting[:PIECE]
            self._number += 1

    def end(self) -> bytes:
        """Seal the last piece."""
        return self._cipher.encrypt(_nonce(self._number, last=True), bytes(self._waiting), None)


def open_pieces(
    read: Callable[[], bytes], cipher: AESGCM | ChaCha20Poly1305, damaged: Callable[[], Exception]
) -> Iterator[bytes]:
    """Open the pieces. Each is genuine as it comes; that none is missing shows only when the last one has come.

    Args:
        read: gives the next piece, sealed; nothing at the end.
        cipher: of the key.
        damaged: makes what is raised where a piece is missing, or not as it was written.
    """
    number, piece = 0, read()
    while True:
        after = read()
        try:
            opened = cipher.decrypt(_nonce(number, last=not after), piece, None)
        except (InvalidTag, ValueError):  # ValueError: too short for a tag
            raise damaged() from None
        if number and not opened:  # only a file that is empty ends in an empty piece
            raise damaged()
        yield opened
        if not after:
            return
        number, piece = number + 1, after


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")
