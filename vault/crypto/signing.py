"""Signatures by which others can tell, without the vault, that a document came from it: Ed25519 (RFC 8032).

A tenant's signing key is one of its secrets, like those of its indexes; unlike those, its public half is meant to be
handed around. A key is named by the thumbprint of its public half (RFC 7638 with RFC 8037 §2)::

    key id = base64url(SHA-256('{"crv":"Ed25519","kty":"OKP","x":"' base64url(public) '"}'))

The whole digest is the name, so that whoever knows the name can trust it as the key itself. base64url has no padding.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vault.crypto.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

ALGORITHM: Final = "Ed25519"
PUBLIC: Final = 32
"""Bytes of a public key."""
SIGNATURE: Final = 64
"""Bytes of a signature."""


class PublicKey(NamedTuple):
    """The half of a signing key that everybody may have; ``current`` where the tenant signs by it now."""

    key_id: str
    public: bytes
    current: bool


class SigningKey(Secret):
    """A key that signs.

    Args:
        secret: the 32 bytes of RFC 8032 §5.1.5.
        version: of the secret; the highest signs, the public halves of all others stay known.
    """

    __slots__ = ("_private", "key_id", "public", "version")

    def __init__(self, secret: bytes, *, version: int = 1) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = key_id(self.public)
        self.version = version

    def sign(self, message: bytes) -> bytes:
        """Sign; the 64 bytes depend on key and message alone. Callers begin each kind of message with its own label."""
        return self._private.sign(message)


def verify_signature(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether a signature is sound; whose key it is, is for the caller to know."""
    if len(public) != PUBLIC or len(signature) != SIGNATURE:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):  # ValueError: no point of the curve
        return False
    return True


def key_id(public: bytes) -> str:
    """Name a public key by its thumbprint: 43 characters."""
    document = f'{{"crv":"{ALGORITHM}","kty":"OKP","x":"{to_text(public)}"}}'
    return to_text(hashlib.sha256(document.encode()).digest())


def as_jwk(known: PublicKey) -> dict[str, str]:
    """Write a public key as JWK (RFC 8037 §2); ``status`` tells the one that signs now from those that did."""
    return {
        "kty": "OKP",
        "crv": ALGORITHM,
        "x": to_text(known.public),
        "kid": known.key_id,
        "use": "sig",
        "alg": "EdDSA",
        "status": "current" if known.current else "retired",
    }


def public_of_jwk(jwk: Mapping[str, object]) -> bytes:
    """Read a public key written as JWK.

    Raises:
        ValueError: it is none of Ed25519.
    """
    text = jwk.get("x")
    if (jwk.get("kty"), jwk.get("crv")) != ("OKP", ALGORITHM) or not isinstance(text, str):
        raise ValueError("no JWK of Ed25519")
    public = to_bytes(text)
    if len(public) != PUBLIC:
        raise ValueError("no JWK of Ed25519")
    return public


def to_text(data: bytes) -> str:
    """Write bytes as base64url without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def to_bytes(text: str) -> bytes:
    """Read what :func:`to_text` wrote, and no other spelling of it: the last character has bits that say nothing.

    Raises:
        ValueError: it is not written so.
    """
    data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if to_text(data) != text:
        raise ValueError("not the one spelling of these bytes")
    return data
