"""`cdv jobs` shows what works in the background, and does it in the foreground."""

from __future__ import annotations

from uuid import uuid4

import pytest

from vault import workflows as room
from vault.errors import Conflict
from vault.jobs.workflow import Workflow

JOB = uuid4()


async def _ends(services, tenant, job):
    return None


async def _waits(services, tenant, job):
    return 3600.0


async def _fails(services, tenant, job):
    raise Conflict("Ada is there already", code="subject-there")


@pytest.fixture
def pending(monkeypatch):
    found = []

    async def ask(services):
        return list(found)

    monkeypatch.setattr(room, "pending", ask)
    steps = {"ends": _ends, "waits": _waits, "fails": _fails}
    monkeypatch.setattr(room, "WORKFLOWS", {name: Workflow(name, (("go", step),)) for name, step in steps.items()})
    return found


def test_a_vault_without_jobs_says_so(in_vault):
    assert in_vault.json("jobs", "list") == []
    result = in_vault("jobs", "list")
    assert "no unfinished jobs" in result.stderr
    assert "no pending jobs" in in_vault("jobs", "run").stderr


def test_what_is_pending_is_shown_with_how_to_begin_it(in_vault, pending):
    pending.append(("ends", "default", JOB, 0))
    result = in_vault("jobs", "list")
    assert f"ends  {JOB}  0    pending  go" in result.stdout
    assert "run `cdv jobs run`" in result.stderr
    (told,) = in_vault.json("jobs", "show", JOB)
    assert (told["workflow"], told["id"], told["state"], told["since"]) == ("ends", str(JOB), "pending", None)


def test_a_job_that_nobody_knows_is_an_error_with_a_hint(in_vault, pending):
    result = in_vault("jobs", "show", uuid4())
    assert result.exit_code == 1
    assert "no job found for this id" in result.stderr
    assert "hint:" in result.stderr


def test_what_is_pending_is_run_here(in_vault, pending):
    pending += [("ends", "default", JOB, 0), ("waits", "default", JOB, 0)]
    result = in_vault("jobs", "run")
    assert result.exit_code == 0
    assert f"ends {JOB} is done" in result.stderr
    assert f"waits {JOB} goes on in 3,600 seconds" in result.stderr
    assert [each["goes_on_in"] for each in in_vault.json("jobs", "run")] == [None, 3600.0]


def test_a_job_that_fails_is_told_by_its_code_and_the_command_fails(in_vault, pending):
    pending.append(("fails", "default", JOB, 0))
    result = in_vault("jobs", "run")
    assert result.exit_code == 1
    assert f"fails {JOB} failed: subject-there" in result.stderr
    assert "Ada" not in result.output
