"""Blind indexes find the subjects with a value, and nothing under another tenant's key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.catalogue.model import Field, Index, Sensitivity
from vault.catalogue.types import index_text
from vault.crypto.derive import IndexKeys
from vault.subjects.rows import PREFIXES, digests, matches, search_digest, tail_length

KEYS = IndexKeys(bytes(32))
EXACT, PREFIX, TAIL = Index("exact"), Index("prefix"), Index("last_4")
texts = st.text(max_size=30)


def field(*indexes, name="last_name", kind="text", collection="profile"):
    return Field(
        collection=collection,
        name=name,
        title="",
        type=kind,
        options={},
        category="user.name",
        sensitivity=Sensitivity.INTERNAL,
        indexes=indexes,
    )


def finds(of, by, value, wanted):
    text = index_text(of.type, wanted)
    return search_digest(KEYS, of, by, text) in digests(KEYS, of, value)


def test_a_field_without_an_index_has_no_digests():
    assert digests(KEYS, field(), "Lovelace") == []


@given(texts, texts)
def test_exact_finds_the_same_text_and_no_other(value, wanted):
    of = field(EXACT)
    assert finds(of, EXACT, value, value)
    assert finds(of, EXACT, value, wanted) == (index_text("text", value) == index_text("text", wanted))


@given(texts, st.integers(0, 30))
def test_prefix_finds_every_beginning_of_two_letters_and_more(value, size):
    of = field(PREFIX)
    whole = index_text("text", value)
    beginning = whole[:size]
    result = search_digest(KEYS, of, PREFIX, beginning) in digests(KEYS, of, value)
    assert result == (len(beginning) >= PREFIXES.start)


@given(texts, texts)
def test_a_prefix_match_is_verified_by_the_unsealed_value(value, wanted):
    of, stored, sought_for = field(PREFIX), index_text("text", value), index_text("text", wanted)
    if stored.startswith(sought_for) and len(sought_for) >= PREFIXES.start:
        assert finds(of, PREFIX, value, wanted)
    assert matches("prefix", stored, sought_for) == stored.startswith(sought_for)


@given(st.text("0123456789", min_size=0, max_size=15))
def test_last_n_finds_the_last_n_letters(value):
    of = field(TAIL, name="phone", kind="phone")
    end = value[-4:]
    assert (search_digest(KEYS, of, TAIL, end) in digests(KEYS, of, value)) == (len(value) >= 4)
    assert search_digest(KEYS, of, TAIL, value[-3:]) not in digests(KEYS, of, value) or len(value) < 4
    assert matches("last_4", value, end)


@pytest.mark.parametrize(
    ("kind", "stored", "wanted", "expected"),
    [
        ("exact", "ada", "ada", True),
        ("exact", "ada", "ad", False),
        ("prefix", "ada", "ad", True),
        ("prefix", "ada", "da", False),
        ("last_4", "441234567", "4567", True),
        ("last_4", "441234567", "4412", False),
    ],
)
def test_a_match_is_verified_by_the_unsealed_value(kind, stored, wanted, expected):
    assert matches(kind, stored, wanted) is expected


def test_the_length_of_a_last_n_index_is_read_from_its_name():
    assert tail_length("last_12") == 12


def test_digests_of_one_value_differ_by_field_kind_length_and_tenant():
    """Otherwise a stolen table could be joined by fields, would tell prefixes from whole values, or compare tenants."""
    everything = []
    for name in ("first_name", "last_name"):
        for collection in ("profile", "family_member"):
            for index in (EXACT, PREFIX, Index("last_2")):
                for keys in (KEYS, IndexKeys(bytes([1]) * 32)):
                    everything += digests(keys, field(index, name=name, collection=collection), "ab")
    assert len(everything) == 2 * 2 * 3 * 2
    assert len(set(everything)) == len(everything)


def test_each_prefix_length_has_its_own_key():
    result = digests(KEYS, field(PREFIX), "a" * 20)
    assert len(result) == len(set(result)) == len(PREFIXES)
    # a digest of "aa" under the key of three letters is none of a person's
    assert KEYS.digest("profile.last_name:prefix:3", "aa") not in result


@given(texts)
def test_all_digests_have_the_same_length(value):
    assert {len(digest) for digest in digests(KEYS, field(EXACT, PREFIX), value)} == {32}


def test_each_digest_is_listed_once_however_many_indexes_lead_to_it():
    assert len(digests(KEYS, field(EXACT, EXACT), "ada")) == 1


@pytest.mark.parametrize(("bits", "size"), [(8, 1), (12, 2), (16, 2), (255, 32)])
def test_a_shortened_index_is_searched_by_its_shortened_digest(bits, size):
    by = Index("exact", bits=bits)
    of = field(by)
    (digest,) = digests(KEYS, of, "Lovelace")
    assert len(digest) == size
    assert search_digest(KEYS, of, by, index_text("text", "lovelace")) == digest
    whole = KEYS.digest("profile.last_name:exact", "lovelace")
    assert int.from_bytes(digest, "big") >> (-bits % 8) == int.from_bytes(whole, "big") >> (256 - bits)


def test_spellings_of_one_value_have_the_same_digest():
    phone = field(EXACT, name="phone", kind="phone")
    assert finds(phone, EXACT, "+442071234567", "+44 20 7123 4567")
    name = field(EXACT)
    assert finds(name, EXACT, "Müller", "Mu\u0308ller")
    assert finds(name, EXACT, "LOVELACE", " lovelace ")
    assert not finds(name, EXACT, "Muller", "Müller")


@pytest.mark.parametrize("kind", ["boolean", "money", "integer", "enumeration"])
def test_types_with_few_values_have_no_index(kind):
    with pytest.raises(ValueError, match="not indexed"):
        digests(KEYS, field(EXACT, kind=kind), "x")
