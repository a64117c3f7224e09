"""Signed documents: JSON files that prove by themselves that they are unchanged and whose key signed them.

::

    file    = {<kind>: <document>, "signature": {"algorithm": "Ed25519", "key", "public_key", "signed_at", "value"}}
    message = label | 00 | canonical JSON (RFC 8785) of the file without "value"
    value   = base64url(Ed25519(message))

The label names kind and version, such as ``cdv-receipt-v1``, so that a signature made for one kind of file never passes
for another's. All that stands in the signature but its value is signed as well: nobody can pre-date a file, or put
another key's name on it. What is left to the caller: whether the key is the one that it should be.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import rfc8785

from vault.clock import rfc3339
from vault.crypto.signing import ALGORITHM, PUBLIC, SIGNATURE, key_id, to_bytes, to_text, verify_signature
from vault.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vault.crypto.signing import SigningKey

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a file that are read."""
_KEYS: Final = {"algorithm", "key", "public_key", "signed_at", "value"}
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


class BadDocument(InvalidInput):
    """A file is no signed document of the kind that it should be."""

    code = "not-signed"


class Signed(NamedTuple):
    """What a signed file says of itself, its form checked; ``sound`` tells whether the signature holds."""

    document: dict[str, Any]
    key_id: str
    public: bytes
    signed_at: datetime
    sound: bool


def sign(signer: SigningKey, label: str, kind: str, document: Mapping[str, Any], signed_at: datetime) -> dict[str, Any]:
    """Sign a document.

    Args:
        signer: the tenant's key.
        label: of this kind and version.
        kind: the key under which the document stands in the file.
        document: strings, whole numbers, truth values, lists and objects: no fractions, whose spelling may vary.
        signed_at: when.
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
    """Read a file so that it can mean one thing only: no name twice in an object, no fractions, nothing but JSON.

    Raises:
        BadDocument: it is not written so.
    """
    if len(data) > LARGEST:
        raise BadDocument("the file is too large to be a signed document")
    try:
        read = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadDocument("the file is not valid JSON, or names a key twice") from None
    if not isinstance(read, dict):
        raise BadDocument("the file holds no JSON object")
    return read


def check(file: Mapping[str, Any], label: str, kind: str) -> Signed:
    """Check the form of a signed file, and its signature by the key that it carries.

    Raises:
        BadDocument: it has not the form; a signature that does not hold is told by ``sound``.
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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _refuse(_text: str) -> NoReturn:
    raise ValueError("a number that can be spelt in several ways")
