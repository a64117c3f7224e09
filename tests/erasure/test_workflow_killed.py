"""An erasure whose process is killed at any point is completed by another process."""

from __future__ import annotations

from uuid import UUID

from tests.erasure.people import LATELY, ask, certificate, keys_of, run, somebody, state_of
from tests.jobs.killing import Killable
from tests.vaults import ADA
from vault.catalogue.model import Scope

STEPS = "vault.erasure.workflow:ERASURE_STEPS"
INSIDE = (
    "vault.erasure.execute:notify_recipients",
    "vault.records.personal_data:RecordData.erase",
    "vault.consent.personal_data:ConsentData.erase",
    "vault.requests.personal_data:RequestData.erase",
    "vault.subjects.store:Subjects.close",
    "vault.erasure.verify:scan",
)
HERE = "data.commit", "data.committed", "keys.commit", "keys.committed"
"""Points around every commit: a process killed between two of them leaves no trace."""


async def prepare(node, number, **how):
    """Make a subject with a purchase kept by law, and a request to erase it."""
    subject = await somebody(
        node,
        profile={**ADA, "email": f"ada{number}@example.org"},
        external_ids={"shop": str(number)},
        bought=[LATELY],
        returning=True,  # the one before had the same telephone
    )
    return subject, await ask(node, subject, **how)


def job(node, request):
    return Killable(node.place, STEPS, request, also=INSIDE)


async def check_between(node, subject, living):
    """Check that no subject is half erased and that other subjects are unchanged, wherever the process was killed."""
    assert await name_of(node, living) == ADA["name"]
    shown = await node.read("sales", subject, ["name", "phone", "purchase.order"], "order-fulfilment")
    if await state_of(node, subject) == "active":
        assert shown.json()["fields"] == {"name": ADA["name"], "phone": ADA["phone"], "purchase.order": ["order-0"]}
    else:
        assert shown.status_code == 404


async def check_ended(node, subject, request, living):
    """Check the state after the completed erasure."""
    assert await state_of(node, subject) == "retained"
    assert len(await keys_of(node, subject)) == 1
    assert (await node.read("sales", subject, ["name"], "order-fulfilment")).status_code == 404
    books = await node.read("finance", subject, ["name", "purchase.order"], "accounting")
    assert books.json()["fields"] == {"name": ADA["name"], "purchase.order": ["order-0"]}
    rows = await node.sql("SELECT certificate FROM erasure WHERE subject_id = :id", id=UUID(subject))
    assert len(rows) == 1
    answer = await certificate(node, request)
    done = [
        entry for entry in await node.entries() if entry.action == "erase" and str(entry.id) == answer["audit_entry"]
    ]
    assert len(done) == 1
    assert await name_of(node, living) == ADA["name"]


async def name_of(node, subject):
    return (await node.read("sales", subject, ["name"], "order-fulfilment")).json()["fields"].get("name")


async def kill_at(node, points, living, first):
    for number, point in enumerate(points, first):
        subject, request = await prepare(node, number)
        assert await job(node, request).killed_at(point), point
        await check_between(node, subject, living)
        await run(node.services, request)
        await check_ended(node, subject, request, living)


async def test_an_erasure_killed_at_any_point_is_completed_by_the_next_run(sqlite_node):
    node = sqlite_node
    living = await node.create()
    subject, request = await prepare(node, 1)
    passed = await job(node, request).points()
    await check_ended(node, subject, request, living)
    # Before a step is after the one before it, and after a commit is often before something else: once will do.
    points = [entry for entry in passed if ".before" not in entry or entry.startswith(("begin", "erase", "close"))]
    assert len(points) >= 30
    await kill_at(node, points, living, 2)


async def test_an_erasure_killed_around_any_commit_is_completed(node):
    living = await node.create()
    points = [f"{point}#{number}" for point in HERE for number in ((1, 2, 3) if point.startswith("data") else (1,))]
    await kill_at(node, points, living, 1)


async def test_a_partial_erasure_killed_before_the_key_destruction_is_completed(node):
    living = await node.create()
    for number, point in enumerate(("keys.committed#1", "take-away.after#1", "keys.committed#2"), 1):
        subject, request = await prepare(node, number, scope=Scope(fields=("profile.phone",)))
        assert await job(node, request).killed_at(point), point
        await run(node.services, request)
        shown = await node.read("dpo", subject, ["name", "phone", "purchase.order"], "subject-rights")
        assert shown.json()["fields"] == {"name": ADA["name"], "purchase.order": ["order-0"]}
        assert len(await keys_of(node, subject)) == 1
        assert await name_of(node, living) == ADA["name"]
