"""The manifest of a package: which entries it has, signed by the tenant, so that anybody can check it offline.

It holds no value of the person and does not name them: whoever finds it alone learns that a request was answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from vault.clock import rfc3339
from vault.crypto.signed import LARGEST, BadDocument, check, parse, sign

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from vault.crypto.signed import Signed
    from vault.crypto.signing import SigningKey
    from vault.export.archive import Listed

LABEL: Final = "cdv-package-v1"
KIND: Final = "package"
"""The name under which the document stands in its signed file."""
LARGEST_MANIFEST: Final = LARGEST
_KEYS: Final = {"request", "kind", "controller", "created_at", "expires_at", "audit", "entries"}


class Cover(NamedTuple):
    """What a manifest says of the whole package.

    Attributes:
        kind: ``access`` or ``portability``.
        controller: who is responsible, by name.
        audit: the audit entry that tells of its making.
    """

    request: UUID
    kind: str
    controller: str
    created_at: datetime
    expires_at: datetime
    audit: UUID


def signed_manifest(key: SigningKey, cover: Cover, listed: Sequence[Listed]) -> bytes:
    """Write the signed manifest as a file."""
    document = {
        "request": str(cover.request),
        "kind": cover.kind,
        "controller": cover.controller,
        "created_at": rfc3339(cover.created_at),
        "expires_at": rfc3339(cover.expires_at),
        "audit": str(cover.audit),
        "entries": [{"name": each.name, "size": each.size, "sha256": each.sha256.hex()} for each in listed],
    }
    made = sign(key, LABEL, KIND, document, cover.created_at)
    return msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"


def check_manifest(data: bytes) -> tuple[Signed, list[tuple[str, int, str]]]:
    """Read a manifest: its signature, checked by the key that it carries, and the entries that it lists.

    Raises:
        BadDocument: it is not written as manifests are.
    """
    signed = check(parse(data), LABEL, KIND)
    document = signed.document
    texts = _KEYS - {"entries"}
    if set(document) != _KEYS or not all(isinstance(document[name], str) for name in texts):
        raise BadDocument("the manifest does not have its parts")
    if not isinstance(document["entries"], list):
        raise BadDocument("the manifest lists no entries")
    return signed, [_entry(each) for each in document["entries"]]


def _entry(each: Any) -> tuple[str, int, str]:
    if not isinstance(each, dict) or set(each) != {"name", "size", "sha256"}:
        raise BadDocument("the manifest lists an entry without its parts")
    name, size, sha256 = each["name"], each["size"], each["sha256"]
    if not isinstance(name, str) or type(size) is not int or size < 0 or not isinstance(sha256, str):
        raise BadDocument("the manifest lists an entry with parts of another kind")
    return name, size, sha256
