"""Signatures (Ed25519, RFC 8032), by which others can verify, without the vault, that a document comes from it.

A tenant's signing key is one of its secrets, like those of its indexes. Its public half is published. A key is named
by the thumbprint of its public half (RFC 7638 with RFC 8037 §2)::

    key id = base64url(SHA-256('{"crv":"Ed25519","kty":"OKP","x":"' base64url(public) '"}'))

The whole digest is the name, so a known name is as good as the key itself. base64url has no padding.

Signed documents are JSON files that carry their signature and public key::

    file    = {<kind>: <document>, "signature": {"algorithm": "Ed25519", "key", "public_key", "signed_at", "value"}}
    message = label | 00 | canonical JSON (RFC 8785) of the file without "value"
    value   = base64url(Ed25519(message))

The label names kind and version, such as ``cdv-receipt-v1``, so that a signature for one kind of file is not valid for
another. All parts of the signature except its value are signed as well, so that no one can pre-date a file or put the
name of another key on it. The caller has to decide whether it trusts the key.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vault.clock import rfc3339
from vault.crypto.primitive import Secret
from vault.errors import InvalidInput
from vault.names import unique_names

if TYPE_CHECKING:
    from collections.abc import Mapping


ALGORITHM: Final = "Ed25519"
PUBLIC: Final = 32
"""Bytes of a public key."""
SIGNATURE: Final = 64
"""Bytes of a signature."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a signing key; ``current`` if the tenant signs with it now."""

    key_id: str
    public: bytes
    current: bool


class SigningKey(Secret):
    """A key that signs.

    Args:
        secret: the 32 bytes of RFC 8032 §5.1.5.
        version: of the secret; the highest signs, the public halves of the others stay published.
    """

    __slots__ = ("_private", "key_id", "public", "version")

    def __init__(self, secret: bytes, *, version: int = 1) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._private.public_key().public_bytes_raw()
        self.key_id = key_id(self.public)
        self.version = version

    def sign(self, message: bytes) -> bytes:
        """Sign a message: 64 bytes. Callers begin each kind of message with its own label."""
        return self._private.sign(message)


def verify_signature(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether a signature is valid. The caller has to decide whether it trusts the key."""
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
    """Write a public key as JWK (RFC 8037 §2); ``status`` is ``current`` for the key that signs now."""
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
        ValueError: it is not a key of Ed25519.
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
    """Read what :func:`to_text` wrote, and no other spelling of it.

    Raises:
        ValueError: it is not base64url, or another spelling of the same bytes.
    """
    data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    # The last character has unused bits: several texts decode to the same bytes, and only one of them is accepted.
    if to_text(data) != text:
        raise ValueError("not the one spelling of these bytes")
    return data


LARGEST: Final = 4 * 1024 * 1024
"""Largest file in bytes."""
_KEYS: Final = {"algorithm", "key", "public_key", "signed_at", "value"}
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


class BadDocument(InvalidInput):
    """A file is not a signed document of the expected kind."""

    code = "not-signed"


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed file of valid form; ``sound`` is true if the signature is valid."""

    document: dict[str, Any]
    key_id: str
    public: bytes
    signed_at: datetime
    sound: bool


def sign(
    signer: SigningKey, label: str, kind: str, document: Mapping[str, object], signed_at: datetime
) -> dict[str, Any]:
    """Sign a document.

    Args:
        signer: the tenant's key.
        label: of this kind and version.
        kind: the key of the document in the file.
        document: strings, whole numbers, truth values, lists and objects: no fractions, as their spelling may vary.
        signed_at: the time of the signature.
    """
    signature = {
        "algorithm": ALGORITHM,
        "key": signer.key_id,
        "public_key": to_text(signer.public),
        "signed_at": rfc3339(signed_at),
    }
    value = signer.sign(_message(label, {kind: document, "signature": signature}))
    return {kind: dict(document), "signature": {**signature, "value": to_text(value)}}


def parse(data: bytes) -> dict[str, Any]:
    """Read a file that has only one meaning: JSON without duplicate names and without fractions.

    Raises:
        BadDocument: the file is too large or not such JSON.
    """
    if len(data) > LARGEST:
        raise BadDocument("the file is too large to be a signed document")
    try:
        file = json.loads(
            data.decode("utf-8"), object_pairs_hook=unique_names, parse_float=_refuse, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        raise BadDocument("the file is not valid JSON, or names a key twice") from None
    if not isinstance(file, dict):
        raise BadDocument("the file holds no JSON object")
    return file


def check(file: Mapping[str, Any], label: str, kind: str) -> Signed:
    """Check the form of a signed file, and its signature by the key that it carries.

    Raises:
        BadDocument: its form is invalid. An invalid signature is reported by ``sound``.
    """
    if set(file) != {kind, "signature"} or not isinstance(file[kind], dict):
        raise BadDocument(f"the file is no signed {kind}")
    signature = file["signature"]
    if not isinstance(signature, dict) or set(signature) != _KEYS:
        raise BadDocument("the signature does not have its parts")
    if not all(isinstance(part, str) for part in signature.values()) or signature["algorithm"] != ALGORITHM:
        raise BadDocument(f"the signature is not {ALGORITHM}")
    public, value = _decoded(signature["public_key"], PUBLIC), _decoded(signature["value"], SIGNATURE)
    unsigned = {kind: file[kind], "signature": {name: signature[name] for name in _KEYS - {"value"}}}
    sound = signature["key"] == key_id(public) and verify_signature(public, _message(label, unsigned), value)
    return Signed(file[kind], signature["key"], public, _moment(signature["signed_at"]), sound)


def _message(label: str, file: Mapping[str, Any]) -> bytes:
    try:
        return label.encode("ascii") + b"\x00" + rfc8785.dumps(dict(file))
    except (rfc8785.CanonicalizationError, RecursionError):
        raise BadDocument("the file holds what canonical JSON cannot write") from None


def _decoded(text: str, size: int) -> bytes:
    try:
        data = to_bytes(text)
    except ValueError:
        data = b""
    if len(data) != size:
        raise BadDocument("a part of the signature is not base64url of its length")
    return data


def _moment(text: str) -> datetime:
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise BadDocument("the signature does not say when it was made")


def _refuse(_text: str) -> NoReturn:
    raise ValueError("a number that can be spelt in several ways")
