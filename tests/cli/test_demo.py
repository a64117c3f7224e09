"""`cdv demo` is the real thing from end to end, and leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vault.cli.demo.customers import LOCALES, MadeUp
from vault.cli.demo.stage import _in_brief
from vault.cli.demo.story import CHAPTERS

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)


@pytest.fixture
def begin(tmp_path):
    """Starts the demo with a temporary folder of its own, so that what it leaves behind is seen."""
    # A real vault's settings in the environment must not reach the demo.
    env = {**os.environ, "TMPDIR": str(tmp_path), "CDV_DATABASE_URL": "sqlite:////nowhere/at/all.sqlite"}

    def begin(*args):
        command = [sys.executable, "-m", "vault.cli", "demo", *args]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return begin


def left_behind(tmp_path):
    """List folders and processes that name the demo's temporary folder."""
    processes = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if str(tmp_path).encode() in line:
            processes.append(line)
    return [*processes, *tmp_path.iterdir()]


def test_the_tour_ends_by_itself_and_leaves_nothing_behind(begin, tmp_path):
    with begin("--subjects", "200") as tour:
        out, complaints = tour.communicate(timeout=120)
    assert (tour.returncode, complaints) == (0, "")
    for number, chapter in enumerate(CHAPTERS, start=1):
        assert f"{number}. {chapter.title}" in out
        assert chapter.explanation in " ".join(out.split())
    assert "200/200" in out
    for code in (
        "consent-missing", "purpose-excludes-field", "objected", "restricted", "unknown-purpose", "not-authenticated",
        "no-value", "purpose-unused", "retention-over", "held", "next-sweep",
    ):  # fmt: skip
        assert code in out
    assert "cdv demo --serve" in out.splitlines()[-2] + out.splitlines()[-1]
    assert "cdv_" not in out  # no key is shown where it is of no use
    assert left_behind(tmp_path) == []


def test_whoever_stays_can_try_it_until_ctrl_c(begin, tmp_path):
    with begin("--serve", "--subjects", "3", "--seed", "7") as tour:
        tried = []
        for line in tour.stdout:
            if line.startswith("curl "):
                answer = subprocess.run(
                    [*shlex.split(line), "-w", "%{http_code}"], capture_output=True, text=True, check=True
                )
                tried.append(answer.stdout[-3:])
            if "until Ctrl-C" in line:
                break
        assert tried == ["200", "200", "200", "200"]
        assert left_behind(tmp_path)
        tour.send_signal(signal.SIGINT)
        _, complaints = tour.communicate(timeout=60)
    assert (tour.returncode, complaints) == (0, "")
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_takes_the_server_along(begin, tmp_path, number):
    with begin("--subjects", "5000") as tour:
        for line in tour.stdout:
            if "served at" in line:
                break
        tour.send_signal(number)
        _, complaints = tour.communicate(timeout=60)
    assert (tour.returncode, complaints) == (128 + number, "")
    assert left_behind(tmp_path) == []


def test_the_same_seed_makes_the_same_customers():
    assert MadeUp(7, NOW).customers(40) == MadeUp(7, NOW).customers(40)
    assert MadeUp(7, NOW).customers(40) != MadeUp(8, NOW).customers(40)


def test_customers_come_from_many_countries_with_all_kinds_of_records():
    made = MadeUp(1, NOW).customers(200)
    assert {each.profile["address"]["country"] for each in made} == {locale[3:] for locale in LOCALES}
    assert len({each.profile["email"] for each in made}) == len(made)
    assert all(each.purchases for each in made)
    assert sum(len(each.interactions) for each in made) > 100
    assert 10 < sum(len(each.complaints) for each in made) < 60


def test_of_a_long_answer_some_keys_are_shown_and_that_there_is_more():
    answer = {"id": 1, "proof": {"value": 2, "other": 3}, "list": [{"value": 4}, {"other": 5}], "none": {"other": 6}}
    assert _in_brief(answer, ("value",)) == {
        "proof": {"value": 2, "…": "…"},
        "list": [{"value": 4}],
        "…": "…",
    }
    assert _in_brief({"value": 1}, ("value",)) == {"value": 1}
