"""The figures of a vault: read from real tables, and put together for the metrics."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vault import health as health_module
from vault.clock import Clock
from vault.health import KeyEnd, Measured, TenantHealth, figures

NOW = Clock().now()


def health(**facts):
    quiet = {
        "policies_since": None,
        "overdue": 0,
        "jobs": {},
        "unheard": 0,
        "to_confirm": False,
        "last_sweep": None,
        "last_backup": None,
        "last_trial": None,
        "last_failed": False,
        "keys": (),
    }
    return TenantHealth(**quiet | facts)


def test_numbers_of_tenants_are_added_up():
    found = figures([health(overdue=2, jobs={"failed": 1}), health(overdue=3, unheard=1, jobs={"failed": 4})], NOW)
    assert found["cdv_overdue"] == {"requests": 5, "notices": 1}
    assert found["cdv_jobs"] == {"waiting": 0, "running": 0, "failed": 5}


def test_of_ages_and_ends_the_worst_is_shown():
    day = timedelta(days=1)
    old, young = NOW - 3 * day, NOW - day
    keys = (KeyEnd("shop", NOW + 9 * day), KeyEnd("erp", NOW + 2 * day), KeyEnd("none", None))
    found = figures([health(last_backup=old, last_sweep=young), health(last_backup=young, keys=keys)], NOW)
    assert found["cdv_seconds_since"] == {"backup": 3 * 86400, "sweep": 86400}
    assert found["cdv_seconds_until"] == {"api-key": 2 * 86400}


def test_what_there_is_not_has_no_figure():
    found = figures([health()], NOW)
    assert found["cdv_seconds_since"] == {}
    assert found["cdv_seconds_until"] == {}


@pytest.fixture
def measured(monkeypatch):
    """Count the measurements, by the services that they were made with."""
    made = []

    async def health_of(services, tenant):
        made.append(services)
        keys = (KeyEnd("shop", NOW + timedelta(days=2)), KeyEnd("none", None))
        return health(jobs={"failed": len(made)}, last_backup=NOW, keys=keys)

    monkeypatch.setattr(health_module, "health_of", health_of)
    return made


class Named:
    """Services of a process, of which only the tenants are asked for."""

    def __init__(self):
        self.keyring = self

    async def tenants(self):
        return ["default"]


async def test_of_processes_that_share_a_port_one_measures_and_all_show_it(tmp_path, measured):
    first, second = (Measured(Named(), str(tmp_path)) for _ in range(2))
    assert (first.figures(NOW), second.figures(NOW)) == ({}, {})
    for _ in range(3):
        await first.measure()
        await second.measure()
    assert measured == [first._services] * 3
    later = NOW + timedelta(days=1)
    assert first.figures(later) == second.figures(later)
    assert second.figures(later)["cdv_jobs"]["failed"] == 3
    assert second.figures(later)["cdv_seconds_since"] == {"backup": 86400}
    assert second.figures(later)["cdv_seconds_until"] == {"api-key": 86400}
    first.close()
    second.close()


async def test_when_the_process_that_measures_ends_another_goes_on(tmp_path, measured):
    first, second = (Measured(Named(), str(tmp_path)) for _ in range(2))
    await first.measure()
    await second.measure()
    first.close()
    await second.measure()
    assert measured == [first._services, second._services]
    assert second.figures(NOW)["cdv_jobs"]["failed"] == 2
    second.close()


async def test_a_process_alone_measures_by_itself(measured):
    alone = Measured(Named(), None)
    assert alone.figures(NOW) == {}
    await alone.measure()
    assert alone.figures(NOW)["cdv_jobs"]["failed"] == 1
