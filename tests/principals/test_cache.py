from uuid import UUID

import pytest

from vault.ids import new_id
from vault.principals.principal import Principal, digest
from vault.principals.store import BearerCache

ADA = Principal(id=UUID(int=1), tenant="default", name="ada", kind="app", roles=("support",))
KEY = new_id()
STANDS_ON = frozenset({ADA.id, KEY})


@pytest.fixture
def kept(seconds):
    return BearerCache(seconds, max_age=5.0, most=3)


def put(kept, name="a", since=1000.0, lifetime=60.0):
    kept.put(digest(name), ADA, since=since, lifetime=lifetime, depends_on=STANDS_ON)


def test_a_bearer_is_cached_for_max_age(kept, seconds):
    put(kept)
    seconds.pass_by(4.9)
    assert kept.get(digest("a")) is ADA
    seconds.pass_by(0.1)
    assert kept.get(digest("a")) is None


def test_a_bearer_that_expires_earlier_is_cached_until_then(kept, seconds):
    put(kept, lifetime=2.0)
    seconds.pass_by(2.0)
    assert kept.get(digest("a")) is None


def test_an_expired_bearer_is_not_cached(kept):
    put(kept, lifetime=0.0)
    assert len(kept) == 0


def test_the_age_counts_from_before_the_verification(kept, seconds):
    seconds.pass_by(4.0)
    put(kept, since=1000.0)
    seconds.pass_by(1.0)
    assert kept.get(digest("a")) is None


def test_a_verification_that_took_longer_than_max_age_is_not_cached(kept, seconds):
    seconds.pass_by(6.0)
    put(kept, since=1000.0)
    assert len(kept) == 0


def test_the_oldest_entry_is_evicted_when_the_cache_is_full(kept):
    for name in "abcd":
        put(kept, name)
    assert len(kept) == 3
    assert kept.get(digest("a")) is None
    assert kept.get(digest("d")) is ADA


@pytest.mark.parametrize("changed", [ADA.id, KEY])
def test_a_change_evicts_the_bearer_until_it_has_settled(kept, seconds, changed):
    put(kept)
    kept.forget(changed)
    assert kept.get(digest("a")) is None
    put(kept)
    assert len(kept) == 0
    seconds.pass_by(65.0)
    put(kept, since=seconds())
    assert kept.get(digest("a")) is ADA


def test_a_change_of_another_principal_keeps_the_bearer(kept):
    put(kept)
    kept.forget(new_id())
    assert kept.get(digest("a")) is ADA
