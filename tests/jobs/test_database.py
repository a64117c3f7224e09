"""A lease belongs to one process until it expires, by the database's clock."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vault.jobs.database import JobDatabase, Leases


@pytest.fixture
def leases(data_url):
    database = JobDatabase(data_url)
    engine = database.connect()
    leases = Leases(engine, database.schema)
    leases.prepare()
    yield leases
    engine.dispose()


def test_one_of_several_concurrent_callers_takes_a_lease(leases):
    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(lambda _: leases.take("sweep:one", 60), range(12))) == 1
    assert leases.take("sweep:other", 60)


def test_an_expired_lease_can_be_taken(leases):
    assert leases.take("sweep:one", 0.05)
    time.sleep(0.06)  # it is the database's clock that counts
    assert leases.take("sweep:one", 60)


def test_held_leases_are_listed_and_released_or_expired_ones_are_not(leases):
    leases.hold("node:one", 60)
    leases.hold("node:one", 60)
    leases.hold("node:two", 60)
    leases.hold("node:late", -1)
    leases.hold("sweep:one", 60)
    assert leases.held("node:") == {"one", "two"}
    leases.release("node:one")
    assert leases.held("node:") == {"two"}
    leases.release("node:never")


def test_several_processes_can_create_the_table_at_once(data_url):
    database = JobDatabase(data_url)
    engines = [database.connect() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda engine: Leases(engine, database.schema).prepare(), engines))
    assert sum(Leases(engine, database.schema).take("sweep:one", 60) for engine in engines) == 1
    for engine in engines:
        engine.dispose()
