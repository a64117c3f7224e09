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


def test_a_bearer_is_kept_for_its_age_and_not_longer(kept, seconds):
    put(kept)
    seconds.pass_by(4.9)
    assert kept.get(digest("a")) is ADA
    seconds.pass_by(0.1)
    assert kept.get(digest("a")) is None


def test_a_bearer_that_ends_sooner_is_kept_until_its_end(kept, seconds):
    put(kept, lifetime=2.0)
    seconds.pass_by(2.0)
    assert kept.get(digest("a")) is None


def test_a_bearer_at_its_end_is_not_kept_at_all(kept):
    put(kept, lifetime=0.0)
    assert len(kept) == 0


def test_the_age_counts_from_before_the_verification(kept, seconds):
    seconds.pass_by(4.0)
    put(kept, since=1000.0)
    seconds.pass_by(1.0)
    assert kept.get(digest("a")) is None


def test_a_verification_that_took_longer_than_the_age_is_not_kept(kept, seconds):
    seconds.pass_by(6.0)
    put(kept, since=1000.0)
    assert len(kept) == 0


def test_the_oldest_goes_when_there_are_too_many(kept):
    for name in "abcd":
        put(kept, name)
    assert len(kept) == 3
    assert kept.get(digest("a")) is None
    assert kept.get(digest("d")) is ADA


@pytest.mark.parametrize("changed", [ADA.id, KEY])
def test_a_change_drops_the_bearer_and_keeps_it_off_until_it_has_settled(kept, seconds, changed):
    put(kept)
    kept.forget(changed)
    assert kept.get(digest("a")) is None
    put(kept)
    assert len(kept) == 0
    seconds.pass_by(65.0)
    put(kept, since=seconds())
    assert kept.get(digest("a")) is ADA


def test_a_change_of_another_leaves_the_bearer(kept):
    put(kept)
    kept.forget(new_id())
    assert kept.get(digest("a")) is ADA
