"""A second decoder of format version 1, written from its description alone, which proves that it is complete.

It takes nothing from ``vault``. The text:

- lp(x): the length of x in bytes as 2 bytes, big-endian, then x. Names are UTF-8, ids are the 16 bytes of the UUID.
- sealed: byte 01, the version of the key that sealed it (2 bytes, big-endian), nonce (12 bytes), AES-256-GCM
  ciphertext, tag (16 bytes).
- a value, under the data key: AAD = lp(tenant) lp(subject) lp(collection) lp(record) lp(field) lp(key version, 2
  bytes); the plaintext is filled up with spaces to a multiple of 16 bytes.
- a data key, under the tenant key: AAD = lp("cdv:data-key") lp(tenant) lp(subject) lp(tenant-key version, 2 bytes)
  lp(data-key version, 2 bytes); not filled up.
- a tenant key, under the root's wrapping key (key version 0): AAD = lp("cdv:tenant-key") lp(tenant) lp(version, 2 bytes).
- a tenant secret, likewise: AAD = lp("cdv:tenant-secret") lp(tenant) lp(kind) lp(version, 2 bytes).
- HKDF is RFC 5869 with SHA-256 and no salt. Root: wrapping key = HKDF(root, lp("cdv:root-wrap"), 32), reference =
  "root-" and the hex of HKDF(root, lp("cdv:root-check"), 8).
- a digest: HMAC-SHA-256 under HKDF(secret, lp("cdv:index" or "cdv:token") lp(name), 32); of a digest of n bits the
  first n are kept, and the rest of its last byte is zero.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def lp(part: bytes) -> bytes:
    return struct.pack(">H", len(part)) + part


def unframe(framed: bytes) -> list[bytes]:
    parts = []
    while framed:
        (length,) = struct.unpack_from(">H", framed)
        part = framed[2 : 2 + length]
        assert len(part) == length
        parts.append(part)
        framed = framed[2 + length :]
    return parts


def open_sealed(key: bytes, sealed: bytes, aad: bytes) -> tuple[int, bytes]:
    """The version of the key that sealed it, and the plaintext."""
    form, version, nonce = struct.unpack_from(">BH12s", sealed)
    assert form == 1
    return version, AESGCM(key).decrypt(nonce, sealed[struct.calcsize(">BH12s") :], aad)


def open_value(key: bytes, version: int, where: dict[str, str], sealed: bytes) -> bytes:
    aad = b"".join(
        map(
            lp,
            [
                where["tenant"].encode(),
                UUID(where["subject"]).bytes,
                where["collection"].encode(),
                UUID(where["record"]).bytes,
                where["field"].encode(),
                struct.pack(">H", version),
            ],
        )
    )
    reports, padded = open_sealed(key, sealed, aad)
    assert reports == version
    assert len(padded) % 16 == 0
    return padded.rstrip(b" ")


def hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    block, output, count = b"", b"", 0
    while len(output) < length:
        count += 1
        block = hmac.new(extracted, block + info + bytes([count]), hashlib.sha256).digest()
        output += block
    return output[:length]


def digest(secret: bytes, label: str, name: str, data: bytes, bits: int) -> bytes:
    key = hkdf(secret, lp(label.encode()) + lp(name.encode()), 32)
    whole = hmac.new(key, data, hashlib.sha256).digest()
    kept = int.from_bytes(whole, "big") >> (256 - bits) << (256 - bits)
    return kept.to_bytes(32, "big")[: -(-bits // 8)]
