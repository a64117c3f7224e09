import hashlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.crypto.bearers import keyed_digest, matches
from vault.crypto.bearers import plain_digest as digest
from vault.crypto.derive import TokenKey
from vault.ids import KeyId, new_id
from vault.principals.principal import key_id_of, make_key

KEY_ID = KeyId(UUID("01990000-0000-7000-8000-0000000000ff"))
SECRET = "_-" * 21 + "A"
KEY = f"cdv_{KEY_ID.hex}_{SECRET}"


def test_a_new_key_has_the_published_form_and_names_its_row():
    key = make_key(KEY_ID).reveal()
    prefix, name, secret = key.split("_", 2)
    assert (prefix, name) == ("cdv", KEY_ID.hex)
    assert len(secret) == 43
    assert key_id_of(key) == KEY_ID


def test_a_new_key_does_not_show_itself():
    key = make_key(KEY_ID)
    assert key.reveal() not in f"{key} {key!r}"


def test_keys_are_unique():
    assert len({make_key(KEY_ID).reveal() for _ in range(100)}) == 100


def test_a_secret_of_underscores_and_hyphens_is_separated_from_the_id():
    assert key_id_of(KEY) == KEY_ID


def test_every_made_key_is_read_back():
    for _ in range(500):
        key_id = KeyId(new_id())
        assert key_id_of(make_key(key_id).reveal()) == key_id


@pytest.mark.parametrize(
    "bearer",
    [
        "",
        "cdv_",
        KEY[:-1],
        KEY + "A",
        KEY + "\n",
        " " + KEY,
        KEY.upper(),
        KEY.replace("cdv_", "cdw_"),
        KEY[:-1] + "B",  # the two bits that carry nothing must be zero: one secret, one text
        KEY[:-1] + "=",
        KEY[:-1] + "\u0661",  # a digit, but not one of ours
        f"cdv_{KEY_ID}_{SECRET}",
        f"cdv_{KEY_ID.hex.replace('f', 'F')}_{SECRET}",
        f"cdv_{KEY_ID.hex}-{SECRET}",
    ],
)
def test_other_forms_are_not_keys(bearer):
    assert key_id_of(bearer) is None


@given(st.text())
def test_any_text_has_a_digest_and_is_no_key(text):
    assert len(digest(text)) == 32
    assert key_id_of(text) is None


def test_a_text_that_is_not_even_unicode_has_a_digest():
    assert len(digest("cdv_\ud800")) == 32


def test_the_digest_is_plain_sha_256():
    assert digest(KEY) == hashlib.sha256(KEY.encode()).digest()


def test_only_the_same_key_of_the_same_tenant_matches():
    tokens, others = TokenKey(bytes(32)), TokenKey(bytes([1] * 32))
    stored = keyed_digest(tokens, "api-key", digest(KEY))
    assert matches("api-key", digest(KEY), stored, tokens)
    assert not matches("api-key", digest(KEY[:-1] + "E"), stored, tokens)
    assert not matches("api-key", digest(KEY), stored, others)
    assert not matches("session-token", digest(KEY), stored, tokens)


def test_an_unkeyed_digest_and_an_unknown_key_match_nothing():
    tokens = TokenKey(bytes(32))
    assert not matches("api-key", digest(KEY), digest(KEY), tokens)
    assert not matches("api-key", digest(KEY), None, tokens)
    assert not matches("api-key", digest(KEY), keyed_digest(tokens, "api-key", digest(KEY)), None)
