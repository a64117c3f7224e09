"""API keys: ``cdv_<id>_<secret>``.

The id is the key row's UUID in 32 hex digits: public, of fixed length and free of ``_``, so that the secret, which may
contain ``_`` and ``-``, starts at a known place. The secret is 32 random bytes in base64url without padding. With 256
bits of randomness nothing can be guessed offline, so a plain SHA-256 of the key is what is kept: a slow password hash
would protect nothing more and would cost every caller.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from uuid import UUID

from vault.ids import KeyId
from vault.sensitive import Sensitive

PREFIX = "cdv_"

# 32 bytes are 42 whole base64 characters and one that carries 4 bits: its other two bits must be zero, or four
# different texts would be one secret.
_SHAPE = re.compile(r"cdv_([0-9a-f]{32})_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")

# The digest of a text that nobody knows: an unknown id is compared with it, so that it costs what a known one does.
_NOBODY = hashlib.sha256(secrets.token_bytes(32)).digest()


def make_key(key_id: KeyId) -> Sensitive[str]:
    """Make a new key for the row with this id, from the operating system's randomness."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    return Sensitive(f"{PREFIX}{key_id.hex}_{secret}")


def key_id_of(bearer: str) -> KeyId | None:
    """Return the public id in an API key, or None if the text does not have the one form that keys have."""
    found = _SHAPE.fullmatch(bearer)
    return KeyId(UUID(hex=found[1])) if found else None


def digest(bearer: str) -> bytes:
    """Return the 32 bytes of SHA-256 that stand for a bearer wherever it is kept, in the database as in memory."""
    return hashlib.sha256(bearer.encode("utf-8", "surrogatepass")).digest()


def matches(presented: bytes, kept: bytes | None) -> bool:
    """Compare digests in constant time; ``kept`` is None when no such key exists, and costs the same."""
    same = hmac.compare_digest(presented, _NOBODY if kept is None else kept)
    return same and kept is not None
