"""The clock is aware, and moments are written in one form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import FixedClock
from vault.clock import Clock, rfc3339


def test_now_is_aware_and_in_utc():
    before = datetime.now(UTC)
    now = Clock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(2026, 3, 5, 12, tzinfo=UTC), "2026-03-05T12:00:00.000000Z"),
        (datetime(2026, 3, 5, 12, 0, 0, 1, tzinfo=UTC), "2026-03-05T12:00:00.000001Z"),
        (datetime(2026, 3, 5, 1, tzinfo=timezone(timedelta(hours=2))), "2026-03-04T23:00:00.000000Z"),
        (datetime(33, 3, 5, tzinfo=UTC), "0033-03-05T00:00:00.000000Z"),
    ],
)
def test_a_moment_is_written_in_utc_with_microseconds(moment, written):
    assert rfc3339(moment) == written


@given(st.datetimes(timezones=st.just(UTC)))
def test_written_moments_have_one_length_sort_by_time_and_are_read_back(moment):
    written = rfc3339(moment)
    assert len(written) == 27
    assert datetime.fromisoformat(written) == moment
    assert rfc3339(datetime.max.replace(tzinfo=UTC)) >= written >= rfc3339(datetime.min.replace(tzinfo=UTC))


def test_a_naive_moment_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        rfc3339(datetime(2026, 3, 5))  # noqa: DTZ001 - naive on purpose


def test_the_clock_of_the_tests_stands_still_until_it_is_moved(clock):
    first = clock.now()
    assert clock.now() == first
    clock.advance(days=1, seconds=2)
    assert clock.now() - first == timedelta(days=1, seconds=2)
    assert isinstance(FixedClock(), Clock)
