"""A value opens only at its place and under its key."""

from __future__ import annotations

from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from tests.crypto import second_decoder
from tests.crypto.support import names, open_at, places, plaintexts, seal_at, subject_keys, versions
from vault.crypto.primitive import FRAMED, frame
from vault.crypto.seal import SubjectKeys, open_profiles, record_aad
from vault.errors import CannotOpen

HERE = ("default", UUID(int=1), "profile", UUID(int=2), "email")


@given(places, plaintexts, versions)
def test_a_sealed_value_opens_to_the_same_bytes(where, plaintext, version):
    keys = subject_keys(version=version)
    assert open_at(keys, where, seal_at(keys, where, plaintext)) == plaintext


@given(places, plaintexts, versions)
def test_the_second_decoder_agrees(where, plaintext, version):
    tenant, subject, collection, record, field = where
    named = {
        "tenant": tenant,
        "subject": str(subject),
        "collection": collection,
        "record": str(record),
        "field": field,
    }
    sealed = seal_at(subject_keys(version=version), where, plaintext)
    assert second_decoder.open_value(bytes(range(32)), version, named, sealed) == plaintext


@given(plaintexts, st.data())
def test_a_flipped_bit_prevents_opening(plaintext, data):
    keys = subject_keys()
    sealed = seal_at(keys, HERE, plaintext)
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    with pytest.raises(CannotOpen):
        open_at(keys, HERE, _flipped(sealed, bit))


def test_every_single_flipped_bit_prevents_opening():
    keys = subject_keys()
    sealed = seal_at(keys, HERE, b"true")
    for bit in range(len(sealed) * 8):
        with pytest.raises(CannotOpen):
            open_at(keys, HERE, _flipped(sealed, bit))


@given(places, places)
def test_a_value_does_not_open_at_another_place(here, there):
    if here == there:
        return
    keys = subject_keys()
    with pytest.raises(CannotOpen):
        open_at(keys, there, seal_at(keys, here, b"true"))


@pytest.mark.parametrize("part", range(5))
def test_each_part_of_the_place_counts(part):
    keys = subject_keys()
    there = list(HERE)
    there[part] = UUID(int=9) if isinstance(there[part], UUID) else "other"
    with pytest.raises(CannotOpen):
        open_at(keys, tuple(there), seal_at(keys, HERE, b"true"))


def test_adjacent_names_are_not_interchangeable():
    keys = subject_keys()
    sealed = keys.seal("ab", b"true", record_aad("t", UUID(int=1), "c", UUID(int=2)))
    for tenant, collection, field in [("t", "ca", "b"), ("tc", "", "ab"), ("", "tc", "ab"), ("t", "", "cab")]:
        with pytest.raises(CannotOpen):
            keys.open(field, sealed, record_aad(tenant, UUID(int=1), collection, UUID(int=2)))


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.binary(max_size=300), max_size=6))
def test_framing_is_unambiguous(some, others):
    assert (frame(*some) == frame(*others)) == (some == others)
    assert second_decoder.unframe(frame(*some)) == some


