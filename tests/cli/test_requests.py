"""Requests and jobs at the command line."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from tests.cli.people import person_in
from vault import workflows
from vault.errors import Conflict
from vault.jobs.workflow import Workflow


@pytest.fixture
def subject(vault_folder, in_vault):
    return person_in(vault_folder, {"shop": "4711"}, name="Ada", email="ada@example.org")


def test_withdrawal_is_submitted_verified_and_completed(in_vault, subject):
    created = in_vault(
        "requests", "submit", "withdrawal", "--subject", subject, "--channel", "letter", "--received", "3d"
    )
    request = created.stdout.strip()
    assert "Due on" in created.stderr
    assert "Art. 12(3) GDPR" in created.stderr
    listed = in_vault("requests", "list")
    assert request in listed.stdout
    assert "days" in listed.stdout
    assert "not verified" in listed.stdout
    done = in_vault("requests", "verify", request, "--evidence", "signature compared")
    assert done.exit_code == 0, done.stderr
    assert "withdraw …" in done.stderr
    assert "completed" in done.stderr
    shown = in_vault("requests", "show", request)
    assert "signature" not in shown.output
    assert [word in shown.stdout for word in ("verify", "approve", "start", "complete")] == [True] * 4
    assert request not in in_vault("requests", "list").stdout
    assert request in in_vault("requests", "list", "--all").stdout


def test_staff_approve_reject_extend_and_reopen(in_vault, subject):
    answer = in_vault.json("requests", "submit", "review", "--subject", subject)
    request = answer["id"]
    assert answer["state"] == "received"
    again = in_vault("requests", "submit", "review", "--subject", subject)
    assert f"asked for the same already: {request}" in again.stderr
    assert in_vault.json("requests", "extend", request, "--reason", "number")["due"] > answer["due"]
    assert in_vault.json("requests", "ask-identity", request)["state"] == "verifying"
    assert in_vault.json("requests", "verify", request, "--evidence", "seen")["state"] == "in_review"
    assert in_vault("requests", "approve", request, typed="n\n").exit_code != 0
    assert in_vault.json("requests", "approve", request, "--yes", "--later")["state"] == "approved"
    assert in_vault.json("requests", "complete", request, "--outcome", "confirmed")["state"] == "completed"
    assert in_vault.json("requests", "reopen", request)["state"] == "received"
    wrong = in_vault("requests", "reject", request, "--ground", "because")
    assert "no-automated-decision" in wrong.stderr
    assert in_vault.json("requests", "reject", request, "--ground", "excessive")["state"] == "rejected"
    assert in_vault.json("requests", "reopen", request, "--note", "not so")["state"] == "received"
    assert in_vault.json("requests", "cancel", request)["state"] == "cancelled"
    response = in_vault.json("requests", "show", request)
    assert [item["move"] for item in response["history"]].count("reopen") == 2
    assert {item["note"] for item in response["history"]} == {None, "sealed"}


def test_person_is_found_by_external_id_and_email(in_vault, subject, tmp_path):
    by_shop = in_vault.json("requests", "submit", "access", "--external-id", "shop=4711")
    assert in_vault.json("requests", "show", by_shop["id"])["subject"] == subject
    by_mail = in_vault("requests", "submit", "access", "--email", "--json", typed="ada@example.org\n")
    assert in_vault.json("requests", "show", json.loads(by_mail.stdout.splitlines()[-1])["id"])["subject"] == subject
    said = tmp_path / "said.json"
    said.write_text('{"changes": {"name": "Ada L."}}')
    created = in_vault.json("requests", "submit", "rectification", "--subject", subject, "--details", said)
    assert created["state"] == "received"
    said.write_text("[]")
    wrong = in_vault("requests", "submit", "rectification", "--subject", subject, "--details", said)
    assert "not contain a JSON object" in wrong.stderr
    assert in_vault("requests", "submit", "access").exit_code == 1


def test_dual_approval_needs_two_others(in_vault, vault_folder, subject):
    path = vault_folder / "policies" / "requests.toml"
    path.write_text(path.read_text().replace('erasure = "review"', 'erasure = "four-eyes"'))
    in_vault.ok("policy", "apply")
    request = in_vault.json("requests", "submit", "erasure", "--subject", subject)["id"]
    in_vault.ok("requests", "verify", request, "--evidence", "seen")
    assert "needs the approval of two others" in in_vault("requests", "approve", request, "--yes").stderr


@pytest.mark.parametrize(
    ("kind", "question"),
    [
        ("review", "Execute the request (review)?"),
        ("access", "Execute the request (access)?"),
        ("erasure", "Execute the request for erasure? What it erases cannot be brought back."),
    ],
)
def test_the_question_before_an_approval_is_about_its_kind(in_vault, subject, kind, question):
    policies = in_vault.folder / "policies" / "requests.toml"
    policies.write_text(policies.read_text().replace('= "automatic"', '= "review"'))
    in_vault.ok("policy", "apply")
    request = in_vault.json("requests", "submit", kind, "--subject", subject)["id"]
    unverified = in_vault("requests", "approve", request, typed="y\n")
    assert unverified.exit_code == 1
    assert "error: a request that is received cannot be approved" in unverified.stderr
    assert "?" not in unverified.stderr.partition("hint:")[0]  # it says so before it asks
    in_vault.ok("requests", "verify", request, "--evidence", "seen")
    refused = in_vault("requests", "approve", request, typed="n\n")
    assert refused.exit_code == 1
    assert question in refused.stderr
    assert in_vault.json("requests", "show", request)["state"] == "in_review"


def test_an_empty_list_says_whether_it_was_narrowed(in_vault):
    assert "no open requests" in in_vault("requests", "list").stderr
    assert "no requests\n" in in_vault("requests", "list", "--all").stderr
    assert "no request matches" in in_vault("requests", "list", "--kind", "erasure").stderr


def test_requests_expire_counts(in_vault, subject):
    in_vault.ok("requests", "submit", "access", "--subject", subject, "--received", "30d")
    assert in_vault.json("requests", "expire") == {"expired": 0}
    assert "0 requests expired" in in_vault("requests", "expire").stderr
    assert len(in_vault.json("requests", "list", "--due", "soon")) == 1
    assert in_vault.json("requests", "list", "--kind", "erasure") == []


JOB = uuid4()


async def _ends(services, tenant, job):
    return None


async def _waits(services, tenant, job):
    return 3600.0


async def _fails(services, tenant, job):
    raise Conflict("Ada is there already", code="subject-there")


@pytest.fixture
def pending(monkeypatch):
    response = []

    async def ask(services):
        return list(response)

    monkeypatch.setattr(workflows, "pending", ask)
    steps = {"ends": _ends, "waits": _waits, "fails": _fails}
    monkeypatch.setattr(workflows, "WORKFLOWS", {name: Workflow(name, (("go", step),)) for name, step in steps.items()})
    return response


def test_vault_without_jobs(in_vault):
    assert in_vault.json("jobs", "list") == []
    result = in_vault("jobs", "list")
    assert "no unfinished jobs" in result.stderr
    assert "no pending jobs" in in_vault("jobs", "run").stderr


def test_pending_jobs_are_listed_with_a_hint(in_vault, pending):
    pending.append(("ends", "default", JOB, 0))
    result = in_vault("jobs", "list")
    assert f"ends  {JOB}  0    pending  go" in result.stdout
    assert "run `cdv jobs run`" in result.stderr
    (answer,) = in_vault.json("jobs", "show", JOB)
    assert (answer["workflow"], answer["id"], answer["state"], answer["since"]) == ("ends", str(JOB), "pending", None)


def test_unknown_job(in_vault, pending):
    result = in_vault("jobs", "show", uuid4())
    assert result.exit_code == 1
    assert "no job found for this id" in result.stderr
    assert "hint:" in result.stderr


def test_jobs_run_executes_pending_jobs(in_vault, pending):
    pending += [("ends", "default", JOB, 0), ("waits", "default", JOB, 0)]
    result = in_vault("jobs", "run")
    assert result.exit_code == 0
    assert f"ends {JOB} is done" in result.stderr
    assert f"waits {JOB} goes on in 3,600 seconds" in result.stderr
    assert [item["goes_on_in"] for item in in_vault.json("jobs", "run")] == [None, 3600.0]


def test_failed_job_is_reported_by_its_code(in_vault, pending):
    pending.append(("fails", "default", JOB, 0))
    result = in_vault("jobs", "run")
    assert result.exit_code == 1
    assert f"fails {JOB} failed: subject-there" in result.stderr
    assert "Ada" not in result.output
