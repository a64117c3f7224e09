"""A second reader of a backup's files, written from the text of their format alone. It takes nothing from ``vault``.

The text is in docs/backup.md, under "The form of the files".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def lp(part):
    return struct.pack(">H", len(part)) + part


def hkdf(secret, salt, info):
    extracted = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def unwrap(root, wrapped, context):
    """Open a key that the root key wrapped: format 1, key version 0."""
    key = hkdf(root, b"", lp(b"cdv:root-wrap"))
    assert wrapped[:3] == b"\x01\x00\x00"
    return AESGCM(key).decrypt(wrapped[3:15], wrapped[15:], context)


def decode(root, file):
    """The header and the plaintext of a whole file."""
    line, _, rest = file.partition(b"\n")
    header = json.loads(line)
    assert header["format"] == "cdv-backup-1"
    context = lp(b"cdv:backup") + lp(header["kind"].encode()) + lp(header["id"].encode())
    file_key = unwrap(root, base64.b64decode(header["key"]), context)
    cipher = AESGCM(hkdf(file_key, hashlib.sha256(line + b"\n").digest(), lp(b"cdv:backup-stream")))
    size = 65536 + 16
    pieces = [rest[start : start + size] for start in range(0, len(rest), size)]
    last = len(pieces) - 1
    nonces = [struct.pack(">3xQ", number) + bytes([number == last]) for number in range(len(pieces))]
    plain = [cipher.decrypt(nonce, piece, None) for nonce, piece in zip(nonces, pieces, strict=True)]
    return header, b"".join(plain)


def check_manifest(root, file):
    """The manifest, once its MAC is right."""
    text = file.decode()
    mac = json.loads(text)["mac"]
    start = text.index('"manifest":') + len('"manifest":')
    content = text[start : text.rindex("}")].encode()
    manifest = json.loads(content)
    key = unwrap(root, base64.b64decode(manifest["key"]), lp(b"cdv:backup-manifest") + lp(manifest["id"].encode()))
    assert hmac.new(hkdf(key, b"", lp(b"cdv:backup-mac")), content, hashlib.sha256).hexdigest() == mac
    return manifest
