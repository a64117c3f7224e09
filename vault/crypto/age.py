"""Files encrypted to a passphrase in the format of ``age``, so that ``age -d`` opens them.

The form is age-encryption.org/v1 with a scrypt recipient; LF ends the header's lines:

::

    file    = header | nonce (16 bytes) | STREAM
    header  = "age-encryption.org/v1" LF "-> scrypt " salt " " log2(N) LF body LF "--- " MAC LF
    body    = ChaCha20-Poly1305(scrypt(passphrase, "age-encryption.org/v1/scrypt" | salt, N, r = 8, p = 1), file key)
    MAC     = HMAC-SHA-256(HKDF(file key, "header"), the header up to and including "---")
    STREAM  = pieces of 64 KiB, each ChaCha20-Poly1305 under HKDF(file key, nonce, "payload")

Nonces are fixed or counted. That is safe here, because each file has a random file key, salt and nonce of its own, so
no key is used for two messages under one nonce. Only this module chooses them.
"""

from __future__ import annotations

import asyncio
import os
import re
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from vault.crypto.primitive import PIECE, TAG, Pieces, Secret, open_pieces
from vault.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterator

WORK_FACTOR: Final = 18
"""log2 of scrypt's N, the default of ``age``: about a second and 256 MB for each guess."""
MOST_WORK: Final = 20
"""Files with a higher factor are refused: a file from outside may cost 1 GB of memory at most."""
SHORTEST_PASSPHRASE: Final = 12
LONGEST_PASSPHRASE: Final = 1_000

_VERSION: Final = b"age-encryption.org/v1\n"
_LABEL: Final = b"age-encryption.org/v1/scrypt"
_SALT: Final = 16
_KEY: Final = 16
_NONCE: Final = 16
_ONCE: Final = bytes(12)
_HEADER: Final = re.compile(
    rb"age-encryption\.org/v1\n-> scrypt ([A-Za-z0-9+/]{22}) ([1-9][0-9]?)\n"
    rb"([A-Za-z0-9+/]{43})\n--- ([A-Za-z0-9+/]{43})\n"
)
_HEADER_SIZE: Final = len(_VERSION) + len("-> scrypt ") + 22 + len(" 18\n") + 44 + len("--- ") + 44

# One at a time: each takes 256 MB.
_worker: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scrypt")


class NotAge(InvalidInput):
    """A file is not encrypted to a passphrase in the format of ``age``, or is cut off or changed."""

    code = "not-age"


class WrongPassphrase(InvalidInput):
    """The passphrase is not that of the file."""

    code = "wrong-passphrase"


class Encryption(Secret):
    """A file that is about to be written. Made by :func:`begin`; used once."""

    __slots__ = ("_cipher", "_head")

    def __init__(self, head: bytes, cipher: ChaCha20Poly1305) -> None:
        self._head = head
        self._cipher = cipher

    @staticmethod
    def size(plain: int) -> int:
        """Return the size of the file in bytes for a plaintext of ``plain`` bytes."""
        return _HEADER_SIZE + _NONCE + plain + TAG * max(1, -(-plain // PIECE))

    async def stream(self, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Yield the file, piece by piece."""
        yield self._head
        sealed = Pieces(self._cipher)
        async for piece in pieces:
            for full in sealed.add(piece):
                yield full
        yield sealed.end()


async def begin(passphrase: str, *, work_factor: int = WORK_FACTOR) -> Encryption:
    """Begin a file that only the passphrase opens. Stretching it takes about a second, in a thread of its own.

    Raises:
        InvalidInput: the passphrase is too short or too long, or has an unprintable character.
    """
    if not SHORTEST_PASSPHRASE <= len(passphrase) <= LONGEST_PASSPHRASE:
        raise InvalidInput(
            f"a passphrase has {SHORTEST_PASSPHRASE} to {LONGEST_PASSPHRASE:,} characters",
            code="invalid-passphrase",
            hint="five words picked by dice are easy to remember and hard to guess",
        )
    if not passphrase.isprintable():
        raise InvalidInput(
            "a passphrase is one line of characters that can be seen",
            code="invalid-passphrase",
            hint="the passphrase has to be typed to open the file",
        )
    salt, file_key, nonce = os.urandom(_SALT), os.urandom(_KEY), os.urandom(_NONCE)
    loop = asyncio.get_running_loop()
    wrap = await loop.run_in_executor(_worker, _stretched, passphrase, salt, work_factor)
    body = ChaCha20Poly1305(wrap).encrypt(_ONCE, file_key, None)
    start = _VERSION + b"-> scrypt %s %d\n%s\n---" % (_text(salt), work_factor, _text(body))
    head = start + b" " + _text(_mac(file_key, start).finalize()) + b"\n" + nonce
    return Encryption(head, _payload_cipher(file_key, nonce))


def decrypt(file: BinaryIO, passphrase: str) -> Iterator[bytes]:
    """Open a file, piece by piece. A caller that keeps the pieces must delete them if the last one is missing.

    Raises:
        NotAge: it is not such a file, or not complete.
        WrongPassphrase: the passphrase is not that of the file.
    """
    head = _HEADER.match(file.read(_HEADER_SIZE))
    if head is None or not 1 <= int(head[2]) <= MOST_WORK:
        raise NotAge("the file is not encrypted to a passphrase as age does it", hint="`age -d` may know more forms")
    file.seek(head.end())
    wrap = _stretched(passphrase, _bytes(head[1]), int(head[2]))
    try:
        file_key = ChaCha20Poly1305(wrap).decrypt(_ONCE, _bytes(head[3]), None)
    except InvalidTag:
        raise WrongPassphrase("the passphrase is not the one that the file was encrypted to") from None
    try:
        _mac(file_key, head[0].partition(b"\n--- ")[0] + b"\n---").verify(_bytes(head[4]))
    except InvalidSignature:
        raise _damaged() from None
    cipher = _payload_cipher(file_key, file.read(_NONCE))
    yield from open_pieces(lambda: file.read(PIECE + TAG), cipher, _damaged)


def _stretched(passphrase: str, salt: bytes, work_factor: int) -> bytes:
    return Scrypt(salt=_LABEL + salt, length=32, n=1 << work_factor, r=8, p=1).derive(passphrase.encode())


def _mac(file_key: bytes, start: bytes) -> HMAC:
    mac = HMAC(_derived(file_key, None, b"header"), SHA256())
    mac.update(start)
    return mac


def _payload_cipher(file_key: bytes, salt: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(_derived(file_key, salt, b"payload"))


def _derived(file_key: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(file_key)


def _text(data: bytes) -> bytes:
    return b64encode(data).rstrip(b"=")


def _bytes(text: bytes) -> bytes:
    data = b64decode(text + b"=" * (-len(text) % 4))
    if _text(data) != text:  # the last character has unused bits; only one spelling is accepted
        raise _damaged()
    return data


def _damaged() -> NotAge:
    return NotAge("the file is cut off, or was changed after it was encrypted", hint="download it once more")
