"""Derived keys and digests."""

from __future__ import annotations

import hashlib
import hmac

import cryptography_vectors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crypto import second_decoder
from tests.crypto.support import names
from vault.crypto.derive import IndexKeys, TokenKey, derive

SECRET = bytes(range(32))

# RFC 5869, appendix A.1 to A.3: input key material, salt, info, length, output key material
RFC_5869 = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        "0b" * 22,
        "",
        "",
        42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("secret", "salt", "info", "length", "key"), RFC_5869, ids=["A.1", "A.2", "A.3"])
def test_deriving_is_hkdf_of_rfc_5869(secret, salt, info, length, key):
    derived = derive(bytes.fromhex(secret), bytes.fromhex(info), salt=bytes.fromhex(salt), length=length)
    assert derived.hex() == key


def test_the_vectors_include_the_published_ones():
    with cryptography_vectors.open_vector_file("KDF/rfc-5869-HKDF-SHA256.txt", "r") as file:
        published = file.read()
    for *_parts, key in RFC_5869:
        assert key in published


@given(st.binary(min_size=1, max_size=64), st.binary(max_size=64), st.integers(1, 100))
def test_a_second_hkdf_implementation_agrees(secret, info, length):
    assert derive(secret, info, length=length) == second_decoder.hkdf(secret, info, length)


@given(names, st.text(st.characters(exclude_categories=["Cs"])), st.integers(8, 256))
def test_an_index_digest_is_a_truncated_hmac_under_the_indexs_own_key(index, value, bits):
    created = IndexKeys(SECRET).digest(index, value, bits=bits)
    assert created == second_decoder.digest(SECRET, "cdv:index", index, value.encode(), bits)
    assert len(created) == (bits + 7) // 8


def test_a_token_digest_is_a_whole_hmac_under_the_labels_own_key():
    key = derive(SECRET, b"\x00\x09cdv:token\x00\x09tombstone")
    assert TokenKey(SECRET).digest("tombstone", b"x") == hmac.new(key, b"x", hashlib.sha256).digest()


def test_digests_differ_by_name_secret_and_use():
    digests = {
        IndexKeys(SECRET).digest("profile.email", "ada"),
        IndexKeys(SECRET).digest("profile.phone", "ada"),
        IndexKeys(bytes(32)).digest("profile.email", "ada"),
        IndexKeys(SECRET).digest("profile.email", "Ada"),
        TokenKey(SECRET).digest("profile.email", b"ada"),
    }
    assert len(digests) == 5


def test_a_short_digest_is_the_start_of_the_long_one_with_zeros_in_its_last_byte():
    keys = IndexKeys(SECRET)
    whole = int.from_bytes(keys.digest("i", "v"), "big")
    for bits in range(8, 257):
        short = keys.digest("i", "v", bits=bits)
        shown = int.from_bytes(short, "big") >> (-bits % 8)
        assert shown == whole >> (256 - bits)
        assert int.from_bytes(short, "big") & ((1 << (-bits % 8)) - 1) == 0


@pytest.mark.parametrize("bits", [-8, 0, 7, 257, 512])
def test_a_digest_length_out_of_range_is_refused(bits):
    with pytest.raises(ValueError, match="8 to 256"):
        IndexKeys(SECRET).digest("i", "v", bits=bits)


def test_the_cache_of_derived_keys_is_bounded():
    keys = TokenKey(SECRET)
    for number in range(1_100):
        keys.digest(str(number), b"")
    assert len(keys._keys._by_name) == 1_024
    assert keys.digest("1099", b"") == TokenKey(SECRET).digest("1099", b"")


def test_keys_have_the_version_of_their_secret():
    assert IndexKeys(SECRET, version=4).version == 4
    assert TokenKey(SECRET).version == 1
