"""The cache of opened keys is bounded in number and age, and an eviction wins over a load under way."""

from __future__ import annotations

import pytest

from vault.crypto.cache import AgedCache


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


def test_what_is_kept_is_found(cache):
    cache.keep({"a": 1, "b": 2}, cache.mark())
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, 2, None)
    assert cache.hits == 2


def test_the_oldest_go_when_there_are_too_many(cache):
    for key in "abcd":
        cache.keep({key: key}, cache.mark())
    assert [cache.get(key) for key in "abcd"] == [None, "b", "c", "d"]
    cache.keep({key: key for key in "uvwxyz"}, cache.mark())
    assert len(cache) == 3


def test_an_entry_ages_however_often_it_is_used(cache, time):
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


def test_keeping_again_renews(cache, time):
    cache.keep({"a": 1}, cache.mark())
    time.now += 20
    cache.keep({"a": 2}, cache.mark())
    time.now += 20
    assert cache.get("a") == 2


def test_the_aged_leave_the_memory_when_others_come(cache, time):
    cache.keep({"a": 1, "b": 2}, cache.mark())
    time.now += 30
    cache.keep({"c": 3}, cache.mark())
    assert len(cache) == 1


def test_a_load_that_an_eviction_overtook_is_not_kept(cache):
    since = cache.mark()
    cache.evict("a")
    cache.keep({"a": 1}, since)
    assert cache.get("a") is None
    since = cache.mark()
    cache.clear()
    cache.keep({"a": 1}, since)
    assert cache.get("a") is None


def test_evicting_and_clearing(cache):
    cache.keep({"a": 1, "b": 2}, cache.mark())
    cache.evict("a")
    cache.evict("never there")
    assert (cache.get("a"), cache.get("b")) == (None, 2)
    cache.clear()
    assert len(cache) == 0


def test_a_cache_of_nothing_keeps_nothing(time):
    cache = AgedCache(most=0, max_age=30.0, monotonic=time)
    cache.keep({"a": 1}, cache.mark())
    assert cache.get("a") is None
