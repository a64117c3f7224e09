"""`cdv demo`: the whole tour in a process of its own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vault.cli.demo.customers import LOCALES, Generator
from vault.cli.demo.stage import _in_brief
from vault.cli.demo.story import CHAPTERS

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)


@pytest.fixture
def begin(tmp_path):
    """Starts the demo with a temporary folder of its own, so that what it leaves behind is seen."""
    # A real vault's settings in the environment must not reach the demo.
    env = {**os.environ, "TMPDIR": str(tmp_path), "CDV_DATABASE_URL": "sqlite:////nowhere/at/all.sqlite"}

    def begin(*args):
        command = [sys.executable, "-m", "vault", "demo", *args]
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


def test_tour_ends_and_leaves_nothing_behind(begin, tmp_path):
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


def test_served_demo_answers_the_printed_requests_until_ctrl_c(begin, tmp_path):
    with begin("--serve", "--subjects", "3", "--seed", "7") as tour:
        trial = []
        for line in tour.stdout:
            if line.startswith("curl "):
                answer = subprocess.run(
                    [*shlex.split(line), "-w", "%{http_code}"], capture_output=True, text=True, check=True
                )
                trial.append(answer.stdout[-3:])
            if "until Ctrl-C" in line:
                break
        assert trial == ["200", "200", "200", "200"]
        assert left_behind(tmp_path)
        tour.send_signal(signal.SIGINT)
        _, complaints = tour.communicate(timeout=60)
    assert (tour.returncode, complaints) == (0, "")
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_the_tour_stops_the_server(begin, tmp_path, number):
    with begin("--subjects", "5000") as tour:
        for line in tour.stdout:
            if "served at" in line:
                break
        tour.send_signal(number)
        _, complaints = tour.communicate(timeout=60)
    assert (tour.returncode, complaints) == (128 + number, "")
    assert left_behind(tmp_path) == []


def test_same_seed_generates_the_same_customers():
    assert Generator(7, NOW).customers(40) == Generator(7, NOW).customers(40)
    assert Generator(7, NOW).customers(40) != Generator(8, NOW).customers(40)


def test_customers_have_many_countries_and_all_kinds_of_records():
    customers = Generator(1, NOW).customers(200)
    assert {customer.profile["address"]["country"] for customer in customers} == {locale[3:] for locale in LOCALES}
    assert len({customer.profile["email"] for customer in customers}) == len(customers)
    assert all(customer.purchases for customer in customers)
    assert sum(len(customer.interactions) for customer in customers) > 100
    assert 10 < sum(len(customer.complaints) for customer in customers) < 60


def test_brief_answer_shows_some_keys_and_an_ellipsis():
    answer = {"id": 1, "proof": {"value": 2, "other": 3}, "list": [{"value": 4}, {"other": 5}], "none": {"other": 6}}
    assert _in_brief(answer, ("value",)) == {
        "proof": {"value": 2, "…": "…"},
        "list": [{"value": 4}],
        "…": "…",
    }
    assert _in_brief({"value": 1}, ("value",)) == {"value": 1}
