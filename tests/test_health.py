"""The figures of a vault: read from real tables, and put together for the metrics."""

from __future__ import annotations

from datetime import timedelta

from vault.clock import Clock
from vault.health import KeyEnd, TenantHealth, figures

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
