"""Times of records in files: lines with impossible ones are refused, and the import goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.imports.files import PURCHASES, Faults, bring_in, counts, people_csv, write_csv
from vault.catalogue.types import ValueProblem
from vault.imports.lines import build_time_getter
from vault.imports.mapping import Cell
from vault.moments import EARLIEST, LATEST

HEADER = "customer,line,at,amount"
ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Kiritimati", "Pacific/Niue", "Etc/GMT+12"]
OUT_OF_RANGE = [
    "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-03:00", "1899-12-31", "2200-01-02", "2262-04-11T23:47:16",
]  # fmt: skip


@pytest.fixture
async def peopled(sqlite_node, tmp_path):
    await bring_in(sqlite_node, people_csv(tmp_path / "people.csv", 5))
    return sqlite_node


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("written", ["%Y-%m-%d %H:%M:%S", None])
async def test_the_first_and_last_moment_of_the_calendar_are_refused_in_any_zone(peopled, tmp_path, zone, written):
    form = "" if written is None else f', date_format = "{written}"'
    mapping = PURCHASES.replace('"at"', f'{{ column = "at"{form} }}\ntime_zone = "{zone}"')
    rows = ["1,L1,0001-01-01 00:00:00,1.00", "1,L2,9999-12-31 23:59:59,1.00", "1,L3,2026-01-01 00:00:00,1.00"]
    watcher = Faults()
    report = await bring_in(peopled, write_csv(tmp_path / "p.csv", HEADER, *rows), mapping, watcher=watcher)
    assert watcher.told == [(2, "out-of-range", "occurred_at"), (3, "out-of-range", "occurred_at")]
    assert counts(report) == (1, 0, 0, 2)


async def test_lines_out_of_range_are_refused_and_the_others_come_in(peopled, tmp_path):
    rows = [f"1,L{number},{when},1.00" for number, when in enumerate([*OUT_OF_RANGE, "2026-01-05T10:00:00Z"])]
    watcher = Faults()
    report = await bring_in(peopled, write_csv(tmp_path / "p.csv", HEADER, *rows), PURCHASES, watcher=watcher)
    assert {code for _line, code, _field in watcher.told} == {"out-of-range"}
    assert counts(report) == (1, 0, 0, len(OUT_OF_RANGE))
    assert not any(when in fault.detail for when in OUT_OF_RANGE for fault in watcher.faults)


async def test_a_line_ahead_of_the_tolerance_is_refused(peopled, tmp_path):
    rows = ["1,L1,2026-03-06T12:00:00Z,1.00", "1,L2,2026-03-06T12:00:01Z,1.00", "1,L3,2199-12-31T00:00:00Z,1.00"]
    watcher = Faults()
    report = await bring_in(peopled, write_csv(tmp_path / "p.csv", HEADER, *rows), PURCHASES, watcher=watcher)
    assert watcher.told == [(3, "event-in-future", "occurred_at"), (4, "event-in-future", "occurred_at")]
    assert counts(report) == (1, 0, 0, 2)


@pytest.mark.parametrize(
    "when", ["2026-01-05T12:00Z", "2026-01-05T12:00:00+0530", "2026-01-05T12:00:00\N{MINUS SIGN}05:30", "1767571200"]
)
async def test_times_in_other_forms_than_the_mapping_says_are_refused(peopled, tmp_path, when):
    watcher = Faults()
    await bring_in(peopled, write_csv(tmp_path / "p.csv", HEADER, f"1,L1,{when},1.00"), PURCHASES, watcher=watcher)
    assert watcher.told == [(2, "bad-format", "occurred_at")]


@given(
    st.datetimes() | st.sampled_from([datetime.min, datetime.max]),  # noqa: DTZ901 - the zone is drawn apart
    st.none() | st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    st.sampled_from(ZONES),
)
def test_any_time_in_any_zone_is_in_range_or_a_problem(naive, offset, zone):
    raw = naive.replace(tzinfo=offset).isoformat()
    get = build_time_getter(Cell(column="at"), zone, lambda name: lambda row: row[name], frozenset())
    moment, code, detail = None, None, ""
    try:
        moment = get({"at": raw})
    except ValueProblem as problem:
        code, detail = problem.code, problem.detail
    assert raw not in detail
    assert (moment is None) == (code == "out-of-range")
    assert moment is None or (moment.tzinfo is UTC and EARLIEST <= moment < LATEST)
