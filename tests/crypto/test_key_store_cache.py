"""The cache of opened keys is bounded in number and age, and an eviction voids a load in progress."""

from __future__ import annotations

import pytest

from vault.crypto.key_store import AgedCache


class Time:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def cache(time):
    return AgedCache(most=3, max_age=30.0, monotonic=time)


def test_an_added_entry_is_returned(cache):
    cache.keep({"a": 1, "b": 2}, cache.mark())
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, 2, None)
    assert cache.hits == 2


def test_the_oldest_entries_are_evicted_when_the_cache_is_full(cache):
    for key in "abcd":
        cache.keep({key: key}, cache.mark())
    assert [cache.get(key) for key in "abcd"] == [None, "b", "c", "d"]
    cache.keep({key: key for key in "uvwxyz"}, cache.mark())
    assert len(cache) == 3


def test_hits_do_not_extend_the_age_of_an_entry(cache, time):
    cache.keep({"a": 1}, cache.mark())
    for _ in range(29):
        time.now += 1
        assert cache.get("a") == 1
    time.now += 1
    assert cache.get("a") is None
    assert len(cache) == 0


def test_age_counts_from_the_start_of_the_load(cache, time):
    since = cache.mark()
    time.now += 29
    cache.keep({"a": 1}, since)
    assert cache.get("a") == 1
    time.now += 1
    assert cache.get("a") is None


def test_adding_again_renews_an_entry(cache, time):
    cache.keep({"a": 1}, cache.mark())
    time.now += 20
    cache.keep({"a": 2}, cache.mark())
    time.now += 20
    assert cache.get("a") == 2


def test_expired_entries_are_evicted_when_others_are_added(cache, time):
    cache.keep({"a": 1, "b": 2}, cache.mark())
    time.now += 30
    cache.keep({"c": 3}, cache.mark())
    assert len(cache) == 1


def test_a_load_is_not_cached_after_an_eviction(cache):
    since = cache.mark()
    cache.evict("a")
    cache.keep({"a": 1}, since)
    assert cache.get("a") is None
    since = cache.mark()
    cache.clear()
    cache.keep({"a": 1}, since)
    assert cache.get("a") is None


def test_evicted_and_cleared_entries_are_not_returned(cache):
    cache.keep({"a": 1, "b": 2}, cache.mark())
    cache.evict("a")
    cache.evict("never there")
    assert (cache.get("a"), cache.get("b")) == (None, 2)
    cache.clear()
    assert len(cache) == 0


def test_a_cache_of_size_zero_keeps_nothing(time):
    cache = AgedCache(most=0, max_age=30.0, monotonic=time)
    cache.keep({"a": 1}, cache.mark())
    assert cache.get("a") is None
