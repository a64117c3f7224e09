"""The canary: a unique value of each type, and a search for it in every encoding."""

from __future__ import annotations

import base64
import hashlib

from stdnum.es import dni

WORD = "KanarienvogelXq7"
PHONE = "+442079460987"
IBAN = "DE75512108001245126199"
NUMBER = "8675309.41"
BORN = "1931-07-23"
DNI = "54362315" + dni.calc_check_digit("54362315")
VALUES = {
    "text": WORD,
    "email": f"{WORD}@example.org",
    "phone": PHONE,
    "date": BORN,
    "address": {"street": f"{WORD} 1", "postal_code": "10115", "city": WORD, "country": "DE"},
    "language": "de",
    "json": {WORD: [WORD, 8675309]},
    "iban": IBAN,
    "national_id": DNI,
    "decimal": NUMBER,
    "integer": 8675309,
    "currency": "EUR",
}
"""A value of each type in the shipped catalogue; the last word of each is searched for below."""
SECRETS = [WORD, PHONE, PHONE[1:], PHONE[3:], IBAN, IBAN[4:], NUMBER, "8675309", BORN, DNI]


def needles():
    """Return every secret in every form in which it could leak: encodings, cases and unkeyed hashes."""
    for secret in SECRETS:
        for text in {secret, secret.lower(), secret.upper(), f'"{secret}"'}:
            data = text.encode()
            yield data
            yield text.encode("utf-16-le")
            yield text.encode("utf-16-be")
            yield data.hex().encode()
            yield data.hex().upper().encode()
            for shift in range(3):  # base64 has three ways to write what stands in the middle of something
                inner = base64.b64encode(b"\0" * shift + data)[4 if shift else 0 : -4]
                yield inner
                yield inner.replace(b"+", b"-").replace(b"/", b"_")
            for algorithm in ("md5", "sha1", "sha256", "sha512"):
                digest = hashlib.new(algorithm, data, usedforsecurity=False).digest()
                yield digest
                yield digest.hex().encode()
                yield base64.b64encode(digest)[:20]


NEEDLES = sorted({needle for needle in needles() if len(needle) >= 7})


def found_in(data: bytes) -> bytes | None:
    """Return the offset of a secret; one search for each is much faster than one pattern for all."""
    for needle in NEEDLES:
        at = data.find(needle)
        if at >= 0:
            return data[max(0, at - 40) : at + len(needle) + 40]
    return None
