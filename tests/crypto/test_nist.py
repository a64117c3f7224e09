"""NIST CAVP vectors for AES-256-GCM (96-bit IV, 128-bit tag), through the primitive that every seal goes through."""

from __future__ import annotations

import re

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.crypto.support import fixed_random
from vault.crypto.primitive import decrypt, encrypt, head
from vault.errors import CannotOpen


def vectors(name):
    """All vectors of the form that we use: groups with their parameters in brackets, then `Name = hex` lines."""
    with cryptography_vectors.open_vector_file(f"ciphers/AES/GCM/{name}", "r") as file:
        text = file.read()
    cases, group, one = [], {}, {}
    for line in text.splitlines():
        if bracket := re.fullmatch(r"\[(\w+) = (\d+)\]", line):
            group[bracket[1]] = int(bracket[2])
        elif pair := re.fullmatch(r"(\w+) = ?(\w*)", line):
            if pair[1] == "Count":
                one = {}
                if (group["Keylen"], group["IVlen"], group["Taglen"]) == (256, 96, 128):
                    cases.append(one)
            else:
                one[pair[1]] = bytes.fromhex(pair[2])
        elif line == "FAIL":
            one["FAIL"] = b""
    return cases


OPENED = vectors("gcmDecrypt256.rsp")
SEALED = vectors("gcmEncryptExtIV256.rsp")
HEAD = head(1)


def test_all_nist_vectors_are_present():
    assert len(OPENED) == len(SEALED) == 375
    assert sum("FAIL" in vector for vector in OPENED) > 100
    assert {len(vector["AAD"]) for vector in SEALED} == {0, 16, 20, 48, 90}


def test_nist_vectors_open():
    for vector in OPENED:
        sealed = HEAD + vector["IV"] + vector["CT"] + vector["Tag"]
        cipher = AESGCM(vector["Key"])
        if "FAIL" in vector:
            with pytest.raises(CannotOpen):
                decrypt(cipher, sealed, vector["AAD"])
        else:
            assert decrypt(cipher, sealed, vector["AAD"]) == vector["PT"]


def test_nist_vectors_seal(monkeypatch):
    for vector in SEALED:
        fixed_random(monkeypatch, vector["IV"])
        sealed = encrypt(AESGCM(vector["Key"]), HEAD, vector["PT"], vector["AAD"])
        assert sealed == HEAD + vector["IV"] + vector["CT"] + vector["Tag"]
