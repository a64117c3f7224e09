"""A lease is one process's until its time has run out, by the database's clock."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vault.jobs.engine import Place
from vault.jobs.leases import Leases


@pytest.fixture
def leases(data_url):
    place = Place(data_url)
    engine = place.connect()
    leases = Leases(engine, place.schema)
    leases.prepare()
    yield leases
    engine.dispose()


def test_of_several_who_try_at_once_one_takes_it(leases):
    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(lambda _: leases.take("sweep:one", 60), range(12))) == 1
    assert leases.take("sweep:other", 60)


def test_it_is_free_again_after_its_time(leases):
    assert leases.take("sweep:one", 0.05)
    time.sleep(0.06)  # it is the database's clock that counts
    assert leases.take("sweep:one", 60)


def test_whoever_holds_on_is_seen_and_whoever_gives_back_is_not(leases):
    leases.hold("node:one", 60)
    leases.hold("node:one", 60)
    leases.hold("node:two", 60)
    leases.hold("node:late", -1)
    leases.hold("sweep:one", 60)
    assert leases.held("node:") == {"one", "two"}
    leases.give_back("node:one")
    assert leases.held("node:") == {"two"}
    leases.give_back("node:never")


def test_several_processes_may_begin_at_once(data_url):
    place = Place(data_url)
    engines = [place.connect() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda engine: Leases(engine, place.schema).prepare(), engines))
    assert sum(Leases(engine, place.schema).take("sweep:one", 60) for engine in engines) == 1
    for engine in engines:
        engine.dispose()
