"""Times from outside: one range for all doors, whatever year and zone they state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.clock import from_microseconds, to_microseconds
from vault.moments import EARLIEST, LATEST, SKEW, in_utc, moment_fault, read_moment

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
OFFSETS = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))
ZONES = st.sampled_from(sorted(available_timezones())).map(ZoneInfo)
EXTREMES = [
    moment.replace(tzinfo=None)
    for edge in (EARLIEST, LATEST)
    for moment in (edge, edge - timedelta(hours=1), edge + timedelta(hours=1))
]
NAIVE = st.sampled_from(EXTREMES) | st.datetimes() | st.sampled_from([datetime.min, datetime.max])  # noqa: DTZ901 - as above


@given(NAIVE, OFFSETS | ZONES)
def test_a_moment_is_in_range_or_a_fault_and_nothing_else(naive, zone):
    moment = naive.replace(tzinfo=zone)
    utc = moment - datetime(1970, 1, 1, tzinfo=UTC)  # exact, and without a moment in between
    inside = EARLIEST - datetime(1970, 1, 1, tzinfo=UTC) <= utc < LATEST - datetime(1970, 1, 1, tzinfo=UTC)
    fault = moment_fault(moment, at="/at")
    assert (fault is None) == inside
    if inside:
        assert in_utc(moment) == moment
        assert from_microseconds(to_microseconds(moment)) == moment
    else:
        assert (fault.at, fault.code) == ("/at", "out-of-range")


@given(NAIVE, ZONES)
def test_a_time_without_a_zone_gets_one_or_is_out_of_range(naive, zone):
    moment = in_utc(naive, zone)
    assert moment is None or (moment.tzinfo is UTC and EARLIEST <= moment < LATEST)
    aware = naive.replace(tzinfo=zone)
    assert (moment is None) == (moment_fault(aware, at="") is not None)


def test_a_moment_without_a_zone_is_a_fault():
    assert moment_fault(NOW.replace(tzinfo=None), at="/at").code == "out-of-range"


@given(NAIVE, OFFSETS | ZONES, st.timedeltas(timedelta(0), timedelta(days=4000)))
def test_a_moment_ahead_of_the_tolerance_is_in_the_future(naive, zone, ahead):
    moment = naive.replace(tzinfo=zone)
    fault = moment_fault(moment, at="/at", latest=NOW + ahead)
    if moment_fault(moment, at="/at") is None:
        assert (fault is not None) == (moment > NOW + ahead)
        assert fault is None or fault.code == "event-in-future"


def test_the_clocks_of_apps_may_be_a_minute_ahead():
    assert moment_fault(NOW + SKEW, at="", latest=NOW + SKEW) is None
    assert moment_fault(NOW + SKEW + timedelta(microseconds=1), at="", latest=NOW + SKEW).code == "event-in-future"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-03-05T12:00:00Z", NOW),
        ("2026-03-05t12:00:00z", NOW),
        ("2026-03-05 13:00:00+01:00", NOW),
        ("2026-03-05T12:00:00.000001Z", NOW + timedelta(microseconds=1)),
        ("2026-03-05T12:00:00.5-00:00", NOW + timedelta(milliseconds=500)),
        ("2026-03-05T12:00:00", NOW.replace(tzinfo=None)),
        ("2026-03-05", datetime(2026, 3, 5)),  # noqa: DTZ001 - the caller has the zone
    ],
)
def test_times_are_read_as_rfc_3339_writes_them(text, wanted):
    assert read_moment(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "1772712000", "2026-03-05T12:00Z", "2026-03-05T12:00", "2026-03-05T12:00:00+0530", "2026-03-05T12:00:00+05",
        "2026-03-05T12:00:00\N{MINUS SIGN}05:30", "20260305T120000Z", "2026-W10-4", "2026-064", "2026-03-05T24:00:00Z",
        "2026-02-29T12:00:00Z", "2026-03-05T12:00:00+24:00", "2026-03-05T12:00:60Z", "2026-03-05T12:00:00,5Z",
        "2026-03-05_12:00:00Z", "2026-03-05T12:00:00 Z", "12:00Z", "", "٢٠٢٦-03-05", "2026-03-05T12:00:00.1234567890123Z",
    ],
)  # fmt: skip
def test_other_forms_are_not_read(text):
    assert read_moment(text) is None


@given(st.text(max_size=40))
def test_any_text_is_a_moment_or_none(text):
    read_moment(text)
