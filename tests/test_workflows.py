"""Jobs of a vault: what is pending is listed and can be worked off, by those who may."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.vaults import problem
from vault import workflows as room
from vault.catalogue.company import KINDS
from vault.errors import Conflict
from vault.ids import DEFAULT_TENANT
from vault.jobs.workflow import Workflow
from vault.workflows import STATES, Work, list_jobs, pending_work, plan_of, work_off


@pytest.fixture
def pending(monkeypatch):
    """Let these be pending, in place of requests and notices."""
    results = []

    async def ask(services):
        return list(results)

    async def nothing(services):
        return []

    monkeypatch.setattr(room, "pending", ask)
    monkeypatch.setattr(room, "pending_notices", nothing)
    return results


async def ends(services, tenant, job):
    return None


async def fails(services, tenant, job):
    raise Conflict("Ada is there already", code="subject-there")


async def waits(services, tenant, job):
    return 60.0


@pytest.fixture
def workflows(monkeypatch):
    created = {
        name: Workflow(name, ((name, step),)) for name, step in (("ends", ends), ("fails", fails), ("waits", waits))
    }
    monkeypatch.setattr(room, "WORKFLOWS", created)
    return created


async def test_pending_jobs_are_listed_for_their_own_tenant_with_the_first_step(sqlite_node, pending):
    mine, theirs = uuid4(), uuid4()
    pending += [("access", "default", mine, 1), ("access", "acme", theirs, 0)]
    answer = (await sqlite_node.call("dpo", "GET", "/v1/jobs")).json()
    assert answer["jobs"] == [
        {
            "workflow": "access",
            "tenant": "default",
            "id": str(mine),
            "run": 1,
            "state": "pending",
            "step": "start",
            "attempts": 0,
            "since": None,
            "next_at": None,
            "code": None,
        }
    ]
    (entry,) = [item for item in await sqlite_node.entries() if str(item.id) == answer["audit"]]
    assert (entry.action, entry.decision) == ("read-jobs", "allowed")
    assert [item.id for item in await pending_work(sqlite_node.services)] == [mine, theirs]


async def test_jobs_are_listed_up_to_the_limit_or_for_one_request(sqlite_node, pending):
    pending += [("access", "default", uuid4(), 0) for _ in range(3)]
    caller = await sqlite_node.caller("operator")
    assert len((await list_jobs(sqlite_node.services, caller, limit=2)).jobs) == 2
    assert [job.id for job in (await list_jobs(sqlite_node.services, caller, of=pending[1][2])).jobs] == [pending[1][2]]
    assert (await list_jobs(sqlite_node.services, caller, states=["done", "failed"])).jobs == []


async def test_listing_jobs_needs_the_permission(sqlite_node, pending):
    pending.append(("access", "default", uuid4(), 0))
    async with sqlite_node.new_entries() as entries:
        problem(await sqlite_node.call("sales", "GET", "/v1/jobs"), 403, "not-granted")
    assert [(entry.action, entry.decision) for entry in entries] == [("read-jobs", "denied")]
    problem(await sqlite_node.call(None, "GET", "/v1/jobs"), 401, "not-authenticated")


@pytest.mark.parametrize("query", ["state=Ada", "limit=0", "limit=501"])
async def test_an_unknown_state_or_limit_is_refused(sqlite_node, query):
    answer = await sqlite_node.call("dpo", "GET", f"/v1/jobs?{query}")
    assert "Ada" not in problem(answer, 422, "invalid-body")["detail"]


async def test_a_failed_job_does_not_stop_the_others(sqlite_node, pending, workflows):
    pending += [(name, "default", uuid4(), 0) for name in ("fails", "waits", "ends")]
    answers = []
    ended = [
        item
        async for item in work_off(sqlite_node.services, watch=lambda work, step: answers.append((work.workflow, step)))
    ]
    assert [(item.work.workflow, item.seconds, item.code) for item in ended] == [
        ("fails", None, "subject-there"),
        ("waits", 60.0, None),
        ("ends", None, None),
    ]
    assert answers == [("fails", "fails"), ("waits", "waits"), ("ends", "ends")]


async def test_only_the_jobs_of_the_given_tenant_are_run(sqlite_node, pending, workflows):
    pending += [("ends", tenant, uuid4(), 0) for tenant in ("default", "acme")]
    ended = [item.work async for item in work_off(sqlite_node.services, DEFAULT_TENANT)]
    assert ended == [Work(*pending[0])]


async def test_every_periodic_task_runs_on_an_empty_vault(node):
    plan = plan_of(node.services)
    assert set(plan.sweeps) == {
        "expire-requests",
        "expire-packages",
        "chase-recipients",
        "expire-consents",
        "retention",
        "forget-answers",
        "forget-codes",
        "forget-contacts",
    }
    for sweep in plan.sweeps.values():
        await sweep.do()
    assert list(await plan.pending()) == []


def test_every_kind_of_request_has_a_record_and_a_job():
    assert tuple(room.REQUEST_KINDS) == KINDS
    assert set(KINDS) | {"notify"} <= set(room.WORKFLOWS)
    assert {name for name, workflow in room.WORKFLOWS.items() if name != workflow.name} == set()
    for workflow in room.WORKFLOWS.values():
        names = [name for name, _ in workflow.steps]
        assert len(names) == len(set(names)), workflow.name  # a job finds its step again by the name


def test_the_states_of_jobs():
    assert STATES == ("pending", "waiting", "running", "done", "failed")
