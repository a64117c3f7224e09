"""Digests under a tenant's secrets: blind indexes for search, tokens for comparison.

Every index and every kind of token has a key of its own, derived by HKDF-SHA-256 (RFC 5869) from the tenant's secret,
so that the digests of a value under two names cannot be linked::

    index key = HKDF(index secret, salt empty, info = lp("cdv:index") lp(index name), 32 bytes)
    token key = HKDF(token secret, salt empty, info = lp("cdv:token") lp(label), 32 bytes)
    digest    = HMAC-SHA-256(key, data), cut to its first bits if ``bits`` is given
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault.crypto.primitive import KEY, Secret, WrappingKey, frame

FULL: Final = 256
_LEAST_BITS: Final = 8
_MOST_NAMES: Final = 1024


def derive(secret: bytes, info: bytes, *, salt: bytes = b"", length: int = KEY) -> bytes:
    """Derive a key of ``length`` bytes by HKDF-SHA-256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


class DerivedKeys(Secret):
    """Keys derived from one secret by name, on first use, in a bounded cache."""

    __slots__ = ("_by_name", "_label", "_secret")

    def __init__(self, label: bytes, secret: bytes) -> None:
        self._label = label
        self._secret = secret
        self._by_name: dict[str, bytes] = {}

    def hmac(self, name: str, data: bytes) -> bytes:
        """Return the HMAC-SHA-256 (RFC 2104) under the named key."""
        material = self._by_name.get(name)
        if material is None:
            material = derive(self._secret, frame(self._label, name.encode()))
            # A full cache keeps what it has: names that a caller makes up cannot push out those that are in use.
            if len(self._by_name) < _MOST_NAMES:
                self._by_name[name] = material
        return hmac.digest(material, data, "sha256")  # the fastest implementation for short data


class IndexKeys(Secret):
    """A tenant's blind indexes: keyed digests of normalised values, by which encrypted fields are searched.

    Args:
        secret: 32 bytes that serve no other purpose.
        version: of the secret, stored with an index entry, so that a search after a rotation misses nothing.
    """

    __slots__ = ("_keys", "version")

    def __init__(self, secret: bytes, *, version: int = 1) -> None:
        self._keys = DerivedKeys(b"cdv:index", secret)
        self.version = version

    def digest(self, index: str, value: str, *, bits: int = FULL) -> bytes:
        """Digest a normalised value for an index.

        Args:
            index: the index's name; each has its own key.
            value: normalised, so that two spellings of the same value are equal.
            bits: 8 to 256. With fewer bits several values share a digest, which hides how often one occurs. The
                result has whole bytes; its surplus bits are zero.

        Raises:
            ValueError: ``bits`` is out of range.
        """
        if not _LEAST_BITS <= bits <= FULL:
            raise ValueError("a digest has 8 to 256 bits")
        whole = self._keys.hmac(index, value.encode())
        if bits == FULL:
            return whole
        size, surplus = (bits + 7) // 8, -bits % 8
        return whole[: size - 1] + bytes((whole[size - 1] >> surplus << surplus,))


class TokenKey(Secret):
    """A tenant's key for digests that are compared and not searched by value: tokens, tombstones, audit marks.

    Args:
        secret: 32 bytes that serve no other purpose.
        version: of the secret.
    """

    __slots__ = ("_keys", "version")

    def __init__(self, secret: bytes, *, version: int = 1) -> None:
        self._keys = DerivedKeys(b"cdv:token", secret)
        self.version = version

    def digest(self, label: str, data: bytes) -> bytes:
        """Return the 32-byte HMAC-SHA-256 of data under the label's own key. Compare by ``hmac.compare_digest``."""
        return self._keys.hmac(label, data)

    def seal(self, label: str, plaintext: bytes, context: bytes) -> bytes:
        """Seal a few bytes that a caller brings back, such as the cursor of a page, under the label's own key."""
        return self._sealing(label).wrap(plaintext, context)

    def open(self, label: str, sealed: bytes, context: bytes) -> bytes:
        """Open what :meth:`seal` sealed.

        Raises:
            CannotOpen: it was not sealed under this label with this context.
        """
        return self._sealing(label).unwrap(sealed, context)

    def _sealing(self, label: str) -> WrappingKey:
        return WrappingKey(self._keys.hmac(f"seal:{label}", b""))
