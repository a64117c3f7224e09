"""`cdv demo`: the whole tour in a process of its own."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from vault.bootstrap import read_settings
from vault.cli.demo import _make_vault, may_pause, pressed_key
from vault.cli.demo.customers import LOCALES, Generator
from vault.cli.demo.screens import App, Exchange, asked, gist, in_brief
from vault.cli.demo.stage import ANSWER_TIMEOUT, make_console
from vault.cli.demo.story import CHAPTERS, JOB_TIMEOUT

ROWS, COLUMNS = 24, 80
"""A small terminal."""
NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)


@pytest.fixture
def begin(tmp_path):
    """Starts the demo with folders of its own, so that what it leaves behind is seen."""
    temporary, here = tmp_path / "temporary", tmp_path / "here"
    temporary.mkdir()
    here.mkdir()
    # A real vault's settings in the environment must not reach the demo.
    env = {**os.environ, "TMPDIR": str(temporary), "CDV_DATABASE_URL": "sqlite:////nowhere/at/all.sqlite"}
    env.pop("COLUMNS", None)

    def begin(*args):
        command = [sys.executable, "-m", "vault", "demo", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, cwd=here, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

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
    return [*processes, *(tmp_path / "temporary").iterdir()]


def chapters_of(out):
    """Divide what was shown into chapters: title -> lines, without the empty line at the end."""
    titles = {f"{number}. {chapter.title} " for number, chapter in enumerate(CHAPTERS, start=1)}
    result, lines = {}, []
    for line in out.splitlines():
        if any(line.startswith(title) for title in titles) or line.startswith("What you have seen"):
            lines = result.setdefault(line.rstrip("─ "), [])
        lines.append(line)
    return {title: lines[:-1] if lines[-1] == "" else lines for title, lines in result.items()}


def test_tour_takes_one_screen_a_chapter_and_leaves_only_the_customers_page(begin, tmp_path):
    with begin() as tour:
        out, complaints = tour.communicate(timeout=240)
    assert (tour.returncode, complaints) == (0, "")
    shown = chapters_of(out)
    titles = [f"{number}. {chapter.title}" for number, chapter in enumerate(CHAPTERS, start=1)]
    assert list(shown) == [*titles, "What you have seen"]
    for title, chapter in zip(titles, CHAPTERS, strict=True):
        lines = shown[title]
        assert len(lines) < ROWS, title  # and one line for the question whether to go on
        assert len(lines) > 4, title
        assert max(map(len, lines)) <= COLUMNS, title
        assert chapter.explanation in " ".join(" ".join(lines).split())
    seen = shown["What you have seen"]
    assert [line.split(maxsplit=1) for line in seen[1 : len(CHAPTERS) + 1]] == [
        [str(number), chapter.title] for number, chapter in enumerate(CHAPTERS, start=1)
    ]
    assert "30/30" in out
    assert "email: denied, not-granted" in out
    assert "any key" not in out  # no pause in a pipe
    assert "-7" not in "".join(line for line in out.splitlines() if "/v1/subjects/" in line)  # ids are short
    page = tmp_path / "here" / "ada.html"
    assert page.as_uri() in out
    assert "Ada Winter" in page.read_text()
    assert "The tour took " in out
    assert list((tmp_path / "here").iterdir()) == [page]
    assert left_behind(tmp_path) == []


async def test_a_tour_goes_on_however_slow_the_disk_is(tmp_path):
    """The vault of a tour waits for its log and databases; the tour waits longer, so that it shows what they say."""
    await _make_vault(tmp_path / "tour")
    settings = read_settings(tmp_path / "tour")
    assert settings.audit_deadline >= 30
    assert settings.database_timeout >= 30
    assert settings.audit_deadline <= settings.request_deadline < ANSWER_TIMEOUT
    assert settings.request_deadline < JOB_TIMEOUT


def test_full_tour_shows_requests_and_answers_as_they_are(begin, tmp_path):
    with begin("--full", "--subjects", "40", "--page", "hers.html") as tour:
        out, complaints = tour.communicate(timeout=240)
    assert (tour.returncode, complaints) == (0, "")
    for number, chapter in enumerate(CHAPTERS, start=1):
        assert f"{number}. {chapter.title}" in out
        assert chapter.explanation in " ".join(out.split())
    assert "40/40" in out
    for code in (
        "consent-missing", "purpose-excludes-field", "objected", "restricted", "unknown-purpose", "not-authenticated",
        "no-value", "purpose-unused", "retention-over", "held",
    ):  # fmt: skip
        assert code in out
    assert "cdv demo --serve" in out.splitlines()[-2] + out.splitlines()[-1]
    assert "cdv_" not in out  # no key is shown where it is of no use
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["hers.html"]
    assert left_behind(tmp_path) == []


def test_one_chapter_is_shown_alone_after_the_ones_that_it_needs(begin, tmp_path):
    with begin("--chapter", "7", "--subjects", "4") as tour:
        out, complaints = tour.communicate(timeout=240)
    assert (tour.returncode, complaints) == (0, "")
    (title,) = chapters_of(out)
    assert title == f"7. {CHAPTERS[6].title}"
    assert "state: withdrawn" in out
    assert list((tmp_path / "here").iterdir()) == []


def test_demo_replaces_no_file_of_others(begin, tmp_path):
    mine = tmp_path / "here" / "ada.html"
    mine.write_text("mine")
    with begin() as tour:
        _, complaints = tour.communicate(timeout=60)
    assert tour.returncode == 1
    assert complaints == "error: ada.html exists, and is no page of a tour\nhint: name another file by --page\n"
    assert mine.read_text() == "mine"


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
    assert in_brief(answer, ("value",)) == {
        "proof": {"value": 2, "…": "…"},
        "list": [{"value": 4}],
        "…": "…",
    }
    assert in_brief({"value": 1}, ("value",)) == {"value": 1}


def answered(body, answer, status=200):
    return Exchange(
        App("helpdesk", "support", "k"), "POST /v1/read", body, {}, httpx.Response(status, json=answer)
    ), answer


ID = "01a231ea-56bc-7def-8123-4567896c1803"


def test_brief_request_is_one_line():
    exchange, _ = answered(
        {"subject": ID, "fields": ["name", "email"], "purpose": "p", "reason": "call", "x": None}, {}
    )
    assert asked(exchange) == "name, email for p, reason: call, x: null"


def test_brief_answer_has_the_lines_that_matter():
    read = {"subject": ID, "fields": {"name": "A" * 90}, "denied": {"email": {"code": "not-granted", "detail": "…"}}}
    assert gist(200, read, (), 40) == [f"200   name: {'A' * 27}…", "      email: denied, not-granted"]
    problem = {"title": "No", "status": 403, "code": "denied", "detail": "Denied.", "denied": read["denied"]}
    assert gist(403, problem, (), 77) == ["403   denied: email: denied, not-granted"]
    assert gist(200, {"results": [], "more": False}, (), 77) == ["200   nothing is found"]
    state = {"id": ID, "state": "given", "at": "2026-12-01T14:03:59.197753Z", "by": None, "parts": [{"is": True}]}
    assert gist(201, state, (), 77) == ["201   state: given · at: 2026-12-01T14:03:59Z · is: true"]
    assert gist(201, state, ("id",), 77) == ["201   id: …6c1803"]
    many = {"fields": {f"f{number}": number for number in range(9)}}
    assert len(gist(200, many, (), 77)) == 5


@pytest.fixture
def terminal():
    main, secondary = pty.openpty()
    with os.fdopen(main, "wb", buffering=0) as keys, os.fdopen(secondary, "rb+", buffering=0) as screen:
        yield keys, screen


def test_a_key_is_read_without_enter(terminal):
    keys, screen = terminal
    threading.Thread(target=keys.write, args=(b"x",)).start()
    assert pressed_key(screen.fileno()) == b"x"


def test_tour_pauses_only_where_somebody_sits(terminal, monkeypatch):
    _, screen = terminal
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("sys.stdin", screen)
    console = make_console(full=False)
    console._force_terminal = True
    assert may_pause(console)
    monkeypatch.setenv("CI", "true")
    assert not may_pause(console)
    monkeypatch.delenv("CI")
    console._force_terminal = False
    assert not may_pause(console)
