"""Ids: UUIDv7 that grow, random pseudonyms, slugs."""

from __future__ import annotations

import re
import threading
import time
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault import ids
from vault.ids import is_slug, new_id, random_id


def milliseconds(made):
    return made.int >> 80


def test_an_id_has_the_layout_of_rfc_9562():
    before = time.time_ns() // 1_000_000
    new = new_id()
    after = time.time_ns() // 1_000_000 + 1
    assert new.version == 7
    assert new.variant == uuid.RFC_4122
    assert (new.int >> 76) & 0xF == 0b0111  # §5.7: ver in bits 48 to 51
    assert (new.int >> 62) & 0b11 == 0b10  # var in bits 64 and 65
    assert before <= milliseconds(new) <= after


def test_the_example_of_the_rfc_is_read_back(monkeypatch):
    """RFC 9562 appendix A.6: 2022-02-22 14:22:22.00 GMT-05:00 is 017F22E2-79B0-7…"""
    moment = datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)
    monkeypatch.setattr(ids, "_last", 0)
    monkeypatch.setattr(time, "time_ns", lambda: int(moment.timestamp()) * 1_000_000_000)
    assert str(new_id()).upper().startswith("017F22E2-79B0-7000-")


def test_ids_grow_even_within_a_millisecond():
    ids_in_order = [new_id() for _ in range(20_000)]
    assert ids_in_order == sorted(ids_in_order)
    assert [one.bytes for one in ids_in_order] == sorted(one.bytes for one in ids_in_order)
    assert len(set(ids_in_order)) == len(ids_in_order)


def test_ids_grow_even_if_the_clock_stops_or_goes_back(monkeypatch):
    now = time.time_ns()
    readings = iter([now] * 5_000 + [now - 10_000_000_000] * 5_000)
    monkeypatch.setattr(time, "time_ns", lambda: next(readings, now))
    created = [new_id() for _ in range(10_000)]
    assert created == sorted(set(created))


def test_threads_make_unique_growing_ids():
    created = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def make(into):
        start.wait()
        into.extend(new_id() for _ in range(3_000))

    threads = [threading.Thread(target=make, args=(item,)) for item in created]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(item == sorted(item) for item in created)
    assert len({one for item in created for one in item}) == 8 * 3_000
    ticks = [(one.int >> 80, (one.int >> 64) & 0xFFF) for item in created for one in item]
    assert len(set(ticks)) == len(ticks)


def test_the_random_part_differs_each_time():
    tails = [new_id().int & ((1 << 62) - 1) for _ in range(1_000)]
    assert len(set(tails)) == 1_000
    assert len({tail >> 54 for tail in tails}) > 100
    assert len({tail & 0xFF for tail in tails}) > 100


def test_a_pseudonym_does_not_contain_the_time():
    pseudonyms = [random_id() for _ in range(1_000)]
    assert {pseudonym.version for pseudonym in pseudonyms} == {4}
    assert {pseudonym.variant for pseudonym in pseudonyms} == {uuid.RFC_4122}
    assert len(set(pseudonyms)) == 1_000
    assert pseudonyms != sorted(pseudonyms)


@given(st.text(max_size=70) | st.from_regex(r"[a-z0-9_-]{0,66}"))
def test_a_slug_is_made_of_few_characters_and_begins_and_ends_with_a_letter_or_digit(name):
    inner = set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    expected = 1 <= len(name) <= 64 and set(name) <= inner and not {name[0], name[-1]} & set("_-")
    assert is_slug(name) is expected


@pytest.mark.parametrize("name", ["shop\n", "Shop", "ſhop", "shop ", "ａ", "a/b", "a.b", "١", ""])
def test_similar_texts_are_not_slugs(name):
    assert not is_slug(name)


def test_a_slug_has_at_most_64_characters():
    assert is_slug("a" * 64)
    assert not is_slug("a" * 65)
    assert is_slug(ids.DEFAULT_TENANT)
    assert re.fullmatch(ids.SLUG, "a-b_c")