@given(st.binary(max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_equal_bytes_with_another_split_are_framed_differently(whole, one, two):
    left, right = frame(whole[:one], whole[one:]), frame(whole[:two], whole[two:])
    assert (left == right) == (min(one, len(whole)) == min(two, len(whole)))


def test_a_part_too_long_for_its_length_is_refused():
    assert second_decoder.unframe(frame(b"x" * 65_535)) == [b"x" * 65_535]
    with pytest.raises(ValueError, match=r"65,535"):
        frame(b"x" * 65_536)


@given(names)
def test_a_cached_frame_equals_the_frame(name):
    assert FRAMED[name] == FRAMED[name] == frame(name.encode())


def test_the_cache_of_frames_is_bounded():
    kept = type(FRAMED)()
    for number in range(5_000):
        assert kept[str(number)] == frame(str(number).encode())
    assert len(kept) == 4_096


def test_another_persons_key_does_not_open():
    sealed = seal_at(subject_keys(), HERE, b"true")
    with pytest.raises(CannotOpen):
        open_at(subject_keys(b"\x01" * 32), HERE, sealed)


def test_every_version_opens_and_the_highest_seals():
    one, two = AESGCM(b"\x01" * 32), AESGCM(b"\x02" * 32)
    old, both = SubjectKeys({1: one}), SubjectKeys({1: one, 2: two})
    sealed_before, sealed_after = seal_at(old, HERE, b"1"), seal_at(both, HERE, b"2")
    assert (old.current_version, both.current_version) == (1, 2)
    assert open_at(both, HERE, sealed_before) == b"1"
    assert open_at(both, HERE, sealed_after) == b"2"
    with pytest.raises(CannotOpen):  # a data-key version that is not there (any more)
        open_at(old, HERE, sealed_after)


def test_the_version_in_front_is_bound_even_between_versions_with_the_same_key():
    same = AESGCM(b"\x01" * 32)
    keys = SubjectKeys({1: same, 2: same})
    sealed = seal_at(keys, HERE, b"true")
    with pytest.raises(CannotOpen):
        open_at(keys, HERE, sealed[:2] + b"\x01" + sealed[3:])


@given(plaintexts, st.data())
def test_a_cut_value_does_not_open(plaintext, data):
    keys = subject_keys()
    sealed = seal_at(keys, HERE, plaintext)
    with pytest.raises(CannotOpen):
        open_at(keys, HERE, sealed[: data.draw(st.integers(0, len(sealed) - 1))])
    with pytest.raises(CannotOpen):
        open_at(keys, HERE, sealed[data.draw(st.integers(1, len(sealed))) :])


@given(st.binary(max_size=80))
def test_random_bytes_do_not_open(noise):
    with pytest.raises(CannotOpen):
        open_at(subject_keys(), HERE, noise)
    with pytest.raises(CannotOpen):
        open_at(subject_keys(), HERE, b"\x01\x00\x01" + noise)


@pytest.mark.parametrize("version", [0, 2, 3, 255])
def test_an_unknown_format_does_not_open(version):
    sealed = seal_at(subject_keys(), HERE, b"true")
    with pytest.raises(CannotOpen):
        open_at(subject_keys(), HERE, bytes([version]) + sealed[1:])


def test_every_failure_looks_the_same():
    keys = subject_keys()
    sealed = seal_at(keys, HERE, b"true")
    failures = [b"", sealed[:10], b"\x02" + sealed[1:], sealed[:1] + b"\xff\xff" + sealed[3:], sealed[:-1] + b"?"]
    answers = set()
    for failure in failures:
        with pytest.raises(CannotOpen) as caught:
            open_at(keys, HERE, failure)
        answers.add((type(caught.value), str(caught.value), caught.value.code, caught.value.hint))
        assert caught.value.__suppress_context__
    assert len(answers) == 1


def test_true_and_false_and_null_have_the_same_length():
    keys = subject_keys()
    assert len({len(seal_at(keys, HERE, text)) for text in (b"true", b"false", b"null", b'"a"')}) == 1


@pytest.mark.parametrize(("plain", "padded"), [(1, 16), (15, 16), (16, 16), (17, 32), (64, 64)])
def test_values_are_padded_to_steps_of_sixteen_bytes(plain, padded):
    assert len(seal_at(subject_keys(), HERE, b"1" * plain)) == 3 + 12 + padded + 16


@pytest.mark.parametrize("plaintext", [b"", b" ", b"true ", b"1\t", b"1\n", b"1\r", b"1\v", b"1\f"])
def test_a_plaintext_that_ends_in_white_space_is_refused(plaintext):
    with pytest.raises(ValueError, match="space"):
        seal_at(subject_keys(), HERE, plaintext)


@pytest.mark.parametrize("plaintext", [b" 1", b"\n1", b"1\x00", b"1\x1c", b"1\x85", b"1\xa0", b"1\xc2\xa0"])
def test_opening_removes_only_padding(plaintext):
    keys = subject_keys()
    assert open_at(keys, HERE, seal_at(keys, HERE, plaintext)) == plaintext


def test_sealing_twice_gives_different_bytes():
    keys = subject_keys()
    sealed = [seal_at(keys, HERE, b"true") for _ in range(1_000)]
    assert len({one[3:15] for one in sealed}) == 1_000
    assert len({one[15:] for one in sealed}) == 1_000


@pytest.mark.parametrize("versions", [[], [0], [65_536], [-1, 1]])
def test_keys_without_a_version_in_range_are_refused(versions):
    with pytest.raises(ValueError, match="data key"):
        SubjectKeys({version: AESGCM(bytes(32)) for version in versions})


PEOPLE = [(SubjectKeys({1: AESGCM(bytes([number]) * 32)}), UUID(int=number)) for number in range(4)]
FIELDS = ("email", "name")


def sealed_profiles(tenant="default", collection="profile"):
    """Id, keys and two values of each subject."""
    return [
        (own, keys, [keys.seal(field, b"%d" % own.int, record_aad(tenant, own, collection, own)) for field in FIELDS])
        for keys, own in PEOPLE
    ]


def test_profiles_of_many_are_opened_in_their_order():
    opened = open_profiles(FIELDS, "default", "profile", sealed_profiles())
    assert list(opened) == [(own, [b"%d" % own.int] * 2) for _keys, own in PEOPLE]


def test_profiles_are_opened_one_by_one_as_they_are_asked_for():
    taken = []
    opened = open_profiles(
        FIELDS, "default", "profile", (taken.append(profile) or profile for profile in sealed_profiles())
    )
    assert taken == []
    assert (next(opened), len(taken)) == ((UUID(int=0), [b"0", b"0"]), 1)


@pytest.mark.parametrize(("tenant", "collection"), [("other", "profile"), ("default", "loyalty")])
def test_profiles_of_another_place_do_not_open(tenant, collection):
    with pytest.raises(CannotOpen):
        list(open_profiles(FIELDS, "default", "profile", sealed_profiles(tenant, collection)))


def test_profiles_do_not_open_with_anothers_id_or_keys_nor_in_another_order_of_fields():
    (own, keys, sealed), (others_id, others_keys, _others) = sealed_profiles()[:2]
    for person in (
        (others_id, keys, sealed),
        (own, others_keys, sealed),
        (own, keys, sealed[::-1]),
        (own, keys, sealed[:1]),
    ):
        with pytest.raises(CannotOpen):
            list(open_profiles(FIELDS, "default", "profile", [person]))


def test_one_record_may_hold_values_of_several_key_versions():
    one, two = AESGCM(b"\x01" * 32), AESGCM(b"\x02" * 32)
    own = UUID(int=7)
    where = record_aad("default", own, "profile", own)
    old, both = SubjectKeys({1: one}), SubjectKeys({1: one, 2: two})
    sealed = [old.seal("email", b"1", where), both.seal("name", b"2", where)]
    assert list(open_profiles(FIELDS, "default", "profile", [(own, both, sealed)])) == [(own, [b"1", b"2"])]
    with pytest.raises(CannotOpen):
        list(open_profiles(FIELDS, "default", "profile", [(own, old, sealed)]))


def _flipped(sealed: bytes, bit: int) -> bytes:
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
