"""Format version 1 is frozen: its known answers never change."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from uuid import UUID

import pytest

from tests.crypto import second_decoder
from tests.crypto.support import VECTORS, fixed_random, subject_keys
from vault.crypto.derive import IndexKeys, TokenKey
from vault.crypto.primitive import FORMAT, WrappingKey, data_key_context, tenant_key_context, tenant_secret_context
from vault.crypto.providers import EnvironmentRootKey, FileRootKey
from vault.crypto.seal import record_aad


def each_vector(kind):
    return pytest.mark.parametrize("vector", VECTORS[kind], ids=lambda vector: vector.get("name", ""))


def where(vector):
    return record_aad(vector["tenant"], UUID(vector["subject"]), vector["collection"], UUID(vector["record"]))


def keys_of(vector):
    return subject_keys(bytes.fromhex(vector["data_key"]), version=vector["data_key_version"])


def context(vector):
    if vector["kind"] == "data-key":
        versions = vector["wrapping_key_version"], vector["version"]
        return data_key_context(vector["tenant"], UUID(vector["subject"]), *versions)
    if vector["kind"] == "tenant-key":
        return tenant_key_context(vector["tenant"], vector["version"])
    return tenant_secret_context(vector["tenant"], vector["secret"], vector["version"])


def test_the_vectors_are_of_the_format_that_is_written_today():
    assert VECTORS["format"] == FORMAT == 1
    assert len(VECTORS["values"]) >= 10


@each_vector("values")
def test_the_sealed_vectors_open(vector):
    opened = keys_of(vector).open(vector["field"], bytes.fromhex(vector["sealed"]), where(vector))
    assert opened == vector["plaintext"].encode()


@each_vector("values")
def test_sealing_with_the_same_randomness_gives_the_same_bytes(vector, monkeypatch):
    keys = keys_of(vector)
    fixed_random(monkeypatch, bytes.fromhex(vector["nonce"]))
    sealed = keys.seal(vector["field"], vector["plaintext"].encode(), where(vector))
    assert sealed.hex() == vector["sealed"]


@each_vector("values")
def test_the_second_decoder_opens_the_vectors(vector):
    key, sealed = bytes.fromhex(vector["data_key"]), bytes.fromhex(vector["sealed"])
    opened = second_decoder.open_value(key, vector["data_key_version"], vector, sealed)
    assert opened == vector["plaintext"].encode()


@each_vector("wrapped")
def test_the_wrapped_vectors_unwrap(vector):
    key = WrappingKey(bytes.fromhex(vector["wrapping_key"]), vector["wrapping_key_version"])
    assert key.unwrap(bytes.fromhex(vector["wrapped"]), context(vector)).hex() == vector["key"]


@each_vector("wrapped")
def test_wrapping_with_the_same_randomness_gives_the_same_bytes(vector, monkeypatch):
    key = WrappingKey(bytes.fromhex(vector["wrapping_key"]), vector["wrapping_key_version"])
    fixed_random(monkeypatch, bytes.fromhex(vector["nonce"]))
    assert key.wrap(bytes.fromhex(vector["key"]), context(vector)).hex() == vector["wrapped"]


@each_vector("roots")
def test_a_root_key_keeps_its_reference_and_its_wrapping_key(vector, tmp_path, monkeypatch):
    path = tmp_path / "root.key"
    path.write_text(vector["line"] + "\n")
    path.chmod(0o600)
    monkeypatch.setenv("CDV_TEST_ROOT", vector["line"].split()[1])
    for root in (FileRootKey(path), EnvironmentRootKey("CDV_TEST_ROOT")):
        assert root.reference == vector["reference"]
        sealed = WrappingKey(bytes.fromhex(vector["wrapping_key"])).wrap(b"k" * 32, b"context")
        assert root.unwrap(sealed, b"context") == b"k" * 32


@each_vector("digests")
def test_the_digest_vectors_are_unchanged(vector):
    secret = bytes.fromhex(vector["secret"])
    if vector["kind"] == "index":
        created = IndexKeys(secret).digest(vector["name"], vector["data"], bits=vector["bits"])
    else:
        created = TokenKey(secret).digest(vector["name"], vector["data"].encode())
    assert created.hex() == vector["digest"]
    again = second_decoder.digest(
        secret, f"cdv:{vector['kind']}", vector["name"], vector["data"].encode(), vector["bits"]
    )
    assert created == again


def test_the_second_decoder_imports_nothing_from_the_vault():
    tree = ast.parse(Path(second_decoder.__file__).read_text(encoding="utf-8"))
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert imported == {
        "__future__",
        "hashlib",
        "hmac",
        "struct",
        "uuid",
        "cryptography.hazmat.primitives.ciphers.aead",
    }


def test_the_randomness_comes_from_the_operating_system(monkeypatch):
    asked = []
    real = os.urandom
    monkeypatch.setattr("os.urandom", lambda count: asked.append(count) or real(count))
    vector = VECTORS["values"][0]
    keys_of(vector).seal(vector["field"], b"true", where(vector))
    assert asked == [12]
