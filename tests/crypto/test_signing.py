"""Ed25519 by its published vectors, and key ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.crypto.signing import SigningKey, key_id, to_bytes, to_text, verify_signature

SECRET_1 = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
RFC_8032 = """
9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60 d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a -
e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b
4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb 3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c 72
92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00
c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7 fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025 af82
6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a
"""
"""RFC 8032 §7.1, tests 1 to 3: secret, public, message, signature."""
ORDER = 2**252 + 27742317777372353535851937790883648493


def vectors():
    words = [word.replace("-", "") for word in RFC_8032.split()]
    return [words[first : first + 4] for first in range(0, len(words), 4)]


@pytest.mark.parametrize(("secret", "public", "message", "signature"), vectors())
def test_the_vectors_of_rfc_8032(secret, public, message, signature):
    key = SigningKey(bytes.fromhex(secret))
    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert verify_signature(key.public, bytes.fromhex(message), bytes.fromhex(signature))


def test_a_key_is_named_as_in_rfc_8037():
    key = SigningKey(bytes.fromhex(SECRET_1))
    assert to_text(key.public) == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert key.key_id == key_id(key.public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.integers(0, 511))
def test_a_signature_with_one_changed_bit_is_invalid(secret, message, bit):
    key = SigningKey(secret)
    signature = bytearray(key.sign(message))
    assert verify_signature(key.public, message, bytes(signature))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verify_signature(key.public, message, bytes(signature))


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_signature_is_valid_for_its_message_only(one, other):
    key = SigningKey(bytes(32))
    assert verify_signature(key.public, other, key.sign(one)) == (one == other)


def test_signatures_are_not_malleable():
    """RFC 8032 §5.1.7: S is below the order of the group; S plus the order would be as good otherwise."""
    key = SigningKey(bytes(32))
    signature = key.sign(b"word")
    larger = int.from_bytes(signature[32:], "little") + ORDER
    assert not verify_signature(key.public, b"word", signature[:32] + larger.to_bytes(32, "little"))


@pytest.mark.parametrize(("public", "signature"), [(b"", bytes(64)), (bytes(31), bytes(64)), (bytes(32), b"")])
def test_bytes_of_another_length_are_not_a_key_or_a_signature(public, signature):
    assert not verify_signature(public, b"", signature)


def test_bytes_that_are_not_a_curve_point_are_refused_as_a_key():
    assert not verify_signature(b"\x02" + bytes(31), b"", bytes(64))


@given(st.binary(max_size=70))
def test_bytes_have_one_encoding(data):
    text = to_text(data)
    assert to_bytes(text) == data
    assert "=" not in text


@pytest.mark.parametrize("text", ["QR", "QQ==", "Q Q", "+/8", "Q", "é", "QQ\n"])
def test_any_other_encoding_is_refused(text):
    with pytest.raises(ValueError):
        to_bytes(text)
