"""Keyed digests of API keys and of tokens, by which the database knows them.

They have 256 random bits, so nothing has to be slow. The digest takes a secret of the tenant's all the same: otherwise
an attacker who may write to the main database could make up a key, and write its digest::

    digest = HMAC-SHA-256(token key of the label, SHA-256(bearer))
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final, Literal

from vault.crypto.derive import TokenKey

Label = Literal["api-key", "session-token", "confirmation-token"]

# An unknown bearer is digested and compared too, so that it takes as long as a known one.
_NOBODY: Final = TokenKey(secrets.token_bytes(32))
_NOTHING: Final = secrets.token_bytes(32)


def plain_digest(bearer: str) -> bytes:
    """Return the SHA-256 of a bearer, for caches in memory."""
    return hashlib.sha256(bearer.encode("utf-8", "surrogatepass")).digest()


def keyed_digest(tokens: TokenKey, label: Label, plain: bytes) -> bytes:
    """Return what the database has of a bearer with this SHA-256."""
    return tokens.digest(label, plain)


def matches(label: Label, plain: bytes, stored: bytes | None, tokens: TokenKey | None) -> bool:
    """Compare a presented bearer with a stored digest, in constant time.

    Args:
        label: what kind of bearer it is.
        plain: the SHA-256 of the presented one.
        stored: the digest; None if there is no such bearer.
        tokens: the token key of the row's tenant; None if there is no such tenant.
    """
    made = keyed_digest(tokens or _NOBODY, label, plain)
    same = hmac.compare_digest(made, _NOTHING if stored is None else bytes(stored))
    return same and stored is not None and tokens is not None
